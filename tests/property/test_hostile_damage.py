"""What the fault campaign (benchmarks/faults) found, each as the smallest case."""

import io
import random
import struct

import pytest
from rich.console import Console
from support.heaps import SECRET, Heap, Reason

from heapwitness.diagnose import diagnose
from heapwitness.findings.model import Finding, Report
from heapwitness.layout import witness
from heapwitness.pool import Damaged, Pool
from heapwitness.report import json, terminal


def row(size: int, count: int = 20) -> tuple[Heap, list[int]]:
    """Blocks side by side."""
    heap = Heap()
    return heap, [heap.allocate(size) for _ in range(count)]


def extent(heap: Heap, finding: Finding) -> tuple[int, int, bool]:
    """Where in `room` the damage begins and ends, and whether that is all of it."""
    damage = finding.damage
    assert damage is not None
    start = damage.address - heap.address(0)
    return start, start + damage.length, damage.exact


def payload_of(pool: Pool, node: int) -> memoryview:
    """All bytes of a node behind its header."""
    found = pool.node(node)
    assert found is not None
    start = (node << pool.granule_log2) + 32
    return pool.memory[start : (node + found.size) << pool.granule_log2]


@pytest.mark.parametrize("log2", [3, 4])
@pytest.mark.parametrize(("begin", "length"), [(0, 17), (0, 60), (3, 40), (12, 8), (15, 2)])
def test_links_and_poison_that_one_write_hit_are_both_restored(log2: int, begin: int, length: int) -> None:
    heap = Heap(granule_log2=log2)
    blocks = [heap.allocate(100) for _ in range(3)]
    heap.cache(blocks[1], poison=True)
    before = bytes(payload_of(heap.pool, blocks[1]))
    heap.write(heap.start(blocks[1]) + begin, b"\xee" * length)

    outcome = heap.pool.repair()

    assert bytes(payload_of(heap.pool, blocks[1])) == before
    assert (outcome.links, outcome.poisons) == (1, 1 if begin + length > 16 else 0)


@pytest.mark.parametrize("poison", [False, True])
def test_a_write_from_a_released_block_into_the_next_header_is_one_finding(poison: bool) -> None:
    heap = Heap()
    blocks = [heap.allocate(100) for _ in range(4)]
    heap.cache(blocks[1], poison=poison)
    heap.write(heap.start(blocks[1]) + 8, b"\xee" * 120)

    (finding,) = heap.findings()

    assert finding.kind == "use-after-free-write"
    assert finding.culprit is not None and finding.culprit.address == heap.payload(blocks[1])
    assert finding.damage is not None and finding.damage.length == 120


