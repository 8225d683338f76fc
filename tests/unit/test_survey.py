"""The map of a heap agrees with a walk that checks every node."""

import random

import pytest
from support.heaps import BASE, PROCESS, Heap

from heapwitness.findings.model import NOBODY, HeapMap
from heapwitness.heap import PoolNode, walk
from heapwitness.heap.walked_pool import WalkedPool
from heapwitness.layout.witness import State
from heapwitness.survey import near, tally
from heapwitness.survey.process import heap_map
from heapwitness.survey.tally import Key, Tally


def filled(seed: int = 1, size: int = 1 << 19, blocks: int = 1500) -> tuple[Heap, list[int]]:
    """A heap with live, free and cached blocks of many sizes, and the live ones."""
    chance = random.Random(seed)
    heap = Heap(size=size)
    nodes = [heap.allocate(chance.choice([1, 24, 40, 100, 300, 1000]), pc=0x1000 + 16 * (n % 3)) for n in range(blocks)]
    gone = chance.sample(nodes, blocks // 3)
    for node in gone:
        (heap.release if chance.random() < 0.5 else heap.cache)(node)
    return heap, [node for node in nodes if node not in gone]


def map_of(heap: Heap, **options: float) -> HeapMap:
    mapped = heap_map(heap.memory(), PROCESS, "check", heap.findings(), **options)  # type: ignore[arg-type]
    assert mapped is not None
    return mapped


def walked(heap: Heap) -> list[PoolNode]:
    pool = WalkedPool.open(heap.memory(), BASE, heap.pool.size)
    return [node for node in walk(pool) if node.offset != pool.end]


def size_of(nodes: list[PoolNode], *states: State) -> tuple[int, int]:
    chosen = [node.header.size << 4 for node in nodes if node.header.state in states and not node.lost]
    return len(chosen), sum(chosen)


@pytest.mark.parametrize("seed", range(4))
def test_counts_and_bytes_are_those_of_a_walk(seed: int) -> None:
    heap, _ = filled(seed)

    mapped = map_of(heap)

    nodes = walked(heap)
    assert (mapped.live_blocks, mapped.live) == size_of(nodes, State.USED)
    assert (mapped.free_blocks, mapped.free) == size_of(nodes, State.FREE)
    assert (mapped.cached_blocks, mapped.cached) == size_of(nodes, State.CACHED)
    assert mapped.largest_free == max(node.header.size << 4 for node in nodes if node.header.state is State.FREE)


@pytest.mark.parametrize("seed", range(4))
def test_bins_hold_exactly_the_bytes_that_lie_in_them(seed: int) -> None:
    heap, _ = filled(seed)

    (pool,) = map_of(heap).pools

    width, expected = pool.bins.width, [0] * len(pool.bins.live)
    for node in walked(heap):
        start, stop = node.offset << 4, node.next << 4
        for number in range(start // width, (stop - 1) // width + 1):
            if node.header.state is State.USED:
                expected[number] += min(stop, (number + 1) * width) - max(start, number * width)
    assert list(pool.bins.live) == expected
    assert sum(pool.bins.blocks) == pool.nodes == len(walked(heap))


def test_single_nodes_of_a_small_heap_are_all_told() -> None:
    heap, _ = filled()

    (pool,) = map_of(heap).pools

    (stretch,) = pool.stretches
    nodes = walked(heap)
    assert list(stretch.sizes) == [node.header.size << 4 for node in nodes]
    assert stretch.states == "".join("fuc"[node.header.state] for node in nodes)
    assert stretch.address == BASE + (nodes[0].offset << 4)


def test_a_large_heap_tells_single_nodes_around_what_was_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("heapwitness.survey.process.WHOLE_LIMIT", 0)
    monkeypatch.setattr(near, "AROUND", 4096)
    monkeypatch.setattr(near, "LEAST_AROUND", 4096)
    heap, nodes = filled()
    live = nodes[len(nodes) // 2]
    heap.write(heap.end(live), b"over")

    (pool,) = map_of(heap).pools

    (stretch,) = pool.stretches
    assert stretch.address <= heap.payload(live) < stretch.address + sum(stretch.sizes)
    assert len(stretch.sizes) < 200


def test_sites_have_what_is_live_of_them() -> None:
    heap, _ = filled()

    mapped = map_of(heap)

    assert sum(site.blocks for site in mapped.sites) <= mapped.live_blocks
    assert {frame.pc for site in mapped.sites for frame in site.stack} >= {0x1000, 0x1010, 0x1020}


def test_damage_is_passed_and_what_lies_behind_is_counted() -> None:
    heap, nodes = filled()
    before = map_of(heap)
    heap.write(heap.end(nodes[600]), bytes(range(1, 64)))

    mapped = map_of(heap)

    total = sum((mapped.live, mapped.free, mapped.cached, mapped.lost))
    assert total == sum((before.live, before.free, before.cached, before.lost))


def test_time_that_is_up_gives_a_part_that_says_so() -> None:
    heap, _ = filled()

    mapped = map_of(heap, seconds=-1.0)

    assert not mapped.whole
    assert "what is shown is a part" in mapped.notes[0]


def test_no_engine_gives_no_map() -> None:
    heap, _ = filled()

    assert heap_map(heap.memory(), 0x1234, "check") is None


def test_bins_of_many_pools_stay_few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tally, "POOLS_LIMIT", 50)
    counted = Tally(200 * (1 << 20), 200)
    for number in range(200):
        pool = counted.pool(number << 24, 1 << 20, ())
        pool.node(0, 1 << 19, Key("u", 7))
        pool.finish()

    mapped = counted.map(HeapMap(taken="check"), lambda site: ())

    assert len(mapped.pools) == 50
    assert sum(len(pool.bins.live) for pool in mapped.pools) <= tally.BINS_LIMIT
    assert mapped.live_blocks == 200
    assert "150 more pools" in mapped.notes[0]
    assert set(mapped.pools[0].bins.sites) == {NOBODY}
