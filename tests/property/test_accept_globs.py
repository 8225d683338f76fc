"""Patterns mean what the plainest possible matcher says, and take no time to speak of."""

from functools import cache

from hypothesis import given
from hypothesis import strategies as st

from heapwitness.accept.globs import MOST_CHARACTERS, fits

PATTERNS = st.text("ab*?[", max_size=8)
NAMES = st.text("ab[*", max_size=10)


@cache
def plainly(pattern: str, name: str) -> bool:
    if not pattern:
        return not name
    if pattern[0] == "*":
        return plainly(pattern[1:], name) or (name != "" and plainly(pattern, name[1:]))
    return name != "" and pattern[0] in ("?", name[0]) and plainly(pattern[1:], name[1:])


@given(PATTERNS, NAMES)
def test_a_pattern_fits_as_the_plainest_matcher_says(pattern: str, name: str) -> None:
    assert fits(pattern, name) == plainly(pattern, name)


@given(NAMES, NAMES, NAMES)
def test_what_stands_between_stars_is_found_wherever_it_is(before: str, name: str, behind: str) -> None:
    plain = name.replace("*", "")

    assert fits(f"*{plain}*", before + plain + behind)


def test_many_stars_and_a_long_name_come_to_an_end() -> None:
    assert not fits("*a" * 200 + "*b", "a" * MOST_CHARACTERS)
    assert not fits("*" + "a?" * 50 + "b*", "a" * 100_000)
