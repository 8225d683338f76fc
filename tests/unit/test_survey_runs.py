"""The map of a process whose small blocks lie in runs."""

from collections import Counter

import pytest
from support.runs import BASE, PROCESS, RunHeap

from heapwitness.findings.model import HeapMap
from heapwitness.survey import process as survey
from heapwitness.survey.process import heap_map


def mapped(heap: RunHeap) -> HeapMap:
    found = heap_map(heap.memory(), PROCESS, "check")
    assert found is not None
    return found


@pytest.mark.parametrize("small", [True, False])
def test_the_map_counts_the_nodes_of_all_runs(small: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not small:
        monkeypatch.setattr(survey, "WHOLE_LIMIT", 0)
    heap = RunHeap(24, 1500, 200)
    blocks = [*heap.fill(0, 24, 100), *heap.fill(1, 1500), *heap.fill(2, 200)]
    heap.release(blocks[5])
    heap.hold(blocks[7])

    found = mapped(heap)

    (pool,) = found.pools
    assert (pool.address, pool.size, found.whole) == (BASE, 3 * 65536, True)
    assert pool.nodes == sum(run.shape.formatted for run in heap.runs)
    used = Counter(number for number, _ in blocks)
    used[0] -= 2
    assert sum(pool.bins.live) == sum(number * heap.runs[run].shape.stride for run, number in used.items())
    assert sum(pool.bins.cached) == heap.runs[0].shape.stride
    assert [part.size for part in pool.parts] == [8, 8]


def test_blocks_of_a_small_heap_are_told_one_by_one() -> None:
    heap = RunHeap(24, 1500)
    heap.fill(0, 24)
    heap.fill(1, 1500)

    (pool,) = mapped(heap).pools

    assert [set(stretch.requested) for stretch in pool.stretches] == [{24}, {1500}]
    assert [stretch.address for stretch in pool.stretches] == [BASE + 16, BASE + 65536 + 16]


def test_a_damaged_run_is_counted_node_by_node() -> None:
    heap = RunHeap(24)
    blocks = heap.fill(0, 24)
    heap.write(heap.at(blocks[3]), b"\xff" * 8)
    heap.write(heap.at(blocks[2]) + 8, b"\xee" * 8)

    (pool,) = mapped(heap).pools

    assert pool.nodes == len(blocks)
    assert sum(pool.bins.lost) == heap.runs[0].shape.stride