@pytest.mark.parametrize("width", [2, 4, 8])
@pytest.mark.parametrize("size", [41, 42, 43, 44, 45, 46, 47])
@pytest.mark.parametrize("step", [1, 48, 0x1000])
def test_counting_words_are_followed_wherever_they_begin(width: int, size: int, step: int) -> None:
    heap, blocks = row(size)
    words = b"".join(((250 + step * number) % 256**width).to_bytes(width, "little") for number in range(600 // width))
    heap.write(heap.end(blocks[3]), words)

    (finding,) = heap.findings()

    assert extent(heap, finding) == (heap.end(blocks[3]), heap.end(blocks[3]) + len(words), True)


@pytest.mark.parametrize("inside", [1, 5, 9, 15])
def test_words_that_end_inside_of_a_lost_header_end_there(inside: int) -> None:
    heap, blocks = row(91)
    length = heap.start(blocks[5]) - witness.OVERHEAD + inside - heap.end(blocks[3])
    words = struct.pack("<100Q", *range(0x5555_0000_4610, 0x5555_0000_4610 + 4800, 48))[:length]
    going_on = struct.pack("<Q", 0x5555_0000_4610 + 48 * (length // 8))[length % 8]
    first, stop = heap.write(heap.end(blocks[3]), words)

    (finding,) = heap.findings()

    is_surely_the_end = heap.memory().read(stop, 1)[0] != going_on
    assert extent(heap, finding) == (first - heap.address(0), stop - heap.address(0), is_surely_the_end)


@pytest.mark.parametrize("inside", [0, 4, 9])
def test_text_whose_terminator_lies_in_a_lost_header_ends_with_it(inside: int) -> None:
    heap, blocks = row(91)
    length = heap.start(blocks[5]) - witness.OVERHEAD + inside - heap.end(blocks[3])
    text = bytes(random.Random(3).choices(b"abcdefgh ijk,", k=length)) + b"\0"
    first, stop = heap.write(heap.end(blocks[3]), text)

    (finding,) = heap.findings()

    assert extent(heap, finding) == (first - heap.address(0), stop - heap.address(0), True)


def test_noise_whose_last_watched_byte_had_that_value_is_not_said_to_end_there() -> None:
    heap, blocks = row(100)
    heap.cache(blocks[3])
    at = heap.start(blocks[3]) + 9
    noise = bytearray(random.Random(5).randbytes(20))
    noise[6] = heap.room[at + 6]
    heap.write(at, bytes(noise))

    (finding,) = heap.findings()

    assert finding.damage is not None and not finding.damage.exact


def test_a_fill_from_a_released_block_up_to_the_start_of_a_live_one_is_its_underflow() -> None:
    heap, blocks = row(56)
    heap.cache(blocks[4], poison=True)
    begin, end = heap.start(blocks[5]) - 60, heap.start(blocks[5])
    heap.write(begin, b"\xee" * 60)

    (finding,) = heap.findings()

    assert finding.kind == "heap-buffer-underflow"
    assert finding.culprit is not None and finding.culprit.address == heap.payload(blocks[5])
    assert finding.suspect is not None and finding.suspect.address == heap.payload(blocks[4])
    assert extent(heap, finding) == (begin, end, True)


@pytest.mark.parametrize("cached", [False, True])
def test_a_write_over_the_header_of_a_released_block_is_no_underflow_of_it(cached: bool) -> None:
    heap, blocks = row(56)
    (heap.cache if cached else heap.release)(blocks[5])
    heap.write(heap.start(blocks[5]) - 12, b"\xee" * 12)

    (finding,) = heap.findings()

    assert finding.kind == "header-overwrite"
    assert finding.victim is not None and finding.victim.address == heap.payload(blocks[6])
    assert finding.previous is not None and finding.previous.address == heap.payload(blocks[5])


def test_a_write_over_several_headers_belongs_to_the_block_in_which_it_ends() -> None:
    heap, blocks = row(64)
    heap.room[heap.start(blocks[5]) : heap.start(blocks[5]) + 10] = b"\xee" * 10
    begin = heap.start(blocks[3]) - 14
    heap.write(begin, b"\xee" * (heap.start(blocks[5]) - begin))

    (finding,) = heap.findings()

    assert finding.kind == "heap-buffer-underflow"
    assert finding.culprit is not None and finding.culprit.address == heap.payload(blocks[5])


@pytest.mark.parametrize("size", [100, 1000, 2_000_000])
@pytest.mark.parametrize("order", [(1, 0), (0, 1), (2, 1, 0), (2, 0, 1), (2, 1, 0)])
def test_a_block_released_twice_has_its_own_size_though_it_was_merged(size: int, order: tuple[int, ...]) -> None:
    heap = Heap(size=4 << 20)
    blocks = [heap.allocate(one) for one in (40, size, 40, 40)]
    for number in order:
        heap.release(blocks[number])

    (finding,) = diagnose(heap.event(Reason.DOUBLE, blocks[1], pointer=heap.payload(blocks[1])), heap.memory())

    assert finding.culprit is not None
    assert (finding.culprit.address, finding.culprit.size) == (heap.payload(blocks[1]), size)


@pytest.mark.parametrize("byte", range(32))
def test_a_pool_does_not_grow_over_a_damaged_copy_of_its_control_block(byte: int) -> None:
    pool = Pool(bytearray(8192), size=4096)
    pool.memory[pool.size - 32 + byte] ^= 0x40

    with pytest.raises(Damaged) as caught:
        pool.extend(8192 - 16)

    assert caught.value.fault.reason is Reason.CONTROL
    assert [fault.reason for fault in pool.check()] == [Reason.CONTROL]


@pytest.mark.parametrize("log2", [3, 4])
@pytest.mark.parametrize("at", [4, 14, 18, 30, -60, -34, -20, -8])
@pytest.mark.parametrize("length", [1, 3, 8, 40])
def test_no_report_shows_the_key_of_a_pool(log2: int, at: int, length: int) -> None:
    heap = Heap(granule_log2=log2)
    heap.allocate(40)
    heap.write(heap.pool.start + (at if at > 0 else heap.pool.size + at), b"\xee" * length)
    key = struct.pack("<4I", *SECRET)

    findings = heap.findings()

    written = json.encode(Report(findings=findings)).decode()
    shown = io.StringIO()
    for finding in findings:
        terminal.render(finding, Console(file=shown, width=100))
    assert findings
    for place in range(0, 16, 4):
        word = key[place : place + 4]
        assert word.hex() not in written
        assert word.hex(" ") not in shown.getvalue()


@pytest.mark.parametrize("inside", [1, 4, 8, 9, 10, 11])
def test_an_overflow_into_the_links_of_a_waiting_block_ends_where_it_ends(inside: int) -> None:
    heap = Heap(granule_log2=3)
    blocks = [heap.allocate(size) for size in (40, 1, 5, 40)]
    heap.give_to_owner(blocks[2])
    first, end = heap.write(heap.end(blocks[1]), b"\xee" * (47 + inside))

    (finding,) = heap.findings()

    assert finding.damage is not None
    assert (finding.damage.address, finding.damage.address + finding.damage.length) == (first, end)


@pytest.mark.parametrize("present", [False, True])
def test_a_wrong_bit_of_a_bin_is_found_by_the_release_that_would_put_it_right(present: bool) -> None:
    heap = Heap()
    blocks = [heap.allocate(40) for _ in range(6)]
    if present:
        heap.release(blocks[1])
    number = heap.pool.node(blocks[3]).size - 3  # type: ignore[union-attr]
    heap.room[heap.pool.start + 48 + number // 8] ^= 1 << number % 8

    with pytest.raises(Damaged):
        heap.pool.release(blocks[3])
        heap.pool.allocate(40)

    assert [fault.reason for fault in heap.pool.check()] == [Reason.CONTROL]


def test_old_slack_in_a_released_block_is_not_taken_for_its_poison() -> None:
    heap = Heap()
    block = heap.allocate(65)
    heap.allocate(40)
    heap.pool.resize(block, 80)
    heap.cache(block)
    before = bytes(payload_of(heap.pool, block))
    heap.write(heap.start(block) + 8, b"\xee" * 8)

    (finding,) = heap.findings()
    heap.pool.repair()

    assert finding.damage is not None and finding.damage.length == 8
    assert bytes(payload_of(heap.pool, block)) == before


@pytest.mark.parametrize("length", [1, 3, 5, 20, 40])
def test_a_fill_of_ones_over_the_slack_of_the_smallest_block_is_its_overflow(length: int) -> None:
    heap, blocks = row(11)
    first, end = heap.write(heap.end(blocks[3]), b"\xff" * length)

    (finding,) = heap.findings()

    assert finding.kind == "heap-buffer-overflow" and finding.damage is not None
    assert (finding.damage.address, finding.damage.address + finding.damage.length) == (first, end)


@pytest.mark.parametrize("size", [20, 100])
def test_noise_over_lost_headers_whose_first_byte_was_the_same_is_an_overflow(size: int) -> None:
    heap, blocks = row(size)
    length = heap.start(blocks[6]) + 9 - heap.end(blocks[3])
    noise = bytearray(random.Random(11).randbytes(length))
    noise[0] = heap.room[heap.end(blocks[3])]
    heap.write(heap.end(blocks[3]), bytes(noise))

    finding = heap.findings()[0]

    assert finding.kind == "heap-buffer-overflow"
    assert finding.culprit is not None and finding.culprit.address == heap.payload(blocks[3])


def test_a_fill_from_a_released_block_whose_last_byte_was_the_same_still_ends_before_the_live_one() -> None:
    heap, blocks = row(56)
    heap.cache(blocks[4], poison=True)
    begin, end = heap.start(blocks[5]) - 60, heap.start(blocks[5])
    heap.write(begin, bytes([heap.room[end - 1]]) * 60)

    (finding,) = heap.findings()

    assert finding.kind == "heap-buffer-underflow"
    assert finding.culprit is not None and finding.culprit.address == heap.payload(blocks[5])


@pytest.mark.parametrize("fill", [0xFF, 0x41, 0xA5])
def test_a_fill_of_the_control_block_is_one_finding_though_it_says_that_the_index_is_stale(fill: int) -> None:
    heap, _ = row(40)
    begin, end = heap.pool.start + 32, heap.pool.start + witness.CONTROL
    heap.write(begin, bytes([fill]) * (end - begin))

    (finding,) = heap.findings()

    assert extent(heap, finding) == (begin, end, True)


def test_zeros_over_several_headers_are_no_overflow_of_a_block_whose_slack_is_whole() -> None:
    heap, blocks = row(49)
    begin, end = heap.end(blocks[3]) + 15, heap.start(blocks[6])
    heap.write(begin, bytes(end - begin))

    (finding,) = heap.findings()

    assert finding.kind == "heap-buffer-underflow"
    assert finding.culprit is not None and finding.culprit.address == heap.payload(blocks[6])


@pytest.mark.parametrize("inside", [13, 14, 15])
def test_zeros_that_end_inside_of_a_lost_header_are_at_least_as_many_as_they_are(inside: int) -> None:
    heap, blocks = row(91)
    length = heap.start(blocks[5]) - witness.OVERHEAD + inside - heap.end(blocks[3])
    first, stop = heap.write(heap.end(blocks[3]), bytes(length))

    finding = heap.findings()[0]

    begin, end, exact = extent(heap, finding)
    assert not exact
    assert begin == first - heap.address(0) and end <= stop - heap.address(0)
