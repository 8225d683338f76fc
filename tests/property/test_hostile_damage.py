"""What the fault campaign (benchmarks/faults) found, each as the smallest case."""

import pytest
from support.heaps import Heap

from heapwitness.pool import Pool


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
