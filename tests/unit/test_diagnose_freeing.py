"""Wrong releases: which block, how far, by whom."""

import pytest
from support.heaps import BASE, Heap, Origin, Reason

from heapwitness.diagnose import diagnose, with_outcome
from heapwitness.findings.model import Finding, Place
from heapwitness.layout.events import Outcome, Released, When


def released(heap: Heap, reason: Reason, pointer: int, node: int = 0, **rest: object) -> Finding:
    (finding,) = diagnose(heap.event(reason, node, pointer=pointer, **rest), heap.memory())
    assert finding.pointer == pointer
    return finding


def first_pcs(finding: Finding) -> tuple[int, int]:
    assert finding.culprit is not None and finding.culprit.allocated and finding.culprit.freed
    return finding.culprit.allocated.stack[0].pc, finding.culprit.freed.stack[0].pc


@pytest.mark.parametrize("how", ["cached", "free", "merged", "pending"])
def test_a_second_release_names_both_sites(how: str) -> None:
    heap = Heap()
    blocks = [heap.allocate(40, pc=0x1000 + number) for number in range(9)]
    if how == "cached":
        heap.cache(blocks[5], pc=0x2005)
    elif how == "pending":
        heap.give_to_owner(blocks[5], pc=0x2005)
    else:
        if how == "merged":
            heap.release(blocks[4])
        heap.release(blocks[5], pc=0x2005)
    finding = released(heap, Reason.DOUBLE, heap.payload(blocks[5]), blocks[5])
    assert finding.kind == "double-free"
    assert finding.culprit is not None
    assert (finding.culprit.address, finding.culprit.size) == (heap.payload(blocks[5]), 40)
    assert first_pcs(finding) == (0x1005, 0x2005)


def test_a_second_release_of_a_big_block_is_known_from_what_was_remembered() -> None:
    heap = Heap()
    allocated = heap.site(0x1000)
    site = heap.site(0x2000, allocated)
    gone = Released(address=0x7000_0000, size=5 << 20, site=site, origin=Origin.NEW)
    finding = released(heap, Reason.DOUBLE, 0x7000_0000, pool=0, released=gone)
    assert finding.culprit is not None
    assert (finding.culprit.size, finding.culprit.origin, finding.culprit.state) == (5 << 20, "new", "free")
    assert first_pcs(finding) == (0x1000, 0x2000)


@pytest.mark.parametrize(("past", "aligned"), [(16, True), (1, False), (39, False)])
def test_a_pointer_into_a_block_says_which_and_how_far(past: int, aligned: bool) -> None:
    heap = Heap()
    blocks = [heap.allocate(40) for _ in range(9)]
    finding = released(heap, Reason.INVALID, heap.payload(blocks[5]) + past, blocks[5])
    assert finding.kind == "invalid-free"
    assert finding.culprit is not None and finding.culprit.address == heap.payload(blocks[5])
    assert f"{past} byte" in finding.detail and f"{40 - past} byte" in finding.detail
    assert ("multiple" not in finding.detail) == aligned


@pytest.mark.parametrize("named", [True, False])
def test_the_block_is_found_where_the_engine_names_none(named: bool) -> None:
    heap = Heap()
    blocks = [heap.allocate(100) for _ in range(9)]
    heap.cache(blocks[5])
    finding = released(heap, Reason.INVALID, heap.payload(blocks[5]) + 32, blocks[5] if named else 0)
    assert finding.culprit is not None and finding.culprit.address == heap.payload(blocks[5])
    assert "released already" in finding.detail


@pytest.mark.parametrize(
    ("at", "words"), [(42, "2 bytes past the end"), (-8, "8 bytes before"), (-30, "30 bytes before")]
)
def test_a_pointer_between_blocks_says_so(at: int, words: str) -> None:
    heap = Heap()
    blocks = [heap.allocate(40) for _ in range(9)]
    finding = released(heap, Reason.INVALID, heap.payload(blocks[5]) + at)
    assert finding.culprit is None
    assert "between blocks" in finding.detail and words in finding.detail


def test_a_pointer_outside_of_any_heap_was_never_allocated() -> None:
    heap = Heap()
    finding = released(heap, Reason.INVALID, 0x1234, pool=0)
    assert finding.culprit is None and "never allocated" in finding.detail


def test_the_pool_is_found_by_its_region_where_the_event_names_none() -> None:
    heap = Heap()
    block = heap.allocate(40)
    finding = released(heap, Reason.INVALID, heap.payload(block) + 8, pool=0)
    assert finding.culprit is not None and finding.culprit.size == 40


@pytest.mark.parametrize(
    ("origin", "family", "words"),
    [
        (Origin.NEW_ARRAY, Origin.MALLOC, "Allocated by new[], released by free."),
        (Origin.MALLOC, Origin.NEW, "Allocated by malloc, released by delete."),
        (Origin.NEW, Origin.NEW_ARRAY, "Allocated by new, released by delete[]."),
    ],
)
def test_another_family_is_named(origin: Origin, family: Origin, words: str) -> None:
    heap = Heap()
    block = heap.allocate(40, pc=0x1000, origin=origin)
    finding = released(heap, Reason.MISMATCH, heap.payload(block), block, family=family)
    assert finding.kind == "mismatched-free"
    assert finding.detail == words
    assert finding.culprit is not None and finding.culprit.allocated is not None


