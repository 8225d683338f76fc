"""How sure a finding is: its culprit, its other readings, and the suspect where nobody can be accused."""

import random

import pytest
from support.heaps import Heap
from support.rows import only, row

from heapwitness.findings.model import Finding

DOUBLE = bytes(6) + b"\xf0\x3f"


def stored(index: int, size: int = 64) -> tuple[Heap, list[int], Finding]:
    """What one number stored at an index of a block's elements of eight bytes comes to."""
    heap, blocks = row(size=size)
    at = heap.start(blocks[5]) + 8 * index
    heap.room[at : at + 8] = DOUBLE
    return heap, blocks, only(heap)


def read(finding: Finding) -> list[tuple[str, int | None, int | None]]:
    """The readings: kind, culprit's address and offset."""
    return [(one.kind, one.culprit.address if one.culprit else None, one.offset) for one in finding.readings]


def test_a_number_at_the_end_of_an_array_is_surely_its_overflow() -> None:
    heap, blocks, finding = stored(8)
    assert (finding.kind, finding.certain, finding.readings) == ("heap-buffer-overflow", True, ())
    assert finding.culprit is not None and finding.culprit.address == heap.payload(blocks[5])


@pytest.mark.parametrize("index", [9, 10, 11])
def test_an_array_is_the_suspect_up_to_four_elements_past_its_end(index: int) -> None:
    heap, blocks, finding = stored(index)
    assert (finding.kind, finding.certain, finding.culprit) == ("header-overwrite", False, None)
    assert finding.suspect is not None and finding.suspect.address == heap.payload(blocks[5])
    assert read(finding) == [
        ("heap-buffer-overflow", heap.payload(blocks[5]), 8 * (index - 8)),
        ("heap-buffer-underflow", heap.payload(blocks[6]), 8 * (index - 12)),
        ("header-overwrite", None, None),
    ]
    assert f"({index} in elements of 8 bytes)" in finding.detail
    assert f"({index - 12} in elements of 8 bytes)" in finding.detail


@pytest.mark.parametrize("index", [-1, -2, -3])
def test_a_negative_index_is_one_of_the_readings(index: int) -> None:
    heap, blocks, finding = stored(index)
    assert not finding.certain
    assert ("heap-buffer-underflow", heap.payload(blocks[5]), 8 * index) in read(finding)
    assert ("heap-buffer-overflow", heap.payload(blocks[4]), 32 + 8 * index) in read(finding)


def test_a_negative_index_of_an_array_that_holds_the_same_number_is_its_underflow() -> None:
    heap, blocks = row(size=64)
    at = heap.start(blocks[5])
    heap.room[at - 8 : at + 64] = DOUBLE * 9
    finding = only(heap)
    assert (finding.kind, finding.certain) == ("heap-buffer-underflow", False)
    assert finding.culprit is not None and finding.culprit.address == heap.payload(blocks[5])
    assert ("heap-buffer-overflow", heap.payload(blocks[4]), 24) in read(finding)


def test_what_fills_an_array_and_all_before_it_up_to_another_block_is_its_underflow() -> None:
    heap, blocks = row(size=96)
    heap.room[heap.end(blocks[4]) : heap.end(blocks[5])] = (DOUBLE * 96)[: heap.end(blocks[5]) - heap.end(blocks[4])]

    finding = only(heap)

    assert (finding.kind, finding.certain) == ("heap-buffer-underflow", False)
    assert finding.culprit is not None and finding.culprit.address == heap.payload(blocks[5])
    assert finding.damage is not None and finding.damage.offset == heap.end(blocks[4]) - heap.start(blocks[5])
    assert ("heap-buffer-overflow", heap.payload(blocks[4]), 0) in read(finding)


@pytest.mark.parametrize("size", [32, 96])
def test_fill_that_runs_over_another_block_up_to_its_very_end_may_be_that_ones_underflow(size: int) -> None:
    heap, blocks = row(size=size)
    start, end = heap.start(blocks[4]), heap.end(blocks[5])
    heap.room[start:end] = (DOUBLE * 96)[: end - start]

    finding = only(heap)

    assert (finding.kind, finding.certain) == ("heap-buffer-overflow", False)
    assert finding.culprit is not None and finding.culprit.address == heap.payload(blocks[4])
    assert "heap-buffer-underflow" in [kind for kind, _, _ in read(finding)]


@pytest.mark.parametrize("more", [-8, 24])
def test_fill_that_ends_elsewhere_than_another_block_is_surely_an_overflow(more: int) -> None:
    heap, blocks = row(size=96)
    start, stop = heap.end(blocks[4]), heap.end(blocks[5]) + more
    heap.room[start:stop] = (DOUBLE * 96)[: stop - start]

    finding = only(heap)

    assert (finding.kind, finding.certain) == ("heap-buffer-overflow", True)
    assert finding.culprit is not None and finding.culprit.address == heap.payload(blocks[4])


