"""The nodes of an engine's pool for a map: all of them counted, those in some stretches one by one.

A map is made while a thread waits, of heaps with millions of nodes. So two equal copies of a header count as a node
here without their keyed check; where they differ, `heap.walk` looks, which checks everything.
"""

import bisect
import struct
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from heapwitness.findings.model import MapNodes, MapPart
from heapwitness.heap.area import NodeArea, PoolNode
from heapwitness.heap.walk import walk
from heapwitness.heap.walked_pool import WalkedPool
from heapwitness.layout import witness
from heapwitness.survey.tally import Key, PoolTally, Tally

PARTS = (
    MapPart(name="header", offset=0, size=witness.HEADER),
    MapPart(name="backup", offset=witness.KEPT, size=witness.HEADER),
)

_CHUNK = 4 << 20
_TWO_HEADERS = struct.Struct("<8I")
_LETTERS = "fucl"
"""By a header's state; an end node is not counted."""

_LOST = Key("l")


@dataclass(slots=True)
class Budget:
    """Until when (of time.monotonic) nodes are counted, and whether that was not enough."""

    until: float
    spent: bool = False

    def is_spent(self) -> bool:
        """Whether time is up; remembered."""
        self.spent = self.spent or time.monotonic() > self.until
        return self.spent


def count(pool: WalkedPool, tally: Tally, budget: Budget, near: Sequence[tuple[int, int]] = ()) -> None:
    """Count a pool's nodes.

    Args:
        near: stretches of bytes from the pool's start, in order; nodes in these are told one by one.

    Raises:
        Unreadable: the memory ends before the pool does; what was counted before is in the tally.
    """
    counted = tally.pool(pool.base, pool.length, PARTS)
    stretches: list[MapNodes] = []
    try:
        counter = _Counter(pool, counted, budget)
        counter.run()
        for start, stop in near:
            stretches.extend(_stretch(pool, counter.standing_before(start), start, stop))
    finally:
        counted.finish(tuple(stretches))


class _Counter:
    def __init__(self, pool: WalkedPool, counted: PoolTally, budget: Budget) -> None:
        self._pool = pool
        self._counted = counted
        self._budget = budget
        self._log2 = pool.log2
        # Nodes that stood, a bin apart: bytes from the pool's start.
        self._marks: list[int] = []

    def standing_before(self, at: int) -> int | None:
        """A node that stands a little before a byte, in granules; None for the first."""
        number = bisect.bisect_left(self._marks, at) - 1
        return self._marks[number] >> self._log2 if number >= 0 else None

    def run(self) -> None:
        """All nodes from the first on."""
        node, pool = self._pool.first, self._pool
        kept = self._first_kept()
        while node < pool.end and not self._budget.is_spent():
            node, kept, differs = self._chunk(node, kept)
            if differs:
                node, kept = self._slowly(node)

    def _first_kept(self) -> tuple[int, ...]:
        """The backup of the first node's header, which the end node keeps."""
        at = (self._pool.end << self._log2) + witness.KEPT
        return witness.HEADER_WORDS.unpack(self._pool.memory.read(self._pool.base + at, witness.HEADER))

    def _chunk(self, node: int, kept: tuple[int, ...]) -> tuple[int, tuple[int, ...], bool]:
        """The nodes in one chunk of memory; the next one, its backup, and whether that one is not as it should be."""
        pool, log2 = self._pool, self._log2
        start = node << log2
        data = pool.memory.read(pool.base + start, min(_CHUNK, (pool.end << log2) - start))
        last, at, total = len(data) - witness.OVERHEAD, 0, len(data)
        unpack, smallest = _TWO_HEADERS.unpack_from, pool.min_node
        width = self._counted.width
        size0, back0, meta0, check0 = kept
        differs = False
        while at <= last and not differs:
            # The nodes that lie wholly in one bin are counted by what they have in common.
            room = min(width - (start + at) % width, total - at)
            begun, stop = at, at + room
            inside: dict[int, list[int]] = {}
            while at <= last:
                size, back, meta, check, *following = unpack(data, at)
                if check != check0 or meta != meta0 or size != size0 or back != back0 or size < smallest:
                    differs = True
                    break
                after = at + (size << log2)
                if after > stop:
                    break
                sizes = inside.get(meta >> 4)
                if sizes is None:
                    sizes = inside[meta >> 4] = []
                sizes.append(size)
                at = after
                size0, back0, meta0, check0 = following
            if at > begun:
                self._marks.append(start + begun)
            self._put(start + begun, inside)
            if at <= last and not differs:
                # A node that leads on into the next bin.
                size, _, meta, _, *following = unpack(data, at)
                if start + at + (size << log2) > pool.end << log2:
                    differs = True
                    break
                self._counted.node(start + at, size << log2, key_from(meta >> 4))
                at += size << log2
                size0, back0, meta0, check0 = following
        return (start + at) >> log2, (size0, back0, meta0, check0), differs

    def _put(self, at: int, inside: dict[int, list[int]]) -> None:
        for common, granules in inside.items():
            sizes = Counter({size << self._log2: number for size, number in Counter(granules).items()})
            self._counted.nodes(at, key_from(common), sizes)

    def _slowly(self, node: int) -> tuple[int, tuple[int, ...]]:
        """Nodes from one on whose copies differ to the next one that is whole: it, and its backup."""
        pool = self._pool
        for one in walk(pool, self.standing_before(node << self._log2)):
            if one.offset < node:
                continue
            if one.offset == pool.end or self._budget.is_spent():
                break
            if one.offset > node and one.intact:
                return one.offset, tuple(one.kept)
            self._counted.node(one.offset << self._log2, one.header.size << self._log2, key_of(one))
        return pool.end, ()


def key_from(common: int) -> Key:
    """What a header says of its node, without its slack: `meta >> 4`."""
    site = common >> 4
    return _LOST if site == witness.SITE_QUARANTINE else Key(_LETTERS[common & 3], site)


def key_of(node: PoolNode) -> Key:
    return _LOST if node.lost else key_from(node.header.meta >> 4)


def _stretch(pool: WalkedPool, known: int | None, start: int, stop: int) -> Iterator[MapNodes]:
    """The nodes in a stretch of bytes, one by one; `known` is one that stands before it."""
    log2 = pool.log2
    nodes: list[PoolNode] = []
    for node in walk(pool, known):
        if node.offset == pool.end or node.offset << log2 >= stop:
            break
        if node.next << log2 > start:
            nodes.append(node)
    yield from one_by_one(pool, nodes)


def one_by_one(pool: NodeArea, nodes: Sequence[PoolNode]) -> Iterator[MapNodes]:
    """Nodes that lie one behind the other."""
    log2 = pool.log2
    if not nodes:
        return
    yield MapNodes(
        address=pool.base + (nodes[0].offset << log2),
        sizes=tuple(node.header.size << log2 for node in nodes),
        states="".join(key_of(node).state for node in nodes),
        requested=tuple(max(0, pool.requested(node.offset, node.header)) for node in nodes),
        sites=tuple(key_of(node).site for node in nodes),
        owners=(),
    )
