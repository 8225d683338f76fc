"""Damage in runs of small blocks: each kind at each place, the culprit, and how sure that is."""

import pytest
from support.runs import ASIDE, BASE, PROCESS, SITES, TABLE, RunHeap

from heapwitness.diagnose import diagnose
from heapwitness.findings.model import Finding
from heapwitness.layout import runs
from heapwitness.layout.events import Reason
from heapwitness.layout.witness import Origin
from heapwitness.memory import SegmentsMemory

SIZES = (17, 24, 30, 100, 1000, 1400, 2500, 8000)
FILL = b"\xa5"


def filled(size: int, others: int | None = None) -> tuple[RunHeap, list[tuple[int, int]]]:
    heap = RunHeap(size, *([others] if others else []))
    return heap, heap.fill(0, size)


def only(heap: RunHeap, *numbers: int) -> Finding:
    (finding,) = {one.damage.address if one.damage else 0: one for one in heap.findings(*numbers)}.values()
    return finding


def culprit(finding: Finding) -> int | None:
    return finding.culprit.address if finding.culprit is not None else None


@pytest.mark.parametrize("size", SIZES)
def test_a_byte_past_the_end_of_a_block_is_its_overflow(size: int) -> None:
    heap, blocks = filled(size)
    block = blocks[2]
    low, _ = heap.write(heap.start(block) + size, FILL)

    finding = only(heap)

    assert (finding.kind, finding.certain, culprit(finding)) == ("heap-buffer-overflow", True, heap.payload(block))
    assert finding.culprit is not None and finding.culprit.size == size
    assert finding.culprit.allocated and finding.culprit.allocated.stack[0].pc == 0x1002
    assert finding.damage is not None
    assert (finding.damage.address, finding.damage.length, finding.damage.offset) == (low, 1, 0)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("length", [8, 16, 40, 200])
def test_an_overflow_of_any_length_is_of_the_block_that_it_begins_behind(size: int, length: int) -> None:
    heap, blocks = filled(size)
    block = blocks[2]
    slack = runs.payload_of(runs.class_of(size)) - size
    _, high = heap.write(heap.start(block) + size, FILL * (slack + length))

    found = heap.findings(0)

    assert len(found) == 1
    assert (found[0].kind, culprit(found[0])) == ("heap-buffer-overflow", heap.payload(block))
    assert found[0].damage is not None and found[0].damage.offset == 0
    assert found[0].damage.address + found[0].damage.length == high
    assert found[0].victim is not None and found[0].victim.address == heap.payload(blocks[3])


@pytest.mark.parametrize("size", [16, 32, 1024, 8192])
def test_an_overflow_of_a_block_without_slack_hits_the_header_behind_it_first(size: int) -> None:
    heap, blocks = filled(size)
    heap.write(heap.stop(blocks[4]), b"\0")

    finding = only(heap)

    assert (finding.kind, finding.certain, culprit(finding)) == ("heap-buffer-overflow", True, heap.payload(blocks[4]))
    assert finding.header is not None and finding.header.stored is not None and finding.header.backup is not None
    assert (finding.header.stored["valid"], finding.header.backup["valid"]) == (False, True)
    assert finding.header.backup["size"] == heap.runs[0].shape.granules


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("length", [1, 4, 8, 12, 16])
def test_a_write_before_the_start_of_a_block_is_its_underflow(size: int, length: int) -> None:
    heap, blocks = filled(size)
    heap.write(heap.start(blocks[3]) - length, FILL * length)

    finding = only(heap)

    assert culprit(finding) in (heap.payload(blocks[3]), heap.payload(blocks[2]))
    if length < 16:
        assert (finding.kind, culprit(finding)) == ("heap-buffer-underflow", heap.payload(blocks[3]))
        assert finding.damage is not None and finding.damage.offset == -length


@pytest.mark.parametrize("size", SIZES)
def test_an_overflow_of_which_every_second_byte_is_as_before_is_no_sure_underflow(size: int) -> None:
    heap, blocks = filled(size)
    over, end = blocks[2], heap.start(blocks[2]) + size
    for at in range(end + 1, heap.stop(over) + 16, 2):
        heap.write(at, FILL)

    finding = only(heap)

    assert not finding.certain
    assert heap.payload(over) in {one.culprit.address for one in finding.readings if one.culprit is not None}


