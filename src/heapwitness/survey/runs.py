"""The nodes of an engine's runs for a map: as `nodes` does for a pool, all runs of a region as one.

Here, too, two equal copies of a header count as a node without their check; where they differ, each node is looked at.
"""

from collections import Counter
from collections.abc import Sequence

from heapwitness.errors import HeapwitnessError
from heapwitness.findings.model import MapNodes, MapPart
from heapwitness.heap.area import PoolNode
from heapwitness.heap.run import RunView, run_of
from heapwitness.heap.runs import WalkedRuns
from heapwitness.layout import runs
from heapwitness.layout.process import Region
from heapwitness.memory import Memory
from heapwitness.survey.nodes import Budget, key_from, key_of, one_by_one
from heapwitness.survey.tally import Key, PoolTally, Tally

PARTS = (
    MapPart(name="header", offset=0, size=runs.HEADER),
    MapPart(name="backup", offset=runs.KEPT, size=runs.HEADER),
)

_WORD = 8


def count_runs(
    memory: Memory, region: Region, tally: Tally, budget: Budget, near: Sequence[tuple[int, int]] = ()
) -> None:
    """Count the nodes of all runs of a region.

    Args:
        near: stretches of bytes from the region's start, in order; nodes in these are told one by one.
    """
    counted = tally.pool(region.base, region.size, PARTS)
    stretches: list[MapNodes] = []
    for number in range(region.runs):
        view = run_of(memory, region, number) if not budget.is_spent() else None
        if view is None:
            continue
        start = number * runs.BYTES
        area = WalkedRuns(memory, (view,), 0)
        try:
            if not _quickly(area, view, counted, start):
                _slowly(area, counted, start)
            for low, high in near:
                if low < start + runs.BYTES and high > start:
                    stretches.extend(one_by_one(area, _nodes(area, low - start, high - start)))
        except HeapwitnessError:
            continue
    counted.finish(tuple(stretches))


def _quickly(area: WalkedRuns, view: RunView, counted: PoolTally, start: int) -> bool:
    """Count a run whose copies are all equal by what its nodes have in common; False for another one, and for one that
    does not lie in one bin."""
    shape = view.shape
    if start // counted.width != (start + runs.BYTES - 1) // counted.width:
        return False
    data = area.read(0, (shape.end << runs.GRANULE_LOG2) + runs.OVERHEAD)
    words, step = memoryview(data).cast("Q"), shape.stride // _WORD
    first = (runs.FIRST << runs.GRANULE_LOG2) // _WORD
    own, kept = words[first::step].tolist(), words[first + 1 :: step].tolist()
    if own != [words[1], *kept[:-1]]:
        return False
    kinds: dict[Key, int] = {}
    for header, number in Counter(own[:-1]).items():
        key = key_from((header & 0xFFFFFFFF) >> 4)
        kinds[key] = kinds.get(key, 0) + number
    for key, number in kinds.items():
        counted.nodes(start, key, Counter({shape.stride: number}))
    return True


def _slowly(area: WalkedRuns, counted: PoolTally, start: int) -> None:
    for node in _nodes(area, 0, runs.BYTES):
        counted.node(start + (node.offset << area.log2), node.header.size << area.log2, key_of(node))


def _nodes(area: WalkedRuns, low: int, high: int) -> list[PoolNode]:
    """The blocks' nodes that have bytes between two of a run."""
    return [
        node
        for node in area.walk(area.at(max(0, low)))
        if not area.is_bound(node.offset) and low < node.next << area.log2 and node.offset << area.log2 < high
    ]