@pytest.mark.parametrize("reason", [Reason.DOUBLE, Reason.INVALID, Reason.MISMATCH])
def test_without_any_readable_memory_the_finding_stands(reason: Reason) -> None:
    heap = Heap()
    event = heap.event(reason, 30, pointer=BASE + 640)._replace(pool=0x1000, process=0x2000)
    (finding,) = diagnose(event, heap.memory())
    assert finding.culprit is None and finding.detail


def test_a_wrong_release_is_not_repaired() -> None:
    heap = Heap()
    block = heap.allocate(40)
    finding = released(heap, Reason.MISMATCH, heap.payload(block), block, family=Origin.NEW)
    outcome = Outcome(headers=1, backups=0, slacks=0, links=0, poisons=0, controls=0, quarantined=0)
    assert with_outcome(finding, outcome) == finding


def counted_array(count: int, size: int, cookie: int = 8, granule_log2: int = 4) -> tuple[Heap, int]:
    """A heap with a block of new[] that begins with the number of its elements."""
    heap = Heap(granule_log2=granule_log2)
    word = 8 if granule_log2 == 4 else 4
    block = heap.allocate(cookie + count * size, origin=Origin.NEW_ARRAY)
    start = heap.start(block)
    heap.room[start + cookie - word : start + cookie] = count.to_bytes(word, "little")
    return heap, block


@pytest.mark.parametrize(("cookie", "granule_log2"), [(8, 4), (16, 4), (4, 3)])
@pytest.mark.parametrize("family", [Origin.NEW, Origin.MALLOC])
def test_an_array_that_is_released_at_its_first_element_needs_delete_of_arrays(
    family: Origin, cookie: int, granule_log2: int
) -> None:
    heap, block = counted_array(10, 24, cookie, granule_log2)
    finding = released(heap, Reason.INVALID, heap.payload(block) + cookie, block, family=family)
    assert "starts with a count, of 10 elements of 24 bytes; delete[] is needed" in finding.detail
    assert finding.released_with == ("delete" if family is Origin.NEW else "free")


def test_a_pointer_to_an_element_says_which() -> None:
    heap, block = counted_array(10, 24)
    finding = released(heap, Reason.INVALID, heap.payload(block) + 8 + 3 * 24, block, family=Origin.NEW)
    assert "element 3 of 10, of 24 bytes each" in finding.detail


@pytest.mark.parametrize("past", [1, 12, 33])
def test_a_pointer_between_elements_says_of_no_element(past: int) -> None:
    heap, block = counted_array(10, 24)
    finding = released(heap, Reason.INVALID, heap.payload(block) + past, block, family=Origin.NEW)
    assert "element" not in finding.detail


def test_an_array_without_a_count_has_no_elements_to_tell_of() -> None:
    heap = Heap()
    block = heap.allocate(200, origin=Origin.NEW_ARRAY)
    finding = released(heap, Reason.INVALID, heap.payload(block) + 8, block, family=Origin.NEW)
    assert "element" not in finding.detail


def test_delete_of_arrays_on_a_single_object_is_told_by_where_it_looks_for_the_count() -> None:
    heap = Heap()
    block = heap.allocate(40, origin=Origin.NEW)
    finding = released(heap, Reason.INVALID, heap.payload(block) - 8, family=Origin.NEW_ARRAY)
    assert "allocated with new; delete is needed" in finding.detail


def test_delete_inside_of_an_object_may_be_that_of_a_base_class() -> None:
    heap = Heap()
    block = heap.allocate(40, origin=Origin.NEW)
    assert "virtual destructor" in released(heap, Reason.INVALID, heap.payload(block) + 16, family=Origin.NEW).detail
    assert "destructor" not in released(heap, Reason.INVALID, heap.payload(block) + 16, family=Origin.MALLOC).detail


def elsewhere(pointer: int) -> Place:
    return Place(kind="stack", thread=pointer)


def test_a_pointer_out_of_all_heaps_is_told_by_where_it_leads() -> None:
    heap = Heap()
    event = heap.event(Reason.INVALID, 0, pointer=0x1234, pool=0, when=When.REALLOC)
    (finding,) = diagnose(event, heap.memory(), elsewhere)
    assert (finding.place, finding.released_with) == (elsewhere(0x1234), "realloc")


@pytest.mark.parametrize("pool", [0, BASE])
def test_where_a_pointer_into_the_heap_leads_is_not_asked(pool: int) -> None:
    heap = Heap()
    block = heap.allocate(40)
    for pointer in (heap.payload(block) + 8, heap.payload(block) - 20, BASE + 8):
        (finding,) = diagnose(heap.event(Reason.INVALID, 0, pointer=pointer, pool=pool), heap.memory(), elsewhere)
        assert finding.place is None
