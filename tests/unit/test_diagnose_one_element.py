"""An element behind an array whose first bytes changed nothing."""

import msgspec
import pytest

from heapwitness.diagnose.one_element import as_element
from heapwitness.findings.model import Array, Block, Damage, Detected, Finding
from heapwitness.memory import SegmentsMemory

END = 0x1000 + 400


def damaged(gap: int, length: int, itemsize: int = 8) -> Finding:
    """A header right behind an array, of which some bytes are wrong from `gap` bytes on."""
    array = Array(dtype="float64", itemsize=itemsize, shape=(400 // itemsize,), strides=(itemsize,))
    damage = Damage(
        address=END + gap, length=length, offset=None, expected="", actual="", shown=0, copies=("header",), exact=False
    )
    block = Block(address=0x1000, size=400, state="used", origin="malloc", array=array)
    return Finding(
        kind="header-overwrite", detected=Detected(when="free", thread=1), suspect=block, damage=damage, certain=False
    )


def behind(data: bytes) -> SegmentsMemory:
    return SegmentsMemory([(END, data)])


def test_bytes_of_one_element_behind_zeros_are_the_arrays_but_not_for_sure() -> None:
    told = as_element(damaged(4, 4), behind(bytes(6) + b"\x0c\x40"))

    assert (told.kind, told.certain, told.suspect) == ("heap-buffer-overflow", False, None)
    assert told.culprit is not None
    assert told.culprit.address == 0x1000
    assert told.damage is not None
    assert told.damage.offset == 4


@pytest.mark.parametrize(
    ("gap", "length", "itemsize", "data"),
    [
        (1, 7, 4, bytes(3) + b"\x3f" + bytes(3) + b"\x3f"),
        (1, 15, 8, bytes(6) + b"\x59\x40" + bytes(5) + b"\x40\x59\x40"),
    ],
    ids=["two of four bytes", "two of eight bytes"],
)
def test_several_elements_whose_first_begins_with_zeros_are_the_arrays(
    gap: int, length: int, itemsize: int, data: bytes
) -> None:
    told = as_element(damaged(gap, length, itemsize), behind(data))

    assert (told.kind, told.certain, told.suspect) == ("heap-buffer-overflow", False, None)
    assert told.culprit is not None and told.culprit.address == 0x1000


def test_index_in_words_is_not_told_of_elements_of_another_size() -> None:
    text = "It may have been written by an index (50 in elements of 8 bytes) that is too large for that block."
    finding = msgspec.structs.replace(damaged(1, 7, 4), detail=text)

    assert "(50 in" not in as_element(finding, behind(bytes(8))).detail
    finding = msgspec.structs.replace(damaged(1, 7, 8), detail=text)
    assert "(50 in" in as_element(finding, behind(bytes(8))).detail


@pytest.mark.parametrize(
    ("gap", "length", "itemsize", "data"),
    [
        (4, 5, 8, bytes(6) + b"\x0c\x40\x01"),
        (8, 8, 8, bytes(8) + b"\x0c" * 8),
        (4, 4, 4, bytes(6) + b"\x0c\x40"),
        (1, 8, 4, bytes(3) + b"\x3f" + bytes(3) + b"\x3f\x01"),
        (4, 4, 8, b"\x10\x00\x00\x00\x00\x00\x0c\x40"),
        (4, 4, 8, b""),
    ],
    ids=[
        "longer than an element",
        "the second element",
        "smaller elements",
        "between elements",
        "other bytes before",
        "not there",
    ],
)
def test_what_cannot_be_one_element_stays_what_it_was(gap: int, length: int, itemsize: int, data: bytes) -> None:
    finding = damaged(gap, length, itemsize)

    assert as_element(finding, behind(data)) == finding