@pytest.mark.parametrize("size", SIZES)
def test_a_write_into_a_block_that_was_released_is_told_with_both_its_sites(size: int) -> None:
    for how in (RunHeap.release, RunHeap.hold):
        heap, blocks = filled(size)
        how(heap, blocks[3], 0x2003)
        heap.write(heap.start(blocks[3]) + 3, FILL * 6)

        finding = only(heap)

        assert (finding.kind, finding.certain) == ("use-after-free-write", True)
        assert culprit(finding) == heap.payload(blocks[3])
        assert finding.culprit and finding.culprit.allocated and finding.culprit.freed
        assert finding.culprit.size == size
        assert finding.culprit.allocated.stack[0].pc == 0x1003 and finding.culprit.freed.stack[0].pc == 0x2003
        assert finding.damage is not None and finding.damage.offset == 3


@pytest.mark.parametrize("size", [100, 1000, 2500])
def test_a_write_into_poison_is_told_where_it_is(size: int) -> None:
    heap, blocks = filled(size)
    heap.hold(blocks[3])
    low, high = heap.write(heap.start(blocks[3]) + 50, b"hello")

    finding = only(heap)

    assert (finding.kind, culprit(finding)) == ("use-after-free-write", heap.payload(blocks[3]))
    assert finding.damage is not None
    assert (finding.damage.address, finding.damage.length, finding.damage.offset) == (low, high - low, 50)


def test_a_wild_write_into_a_backup_is_nobodys() -> None:
    heap, blocks = filled(100)
    heap.write(heap.at(blocks[5]) + 9, b"\x77\x77")

    finding = only(heap)

    assert (finding.kind, finding.certain) == ("header-overwrite", False)
    assert finding.victim is not None and finding.victim.address == heap.payload(blocks[6])
    assert finding.damage is not None and finding.damage.copies == ("backup",)


@pytest.mark.parametrize("length", [17, 48, 200])
def test_an_overflow_of_the_last_block_is_its_own_also_where_it_goes_on_into_the_next_run(length: int) -> None:
    heap = RunHeap(1000, 1000)
    blocks = [*heap.fill(0, 1000), *heap.fill(1, 1000)]
    last = blocks[heap.runs[0].shape.capacity - 1]
    low, high = heap.write(heap.start(last) + 1000, FILL * (runs.BYTES - heap.start(last) - 1000 + length))

    for number in (0, 1):
        (finding, *more) = heap.findings(number)

        assert (finding.kind, finding.certain, culprit(finding)) == ("heap-buffer-overflow", True, heap.payload(last))
        assert finding.damage is not None and not more
        assert (finding.damage.address, finding.damage.address + finding.damage.length) == (low, high)


def test_an_overflow_of_the_last_block_that_stays_in_its_run_is_its_own() -> None:
    for size in (24, 1000, 8192):
        heap, blocks = filled(size)
        end = heap.end()
        heap.write(end - (heap.stop(blocks[-1]) - heap.start(blocks[-1]) - size), FILL * 20)

        finding = only(heap)

        assert (finding.kind, finding.certain) == ("heap-buffer-overflow", True)
        assert culprit(finding) == heap.payload(blocks[-1])


def test_damage_that_begins_where_a_run_does_may_be_of_the_run_before() -> None:
    heap = RunHeap(1000, 1000)
    last, (first, *_) = heap.fill(0, 1000)[-1], heap.fill(1, 1000)
    # The run before was put right since.
    heap.write(runs.BYTES, FILL * 32)

    finding = only(heap, 1)

    assert not finding.certain
    assert {one.culprit.address for one in finding.readings if one.culprit} == {heap.payload(last), heap.payload(first)}


def test_damage_that_begins_where_a_run_does_is_not_of_a_block_that_ends_far_before() -> None:
    heap = RunHeap(1000, 1000, formatted=3)
    heap.fill(0, 1000)
    first = heap.fill(1, 1000)[0]
    heap.write(runs.BYTES, FILL * 32)

    finding = only(heap, 1)

    assert (finding.kind, finding.certain, culprit(finding)) == ("heap-buffer-underflow", False, heap.payload(first))
    assert [(one.kind, one.culprit) for one in finding.readings[1:]] == [("heap-buffer-overflow", None)]


@pytest.mark.parametrize("nodes", [3, None])
def test_a_few_bytes_where_a_run_begins_may_be_a_wild_write(nodes: int | None) -> None:
    heap = RunHeap(1000, 1000, formatted=nodes)
    heap.fill(0, 1000)
    heap.fill(1, 1000)
    heap.write(runs.BYTES, FILL * 4)

    finding = only(heap, 1)

    assert not finding.certain
    assert {"header-overwrite", "heap-buffer-overflow"} < {one.kind for one in finding.readings}
    assert finding.kind == ("header-overwrite" if nodes else "heap-buffer-overflow")


