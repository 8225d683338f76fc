"""A law: a command line that is read without click means what click says that it means."""

from hypothesis import example, given
from hypothesis import strategies as st
from support.clicked import by_click

from heapwitness.cli import straight
from heapwitness.cli.words import RUN

NAMES = st.sampled_from([option.name for option in RUN])
WORDS = st.sampled_from(
    ["--", "-", "-m", "-c", "--help", "true", "full", "stop", "1", "0", "-1", "10", "1.5", "1/2", "USR1", "=", "", "/"]
)
JOINED = st.builds("{}={}".format, NAMES, WORDS)
LINES = st.lists(st.one_of(NAMES, WORDS, JOINED), max_size=7)


@given(LINES)
@example(["--json", "--", "--", "x"])
@example(["--trap", "-m", "-m", "x"])
def test_what_is_read_is_what_click_reads(words: list[str]) -> None:
    read = straight.given(words)

    assert read is None or read == by_click(words)
