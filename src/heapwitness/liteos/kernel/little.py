"""bestfit_little, the second algorithm of the choice: one list of nodes in memory, searched whole for the best fit.

A pool is its manager (head, tail, size, then statistics and the next pool where configured) and
nodes without a gap. A node is `prev`, the task with TASK_STAT, and one word: size of the payload in
30 bits, used, aligned. There is no backup, no magic, and no list of free nodes.

The kernel's own 64-bit nodes do not add up without TASK_STAT (it takes the structure's padding for
payload in one place and for header in another); here the payload follows the word in every layout.
"""

from dataclasses import dataclass

from heapwitness.liteos.config.config import Config
from heapwitness.liteos.errors import BadPool
from heapwitness.liteos.kernel.mechanism import aligned
from heapwitness.liteos.kernel.ram import Ram
from heapwitness.liteos.kernel.statistics import Status, TaskUsage

_SIZE_MASK = 0x3FFFFFFF
_USED = 1 << 30
_ALIGNED_FLAG = 1 << 31
_ALIGN = 4


@dataclass(frozen=True, slots=True)
class LittleLayout:
    """Offsets and sizes in bytes of `LosHeapManager` and `LosHeapNode`; None where the options leave a field out."""

    pointer: int
    manager_size: int
    size_at: int
    stat_at: int | None
    next_pool_at: int | None
    task_at: int | None
    word_at: int
    node_size: int
    task_count: int

    @classmethod
    def of(cls, config: Config) -> "LittleLayout":
        """Compute the layout of a configuration."""
        pointer = config.width // 8
        size_at = 2 * pointer
        end = size_at + 4
        stat_at = next_pool_at = None
        tasks = config.task_limit + 1
        if config.task_stat:
            stat_at, end = end, end + 8 + 8 * tasks
        if config.mul_pool:
            next_pool_at = aligned(end, pointer)
            end = next_pool_at + pointer
        word_at = pointer + 4 if config.task_stat else pointer
        task_at = pointer if config.task_stat else None
        manager_size = aligned(end, pointer)
        return cls(pointer, manager_size, size_at, stat_at, next_pool_at, task_at, word_at, word_at + 4, tasks)