def test_a_write_before_the_first_block_is_its_underflow() -> None:
    for number in (0, 1):
        heap = RunHeap(100, 100)
        first = [heap.fill(one, 100) for one in (0, 1)][number][0]
        heap.write(heap.start(first) - 12, FILL * 12)

        finding = only(heap, number)

        assert (finding.kind, finding.certain, culprit(finding)) == ("heap-buffer-underflow", True, heap.payload(first))


def test_a_write_into_the_tail_is_told() -> None:
    heap, _ = filled(5000)
    heap.write(heap.end() + 100, b"\x11" * 4)

    finding = only(heap)

    assert finding.kind == "header-overwrite" and finding.culprit is None
    assert finding.damage is not None and finding.damage.length == 4


def test_a_node_with_two_lost_copies_is_the_victim_of_one_overflow() -> None:
    heap, blocks = filled(24)
    heap.write(heap.start(blocks[4]) + 24, FILL * 100)

    finding = only(heap)

    assert (finding.kind, culprit(finding)) == ("heap-buffer-overflow", heap.payload(blocks[4]))
    assert finding.damage is not None and finding.damage.length == 100


def test_a_block_whose_size_is_lost_is_told_of() -> None:
    heap, _ = filled(1500)
    heap.runs[0].slack[3] ^= 0x8001

    (finding,) = heap.findings()

    assert finding.kind == "header-overwrite" and "size of a block" in finding.detail


def test_what_describes_a_run_is_told_of_when_it_was_overwritten() -> None:
    heap, _ = filled(100)
    heap.runs[0].used += 1

    (finding,) = heap.findings()

    assert finding.kind == "header-overwrite" and "apart from them" in finding.detail


# --- releases


def release(heap: RunHeap, reason: Reason, pointer: int, node: int = 0, **rest: object) -> Finding:
    (finding,) = diagnose(heap.event(reason, 0, node, pointer=pointer, **rest), heap.memory())
    return finding


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("how", ["release", "hold", "hand"])
def test_a_second_release_names_the_first(size: int, how: str) -> None:
    heap, blocks = filled(size)
    getattr(heap, how)(blocks[4], 0x2004)

    finding = release(heap, Reason.DOUBLE, heap.payload(blocks[4]), blocks[4][1])

    assert finding.kind == "double-free" and finding.culprit is not None
    assert (finding.culprit.address, finding.culprit.size) == (heap.payload(blocks[4]), size)
    assert finding.culprit.freed and finding.culprit.freed.stack[0].pc == 0x2004
    assert finding.culprit.allocated and finding.culprit.allocated.stack[0].pc == 0x1004
    assert ("another thread" in finding.detail) == (how == "hand")


def test_a_pointer_into_a_block_is_told_by_its_place() -> None:
    heap, blocks = filled(100)

    inside = release(heap, Reason.INVALID, heap.payload(blocks[4]) + 40)
    behind = release(heap, Reason.INVALID, heap.payload(blocks[4]) + 105)
    outside = release(heap, Reason.INVALID, BASE + runs.BYTES - 1)

    assert culprit(inside) == heap.payload(blocks[4])
    assert "40 bytes past its start and 60 bytes before its end" in inside.detail
    assert culprit(behind) is None and "5 bytes past the end" in behind.detail
    assert culprit(outside) is None and "behind the last block" in outside.detail


def test_a_release_by_another_family_names_both() -> None:
    heap = RunHeap(24)
    block = heap.allocate(0, 24, origin=Origin.NEW)

    finding = release(heap, Reason.MISMATCH, heap.payload(block), block[1])

    assert finding.kind == "mismatched-free" and culprit(finding) == heap.payload(block)
    assert finding.detail == "Allocated by new, released by free."


def test_a_record_with_a_little_of_the_run_is_diagnosed() -> None:
    heap, blocks = filled(24)
    heap.write(heap.stop(blocks[900]), b"\x01" * 4)
    (fault,) = heap.faults()
    memory = heap.memory()

    around = (heap.at(blocks[899]), heap.at(blocks[904]))
    parts = [(BASE + around[0], around[1] - around[0]), (BASE, 32), (BASE + heap.end(), 16)]
    parts += [(PROCESS, 64), (PROCESS + 64, 40), (TABLE, 64), (ASIDE, 184), (SITES, 16 * 1900)]
    record = SegmentsMemory([(at, memory.read(at, length)) for at, length in parts])

    (finding,) = diagnose(heap.event(fault.reason, 0, fault.node, fault.low, fault.high), record)

    assert (finding.kind, culprit(finding)) == ("heap-buffer-overflow", heap.payload(blocks[900]))
    assert finding.culprit and finding.culprit.size == 24
