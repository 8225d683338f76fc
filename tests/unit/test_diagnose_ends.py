"""Which ends of a damage are told as the write's, and which as "at least": bytes that were written with the value that
they had are not seen."""

import pytest
from support.rows import only, row

from heapwitness.diagnose.ends import may_go_on, may_have_begun_before
from heapwitness.findings.model import Damage
from heapwitness.memory import SegmentsMemory

AT = 0x1000
OLD = bytes.fromhex("8b95a3d79d87c1f3")
"""What lies around the damage."""


def overrun(written: bytes, same: int = 0, size: int = 24) -> Damage:
    """The damage of a write past a block that ends with so many bytes of what was there before."""
    heap, blocks = row(4, size)
    end = heap.end(blocks[5])
    old = heap.memory().read(heap.address(end + len(written)), same)
    heap.write(end, written + old)
    damage = only(heap).damage
    assert damage is not None
    return damage


def behind(written: bytes, at: int = AT, before: bytes = b"") -> bool:
    """Whether a write may have gone on behind what is seen of it; `before` is of the block that it began in."""
    memory = SegmentsMemory([(at - len(before), before + written + OLD)])
    return may_go_on(memory, at, at + len(written), len(before))


def ahead(written: bytes, stop: int = AT) -> bool:
    """Whether a write may have begun before what is seen of it."""
    memory = SegmentsMemory([(stop - len(written) - len(OLD), OLD + written + OLD)])
    return may_have_begun_before(memory, stop - len(written), stop)


@pytest.mark.parametrize("same", [1, 2, 3])
@pytest.mark.parametrize("written", [b"The quick ", b"Jumps over the lazy dog, and on ", bytes(range(0x81, 0x8B))])
def test_overflow_that_ends_with_what_was_there_is_not_told_as_shorter(written: bytes, same: int) -> None:
    damage = overrun(written, same)

    assert damage.length == len(written)
    assert not damage.exact


@pytest.mark.parametrize(
    "written",
    [b"x", b"xxx", b"\xee" * 5, b"abab", b"over\0", b"\x21\x43\x65\x87\xa9\xcb\xed\x0f", b"A" * 40],
    ids=["a byte", "three", "five", "a word twice", "text with its zero", "a word", "a long fill"],
)
def test_overflow_with_an_end_of_its_own_is_told_exactly(written: bytes) -> None:
    damage = overrun(written)

    assert (damage.length, damage.exact) == (len(written), True)


def test_zero_of_a_text_that_began_in_the_block_is_its_end() -> None:
    assert not behind(b"s\0", before=b"overflow")
    assert behind(b"s\0", at=AT + 1)


def test_text_without_its_zero_may_go_on() -> None:
    assert behind(b"flows", before=b"over")
    assert behind(b"flow")


@pytest.mark.parametrize("at", [AT, AT + 1, AT + 2, AT + 3])
def test_bytes_that_are_no_whole_words_may_go_on(at: int) -> None:
    written = bytes.fromhex("d1e26fb804917a3c55")

    ends = [length for length in range(1, 10) if not behind(written[:length], at)]

    assert ends == {AT: [1, 2, 4, 8], AT + 1: [1, 7], AT + 2: [1, 2, 6], AT + 3: [1, 5, 9]}[at]


@pytest.mark.parametrize(
    ("written", "may"),
    [
        (b"x", False),
        (b"xx", False),
        (b"abab", False),
        (b"a text\0", True),
        (b"\xd1\xe2\x6f\xb8", False),
        (b"\xd1\xe2\x6f", True),
    ],
)
def test_start_of_an_underflow_is_believed_by_the_same_forms(written: bytes, may: bool) -> None:
    assert ahead(written) is may


def test_words_that_would_repeat_may_go_on_in_what_was_there() -> None:
    memory = SegmentsMemory([(AT, b"\x8b\x95\x8b\x95" + OLD)])

    assert may_go_on(memory, AT, AT + 4)


def test_end_of_what_can_be_read_is_the_end() -> None:
    memory = SegmentsMemory([(AT, b"some text")])

    assert not may_go_on(memory, AT, AT + 9)
    assert not may_have_begun_before(memory, AT, AT + 9)
