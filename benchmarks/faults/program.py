"""Random programs on a pool of the core, each step made on a twin as well that no damage reaches.

The core is deterministic: as long as every damage is found and mended, both pools give the same nodes and hold the
same bytes. So the twin says, to the byte, what the damaged pool should have been.
"""

import mmap
import random
from collections.abc import Callable
from dataclasses import dataclass, replace

from heapwitness.layout import witness
from heapwitness.layout.witness import Origin, State
from heapwitness.memory import READ_LIMIT, Unreadable
from heapwitness.pool import Damaged, Node, Pool

BASE = 0x7F00_0000_0000
SPARE = 64 << 10
"""Behind the pool, as the engine keeps it, for overflows across its end."""

_SIZES = (4096, 8192, 16384, 32768)
_STEPS = (20, 60, 120)


@dataclass(frozen=True, slots=True)
class Block:
    """What the program knows: a node's requested size in bytes, and its state."""

    size: int
    state: State
    poison: bool = False


@dataclass(frozen=True, slots=True)
class Saved:
    """A program's heap at one moment."""

    memory: bytes
    blocks: dict[int, Block]
    nodes: list[Node]


class PoolMemory:
    """A pool's buffer at BASE, its spare memory included."""

    def __init__(self, buffer: mmap.mmap) -> None:
        self._buffer = buffer

    def read(self, address: int, length: int) -> bytes:
        """See `heapwitness.memory.Memory.read`."""
        start = address - BASE
        if start < 0 or not 0 <= length <= READ_LIMIT or start + length > len(self._buffer):
            raise Unreadable(address, length)
        return self._buffer[start : start + length]


class Program:
    """A heap that a random program has used for a while.

    Attributes:
        pool: the one that is damaged.
        twin: the one that is not.
        blocks: every node that is no free one.
    """

    def __init__(self, choose: random.Random) -> None:
        size, log2 = choose.choice(_SIZES), choose.choice((4, 4, 3))
        secret = (choose.getrandbits(32), choose.getrandbits(32), choose.getrandbits(32), choose.getrandbits(32))
        # Mapped memory begins at a page in both: aligned blocks lie alike.
        self.buffer = mmap.mmap(-1, size + SPARE)
        self._other = mmap.mmap(-1, size + SPARE)
        self.pool = Pool(self.buffer, granule_log2=log2, size=size, secret=secret)
        self.twin = Pool(self._other, granule_log2=log2, size=size, secret=secret)
        self.memory = PoolMemory(self.buffer)
        self.blocks: dict[int, Block] = {}
        self._nodes: list[Node] = []
        for _ in range(choose.choice(_STEPS)):
            self.step(choose)

    def save(self) -> Saved:
        """The heap now; both pools are alike."""
        return Saved(self.buffer[:], dict(self.blocks), self.nodes)

    def restore(self, saved: Saved) -> None:
        """Make both pools what they were."""
        self.buffer[:] = saved.memory
        self._other[:] = saved.memory
        self.blocks = dict(saved.blocks)
        self._nodes = saved.nodes

    @property
    def nodes(self) -> list[Node]:
        """The nodes as they should be, without the end node."""
        self._nodes = self._nodes or list(self.twin.nodes())
        return self._nodes

    def step(self, choose: random.Random, guard: Callable[[], None] | None = None) -> None:
        """One operation. `guard` is called when the pool says that it is damaged; then the operation is repeated.

        Raises:
            heapwitness.pool.Damaged: without a guard, or when the repair did not help.
        """
        used = [node for node, block in self.blocks.items() if block.state is State.USED]
        cached = [node for node, block in self.blocks.items() if block.state is State.CACHED]
        what = choose.randrange(100)
        if what < 45 or not used:
            self._allocate(choose, guard)
        elif what < 60:
            node = choose.choice(used)
            self.apply(lambda pool: pool.release(node, site=3), guard)
            del self.blocks[node]
        elif what < 75:
            self._resize(choose, choose.choice(used), guard)
        elif what < 88 or not cached:
            self._cache(choose, choose.choice(used), guard)
        elif what < 94:
            node = choose.choice(cached)
            self.apply(lambda pool: pool.release(node, site=4), guard)
            del self.blocks[node]
        else:
            node = choose.choice(cached)
            size = self.blocks[node].size
            if self.apply(lambda pool: pool.uncache(node, size, site=5), guard):
                self.blocks[node] = Block(size, State.USED)
                self._fill(choose, node, 0)

    def apply(self, operation: Callable[[Pool], object], guard: Callable[[], None] | None = None) -> object:
        """The operation on both pools; its result, which is the same."""
        self._nodes = []
        try:
            result = operation(self.pool)
        except Damaged:
            if guard is None:
                raise
            guard()
            result = operation(self.pool)
        expected = operation(self.twin)
        if expected == result:
            return result
        raise Diverged(f"{result} differs from {expected}, which an undamaged heap gives")

    def _allocate(self, choose: random.Random, guard: Callable[[], None] | None) -> None:
        size = choose.choice((choose.randrange(1, 64), choose.randrange(1, 300), choose.randrange(1, 2000)))
        align = choose.choice((1, 1, 1, 1, 32, 64))
        origin = Origin.ALIGNED if align > 1 else choose.choice((Origin.MALLOC, Origin.NEW, Origin.NEW_ARRAY))
        node = self.apply(lambda pool: pool.allocate(size, align=align, origin=origin, site=2), guard)
        if isinstance(node, int):
            self.blocks[node] = Block(size, State.USED)
            self._fill(choose, node, 0)

    def _resize(self, choose: random.Random, node: int, guard: Callable[[], None] | None) -> None:
        old = self.blocks[node].size
        size = max(1, choose.choice((old + choose.randrange(-20, 40), choose.randrange(1, 400))))
        if self.apply(lambda pool: pool.resize(node, size, site=6), guard):
            self.blocks[node] = replace(self.blocks[node], size=size)
            self._fill(choose, node, min(old, size))

    def _cache(self, choose: random.Random, node: int, guard: Callable[[], None] | None) -> None:
        poison = choose.random() < 0.5
        self.apply(lambda pool: pool.cache(node, poison=poison, site=7), guard)
        found = self.twin.node(node)
        small = found is not None and found.size << self.pool.granule_log2 == witness.MIN_NODE
        self.blocks[node] = Block(self.blocks[node].size, State.CACHED, poison and not small)

    def _fill(self, choose: random.Random, node: int, start: int) -> None:
        """What a program keeps in its blocks: nothing, text, numbers, noise."""
        at, length = self.start(node) + start, self.blocks[node].size - start
        match choose.randrange(5):
            case 0:
                data = bytes(length)
            case 1:
                data = choose.choice((b"lorem ipsum ", b"A", b"key=value;")) * length
            case 2:
                data = b"".join(number.to_bytes(4, "little") for number in range(length // 4 + 1))
            case 3:
                return
            case _:
                data = choose.randbytes(length)
        for buffer in (self.buffer, self._other):
            buffer[at : at + length] = data[:length]

    def start(self, node: int) -> int:
        """Where a node's payload begins, in bytes from the pool's start."""
        return (node << self.pool.granule_log2) + witness.OVERHEAD

    def end(self, node: int) -> int:
        """Where its requested bytes end."""
        return self.start(node) + self.blocks[node].size

    def same(self, start: int, stop: int) -> bool:
        """Whether these bytes of the pool are what they should be."""
        return self.buffer[start:stop] == self._other[start:stop]


class Diverged(Exception):
    """An operation did what it would not have done without the damage."""