@pytest.mark.parametrize("rest", [b"\x04\x40", b"\x00\x00\x00\x00\x04\x40"], ids=["4 bytes", "8 bytes"])
def test_a_number_behind_an_array_that_holds_the_same_one_is_its_overflow_though_its_first_bytes_were_there(
    rest: bytes,
) -> None:
    heap, blocks = row(size=64)
    end = heap.end(blocks[5])
    number = bytes(heap.room[end : end + 2]) + rest
    heap.room[end - 64 : end + len(number)] = number * (64 // len(number) + 1)
    finding = only(heap)
    assert (finding.kind, finding.certain) == ("heap-buffer-overflow", True)
    assert finding.culprit is not None and finding.culprit.address == heap.payload(blocks[5])
    assert finding.damage is not None and (finding.damage.offset, finding.damage.length) == (0, len(number))


def test_the_first_block_alone_is_the_suspect_of_a_negative_index() -> None:
    heap, blocks = row(size=64)
    at = heap.start(blocks[0]) - 16
    heap.room[at : at + 8] = DOUBLE
    finding = only(heap)
    assert finding.suspect is not None and finding.suspect.address == heap.payload(blocks[0])
    assert not finding.certain


@pytest.mark.parametrize("length", [8, 16])
def test_bytes_before_a_block_that_another_ends_as_far_from_may_be_either(length: int) -> None:
    heap, blocks = row()
    heap.write(heap.start(blocks[5]) - length, bytes(range(0x81, 0x81 + length)))
    finding = only(heap)
    assert (finding.kind, finding.certain) == ("heap-buffer-underflow", False)
    assert finding.suspect is not None and finding.suspect.address == heap.payload(blocks[4])


def test_bytes_before_a_block_that_are_more_than_was_left_out_are_surely_its_underflow() -> None:
    heap, blocks = row()
    heap.write(heap.start(blocks[5]) - 20, bytes(range(0x81, 0x81 + 20)))
    finding = only(heap)
    assert (finding.kind, finding.certain, finding.suspect) == ("heap-buffer-underflow", True, None)


def numbers(seed: int, length: int) -> bytes:
    return b"".join((seed * number * number % 97 + 1).to_bytes(4, "little") for number in range(length // 4))


def noise(seed: int, length: int) -> bytes:
    return bytes((seed * number * number + 89 * number + seed) % 251 + 1 for number in range(length))


@pytest.mark.parametrize("length", [32, 200])
def test_two_blocks_overrun_by_different_data_are_two_sure_findings(length: int) -> None:
    heap, blocks = row(size=2000, count=6)
    heap.room[heap.start(blocks[2]) : heap.end(blocks[2])] = numbers(31, 2000)
    ends = heap.end(blocks[2]), heap.end(blocks[3])
    heap.room[ends[1] : ends[1] + length] = noise(7, length)
    heap.room[ends[0] : ends[0] + length] = numbers(13, length)
    findings = heap.findings()
    assert [one.kind for one in findings] == ["heap-buffer-overflow"] * 2
    assert [one.culprit.address for one in findings if one.culprit] == [heap.payload(one) for one in blocks[2:4]]
    assert [(one.damage.length, one.damage.exact) for one in findings if one.damage] == [(32, False)] * 2
    assert [one.certain for one in findings] == [True, True]
    assert not any("would look the same" in one.detail for one in findings)


def test_two_blocks_overrun_by_the_same_kind_of_data_are_two_findings_of_which_one_may_have_run_on() -> None:
    heap, blocks = row(size=2000, count=6)
    ends = heap.end(blocks[2]), heap.end(blocks[3])
    for seed, end in enumerate(ends, 3):
        heap.room[end : end + 32] = noise(seed, 32)
    first, second = heap.findings()
    assert [one.culprit.address for one in (first, second) if one.culprit] == [heap.payload(one) for one in blocks[2:4]]
    assert read(second) == [
        ("heap-buffer-overflow", heap.payload(blocks[3]), 0),
        ("heap-buffer-overflow", heap.payload(blocks[2]), 2032),
    ]


def test_a_pattern_that_runs_through_blocks_is_one_sure_finding() -> None:
    heap, blocks = row(size=2000, count=6)
    heap.room[heap.end(blocks[2]) : heap.end(blocks[2]) + 2100] = b"\xee\x11" * 1050
    finding = only(heap)
    assert finding.damage is not None and finding.damage.length == 2100
    assert finding.certain


def test_zeros_that_run_through_a_block_are_one_finding() -> None:
    heap, blocks = row(size=200, count=8)
    heap.room[heap.end(blocks[2]) : heap.end(blocks[2]) + 300] = bytes(300)
    finding = only(heap)
    assert finding.culprit is not None and finding.culprit.address == heap.payload(blocks[2])


def test_stores_scattered_over_small_blocks_may_be_anything() -> None:
    heap, blocks = row(size=48, count=20)
    begin, end = heap.end(blocks[3]), heap.start(blocks[9])
    heap.room[begin:end] = noise(11, end - begin)
    finding = only(heap)
    assert not finding.certain
    assert finding.culprit is not None and finding.culprit.address == heap.payload(blocks[3])
    assert finding.suspect is not None and finding.suspect.address == heap.payload(blocks[9])
    assert ("header-overwrite", None, None) in read(finding)


def test_an_underflow_of_a_block_whose_header_is_lost_may_have_been_something_else() -> None:
    heap, blocks = row(size=56)
    chance = random.Random(7)
    heap.write(heap.start(blocks[3]) - 12, chance.randbytes(heap.start(blocks[6]) - heap.start(blocks[3]) + 12))
    (finding,) = heap.findings()
    assert (finding.kind, finding.certain) == ("heap-buffer-underflow", False)
    assert "may be a wild write" in finding.detail
