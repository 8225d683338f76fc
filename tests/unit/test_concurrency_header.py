"""In a model of all interleavings, a header that is read while it is written is whole, or is not believed.

The owner saves both copies of a header word by word (hw_save, or halves as native/host/heap/fast.h does); another
thread copies it meanwhile (hw_header_glimpse) and, where the check does not hold, comes as a visitor to look again
(release_in_foreign_arena in native/host/heap/release.c). A check is the tuple of what it was made of: that two
headers have the same one by chance is left out. `broken` names the step that is left out, or done too early.
"""

from collections.abc import Sequence
from itertools import permutations

import pytest
from support.entry import START, enter, give_back, now_inside, seize, soon_outside
from support.interleave import Thread, Value, claim, explore, load, store, store_all

SIZE, PREV, META, CHECK = WORDS = ("size", "prev", "meta", "check")

Header = tuple[Value, ...]


def header(size: int, prev: int, meta: str, broken: str = "") -> Header:
    """A header with its check."""
    return (size, prev, meta, (size, meta) if broken == "check leaves out prev" else (size, prev, meta))


def holds(read: Header, broken: str = "") -> bool:
    return read == header(read[0], read[1], read[2], broken)


def history(broken: str = "") -> tuple[Header, ...]:
    """Headers of a used block that grows and shrinks in place, while the block before it changes, too."""
    return tuple(header(size, prev, "used", broken) for size, prev in ((2, 5), (4, 3), (2, 7)))


def copy(name: str, words: Header) -> dict[str, Value]:
    return {f"{name} {word}": value for word, value in zip(WORDS, words, strict=True)}


def save(name: str, words: Header, at_once: int) -> Thread:
    """Write a copy, so many words by one store."""
    for i in range(0, len(WORDS), at_once):
        yield store_all({f"{name} {WORDS[k]}": words[k] for k in range(i, i + at_once)})


def read(name: str, order: Sequence[str]) -> Thread:
    """Load a copy, word by word in some order."""
    size = prev = meta = check = None
    for word in order:
        value = yield load(f"{name} {word}")
        size = value if word == SIZE else size
        prev = value if word == PREV else prev
        meta = value if word == META else meta
        check = value if word == CHECK else check
    return (size, prev, meta, check)


def owner(changes: int, at_once: int, broken: str) -> Thread:
    """Goes in and saves a new header, so many times."""
    for words in history(broken)[1 : 1 + changes]:
        if broken != "owner does not go in":
            yield from enter()
            yield from now_inside()
        yield from save("own", words, at_once)
        if broken == "owner leaves between the copies":
            yield from soon_outside()
            yield store("busy", 0)
        yield from save("kept", words, at_once)
        if broken not in ("owner does not go in", "owner leaves between the copies"):
            yield from soon_outside()
            yield store("busy", 0)


def releases(order: Sequence[str], broken: str) -> Thread:
    """Another thread releases the block: by a glimpse, or as a visitor."""
    seen: Header = yield from read("own", order)
    if holds(seen, broken) or broken == "check is not looked at":
        yield claim(seen in history(broken), "a torn header is believed")
        return
    came = yield from seize()
    yield claim(came, "a visitor without a limit comes in")
    yield from now_inside()
    own: Header = yield from read("own", WORDS)
    kept: Header = yield from read("kept", WORDS)
    yield claim(own == kept and holds(own, broken), "a visitor sees damage where there is none")
    yield from soon_outside()
    yield from give_back()


def wrong(changes: int = 2, at_once: int = 1, order: Sequence[str] = WORDS, broken: str = "") -> str:
    first = history(broken)[0]
    memory = START | copy("own", first) | copy("kept", first)
    return explore([lambda: owner(changes, at_once, broken), lambda: releases(order, broken)], memory).wrong


@pytest.mark.parametrize("at_once", [1, 2, 4])
def test_header_that_is_read_while_it_is_written_is_whole_or_not_believed(at_once: int) -> None:
    assert {wrong(1, at_once, order) for order in permutations(WORDS)} == {""}
    assert {wrong(2, at_once, order) for order in (WORDS, WORDS[::-1])} == {""}


@pytest.mark.parametrize(
    ("broken", "what"),
    [
        ("check is not looked at", "a torn header is believed"),
        ("check leaves out prev", "a torn header is believed"),
        ("owner does not go in", "a visitor sees damage where there is none"),
        ("owner leaves between the copies", "a visitor sees damage where there is none"),
    ],
)
def test_no_step_of_it_can_be_left_out(broken: str, what: str) -> None:
    assert wrong(broken=broken) == what
