"""Blocks side by side in a pool, and what is found in it."""

from heapwitness.findings.model import Finding
from support.heaps import Heap


def row(log2: int = 4, size: int = 48, count: int = 20) -> tuple[Heap, list[int]]:
    """Blocks side by side; each was allocated at a pc of its own, 0x1000 and up."""
    heap = Heap(granule_log2=log2)
    return heap, [heap.allocate(size, pc=0x1000 + number) for number in range(count)]


def only(heap: Heap) -> Finding:
    """The one finding; the engine's check and a walk from outside agree on it."""
    (finding,) = heap.findings()
    (examined,) = heap.examined()
    assert (examined.kind, examined.damage) == (finding.kind, finding.damage)
    return finding
