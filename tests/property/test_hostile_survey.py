"""Law: whatever a heap holds, its map is made in bounds: its bytes are counted once at most, and time ends it."""

import random
import struct

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.heaps import PROCESS, Heap

from heapwitness.findings.model import HeapMap, Report
from heapwitness.report import html, json
from heapwitness.survey import tally
from heapwitness.survey.process import heap_map
from heapwitness.survey.tally import Key, Tally

QUICK = settings(deadline=None, max_examples=60, suppress_health_check=list(HealthCheck))
SECONDS = 0.5


def spoiled(seed: int, writes: int, twice: bool) -> Heap:
    """A heap with random words over its headers; `twice` over both copies, so that they are equal."""
    chance = random.Random(seed)
    heap = Heap(size=1 << 16)
    nodes = [heap.allocate(chance.randrange(1, 200)) for _ in range(200)]
    for number in range(writes):
        place = chance.randrange(len(nodes) - 1)
        header = struct.pack("<4I", *(chance.choice((0, 3, 4, 7, 1 << 20, 2**32 - 1)) for _ in range(4)))
        heap.room[heap.start(nodes[place + 1]) - 32 : heap.start(nodes[place + 1]) - 16] = header
        if twice:
            heap.room[heap.start(nodes[place]) - 16 : heap.start(nodes[place])] = header
        if number % 5 == 0:
            at = chance.randrange(320, heap.pool.size - 8)
            heap.room[heap.pool.start + at : heap.pool.start + at + 8] = chance.randbytes(8)
    return heap


def is_in_bounds(mapped: HeapMap) -> bool:
    """Whether no byte is in a map twice."""
    return all(
        sum(columns) <= mapped.pools[0].bins.width
        for one in mapped.pools
        for columns in zip(one.bins.live, one.bins.free, one.bins.cached, one.bins.lost, strict=True)
    )


@QUICK
@given(st.integers(0, 2**32), st.integers(1, 60), st.booleans())
def test_a_spoiled_heap_has_a_map_in_bounds(seed: int, writes: int, twice: bool) -> None:
    heap = spoiled(seed, writes, twice)

    mapped = heap_map(heap.memory(), PROCESS, "check", seconds=SECONDS)

    assert mapped is not None
    assert is_in_bounds(mapped)
    assert json.decode(json.encode(Report(maps=(mapped,)))).maps == (mapped,)
    assert html.encode(Report(maps=(mapped,)))


@QUICK
@given(st.binary(max_size=4096), st.integers(0, 65000))
def test_a_heap_of_any_bytes_has_a_map_in_bounds(data: bytes, at: int) -> None:
    heap = spoiled(1, 0, False)
    start = heap.pool.start + min(at, heap.pool.size - len(data))
    heap.room[start : start + len(data)] = data

    mapped = heap_map(heap.memory(), PROCESS, "check", seconds=SECONDS)

    assert mapped is not None
    assert is_in_bounds(mapped)


def test_more_sites_than_can_be_told_are_counted_together() -> None:
    counted = Tally(1 << 30, 1)
    pool = counted.pool(0, 1 << 30, ())
    for number in range(tally.KEYS_LIMIT + 1000):
        pool.node(64 * number, 64, Key("u", number + 1))
    pool.finish()

    mapped = counted.map(HeapMap(taken="check"), lambda site: ())

    assert mapped.live_blocks == tally.KEYS_LIMIT + 1000
    assert counted.keys() <= tally.KEYS_LIMIT + 1