class LittleHeap:
    """The operations of a bestfit_little pool.

    `trusting` heaps believe a freed pointer as the kernel does; others refuse one that names no node of
    the list. Either way a list that cannot be followed ends the operation with an error.
    """

    def __init__(self, ram: Ram, config: Config, *, trusting: bool) -> None:
        self.ram = ram
        self.config = config
        self.layout = LittleLayout.of(config)
        self.trusting = trusting
        self.address = ram.address
        self.task = 0

    @property
    def pool_size(self) -> int:
        """Size of the pool in bytes, its manager included."""
        return self.ram.u32(self.address + self.layout.size_at) + self.layout.manager_size

    @property
    def head(self) -> int:
        """The first node."""
        return self.ram.word(self.address)

    @property
    def tail(self) -> int:
        """The last node."""
        return self.ram.word(self.address + self.layout.pointer)

    def create(self, size: int) -> None:
        """Write a new pool of `size` bytes; BadPool where it cannot hold a node or its size has no 30 bits."""
        layout = self.layout
        if self.address == 0 or not layout.manager_size + layout.node_size < size <= _SIZE_MASK:
            raise BadPool(f"The kernel makes no bestfit_little pool of {size} bytes at {self.address:#x}.")
        self.ram.zero(self.address, size)
        first = self.address + layout.manager_size
        self.ram.set_word(self.address, first)
        self.ram.set_word(self.address + layout.pointer, first)
        self.ram.set_u32(self.address + layout.size_at, size - layout.manager_size)
        self.ram.set_u32(first + layout.word_at, size - layout.manager_size - layout.node_size)
        for counter in self._totals():
            self.ram.set_u32(counter, layout.manager_size + layout.node_size)

    # --- operations --------------------------------------------------------------------------------------------

    def alloc(self, size: int) -> int | None:
        """Allocate `size` bytes in the smallest free node that fits, the last such in memory."""
        if not 0 < size <= _SIZE_MASK - _ALIGN:
            return None
        wanted = aligned(size, _ALIGN)
        best = None
        for node in self.backward():
            word = self._word(node)
            if word & _USED or word & _SIZE_MASK < wanted:
                continue
            if best is None or word & _SIZE_MASK < self.payload_size(best):
                best = node
        if best is None:
            return None
        if self.payload_size(best) - wanted > self.layout.node_size:
            self._split(best, wanted)
        self._set_word(best, self.payload_size(best) | _USED)
        self._count_up(best)
        return best + self.layout.node_size

    def alloc_align(self, size: int, boundary: int) -> int | None:
        """Allocate `size` bytes at a multiple of `boundary`, a power of two no smaller than a pointer."""
        pointer = self.layout.pointer
        if size <= 0 or boundary < pointer or boundary & boundary - 1:
            return None
        # In 64-bit a payload may lie half a pointer before the boundary, without room for the word that says how far.
        spare = boundary - pointer if pointer == _ALIGN else boundary + _ALIGN
        payload = self.alloc(size + spare)
        if payload is None or payload % boundary == 0:
            return payload
        moved = aligned(payload + pointer, boundary)
        self.ram.set_u32(moved - pointer, moved - payload | _ALIGNED_FLAG)
        return moved

    def realloc(self, payload: int, size: int) -> int | None:
        """Move an allocation into a new one; an aligned one cannot be moved, as in the kernel."""
        if payload == 0:
            return self.alloc(size)
        if size == 0:
            self.free(payload)
            return None
        node = payload - self.layout.node_size
        if self.gap(payload) or not self._is_allocated(node):
            return None
        moved = self.alloc(size)
        if moved is not None:
            self.ram.move(payload, moved, min(size, self.payload_size(node)))
            self.free(payload)
        return moved

    def free(self, payload: int) -> bool:
        """Free an allocation and join it with the free nodes beside it."""
        if payload == 0:
            return False
        payload -= self.gap(payload)
        node = payload - self.layout.node_size
        if not self._is_allocated(node):
            return False
        self._count_down(node)
        self._set_word(node, self.payload_size(node))
        self._join(node)
        return True

    def totals(self) -> Status:
        """Totals: the manager and the headers of used nodes count as used, free sizes are payloads."""
        used: list[int] = []
        free: list[int] = []
        for node in self.backward():
            (used if self.is_used(node) else free).append(self.payload_size(node))
        total = self.layout.manager_size + sum(used) + len(used) * self.layout.node_size
        peak = self.ram.u32(self._totals()[1]) if self.config.task_stat else None
        left = self.pool_size - self.layout.manager_size - total
        return Status(total, max(left, 0), max(free, default=0), len(used), len(free), peak)

    # --- nodes -------------------------------------------------------------------------------------------------

    def backward(self) -> list[int]:
        """Nodes from the last to the first.

        Raises:
            BadPool: the list leaves the pool or does not lead back to its head.
        """
        nodes: list[int] = []
        node = self.tail
        while node != 0:
            if nodes and not self.address <= node < nodes[-1]:
                raise _broken(nodes[-1], node)
            nodes.append(node)
            node = self.ram.word(node)
        return nodes

    def following(self, node: int) -> int | None:
        """The node after one in memory; None after the last."""
        return None if node == self.tail else node + self.layout.node_size + self.payload_size(node)

    def broken(self) -> int | None:
        """The first node whose size contradicts the next node's prev, the tail or the end; None when all add up."""
        layout, node = self.layout, self.address + self.layout.manager_size
        end = self.address + min(self.pool_size, self.ram.size)
        if self.head != node or self.ram.word(node) != 0:
            return node
        while True:
            following = node + layout.node_size + self.payload_size(node)
            if node == self.tail or following > end - layout.node_size:
                break
            if self.ram.word(following) != node:
                return node
            node = following
        return None if node == self.tail and following == end else node

    def _is_allocated(self, node: int) -> bool:
        if not self.trusting and node not in self.backward():
            return False
        if not self.head <= node <= self.tail or not self.is_used(node):
            return False
        if node == self.head:
            return True
        before = self.ram.word(node)
        return self.head <= before <= self.tail and self.following(before) == node

    def _split(self, node: int, wanted: int) -> None:
        rest = node + self.layout.node_size + wanted
        rest_size = self.payload_size(node) - wanted - self.layout.node_size
        following = self.following(node)
        self._set_word(rest, rest_size)
        self.ram.set_word(rest, node)
        if following is None:
            self.ram.set_word(self.address + self.layout.pointer, rest)
        else:
            self.ram.set_word(following, rest)
        self._set_word(node, wanted)

    def _join(self, node: int) -> None:
        before = self.ram.word(node)
        while before != 0 and not self.is_used(before):
            if before >= node:
                raise _broken(node, before)
            node, before = before, self.ram.word(before)
        following = self.following(node)
        while following is not None:
            if self.is_used(following):
                self.ram.set_word(following, node)
                return
            last = following == self.tail
            self._set_word(node, self.payload_size(node) + self.layout.node_size + self.payload_size(following))
            if last:
                self.ram.set_word(self.address + self.layout.pointer, node)
            following = self.following(node)

    def gap(self, payload: int) -> int:
        """How far an aligned payload was moved up; 0 for others."""
        at = payload - self.layout.pointer
        if not self.address <= at < self.address + self.ram.size - 4:
            return 0
        word = self.ram.u32(at)
        return word & ~_ALIGNED_FLAG if word & _ALIGNED_FLAG else 0

    def task_of(self, node: int) -> int:
        """The task that allocated a node; 0 without TASK_STAT."""
        return 0 if self.layout.task_at is None else self.ram.u32(node + self.layout.task_at)

    def is_used(self, node: int) -> bool:
        """Whether a node is in use."""
        return bool(self._word(node) & _USED)

    def _word(self, node: int) -> int:
        return self.ram.u32(node + self.layout.word_at)

    def _set_word(self, node: int, value: int) -> None:
        self.ram.set_u32(node + self.layout.word_at, value)

    def payload_size(self, node: int) -> int:
        """Bytes of payload in a node."""
        return self._word(node) & _SIZE_MASK

    # --- statistics --------------------------------------------------------------------------------------------

    def task_usage(self) -> list[TaskUsage]:
        """What each task uses and used at most, tasks without any left out; empty without TASK_STAT."""
        if self.layout.stat_at is None:
            return []
        counters = [(task, *self._task(task)) for task in range(self.layout.task_count)]
        read = self.ram.u32
        return [TaskUsage(task, read(used), read(peak)) for task, used, peak in counters if read(peak)]

    def _totals(self) -> tuple[int, ...]:
        return () if self.layout.stat_at is None else self._pair(self.layout.stat_at)

    def _task(self, task: int) -> tuple[int, int]:
        return self._pair((self.layout.stat_at or 0) + 8 + 8 * min(task, self.layout.task_count - 1))

    def _pair(self, offset: int) -> tuple[int, int]:
        return self.address + offset, self.address + offset + 4

    def _count_up(self, node: int) -> None:
        if self.layout.task_at is None:
            return
        self.ram.set_u32(node + self.layout.task_at, self.task)
        size = self.layout.node_size + self.payload_size(node)
        for used, peak in (self._task(self.task), self._totals()):
            now = self.ram.u32(used) + size & 0xFFFFFFFF
            self.ram.set_u32(used, now)
            self.ram.set_u32(peak, max(now, self.ram.u32(peak)))

    def _count_down(self, node: int) -> None:
        if self.layout.task_at is None:
            return
        size = self.layout.node_size + self.payload_size(node)
        used, _ = self._task(self.ram.u32(node + self.layout.task_at))
        if self.ram.u32(used) >= size:
            self.ram.set_u32(used, self.ram.u32(used) - size)
            total = self._totals()[0]
            self.ram.set_u32(total, self.ram.u32(total) - size)


def _broken(node: int, before: int) -> BadPool:
    return BadPool(f"The node list is broken at {node:#x}: its prev names {before:#x}, which is not before it.")
