"""What bestfit does with nodes once it trusts them: lists, splitting, merging, statistics.

These are the kernel's own steps in the kernel's own order, because the bytes depend on it. They
verify nothing; who calls them decides what was verified before (`kernel`: little, `careful`: all).
"""

from collections.abc import Callable

from heapwitness.liteos.config.config import Config
from heapwitness.liteos.kernel.nodes import Nodes
from heapwitness.liteos.kernel.ram import Ram
from heapwitness.liteos.layout.layout import ALIGNED_FLAG, LINK_REGISTERS, USED_FLAG, Layout

LinkRegisters = Callable[[], tuple[int, ...]]


class Mechanism:
    """One pool's nodes and lists. `task` is the task that runs; `link_registers` gives those that LEAKCHECK records."""

    def __init__(self, ram: Ram, config: Config, layout: Layout) -> None:
        self.ram = ram
        self.config = config
        self.layout = layout
        self.nodes = Nodes(ram, layout)
        self.address = ram.address
        self.first = ram.address + layout.first_offset
        self.lists = ram.address + layout.lists_offset
        self.task = 0
        self.link_registers: LinkRegisters = tuple

    @property
    def pool_size(self) -> int:
        """The size that the pool's info says, in bytes."""
        return self.ram.u32(self.address + self.layout.pool.pool_size.offset)

    @property
    def end(self) -> int:
        """The end node."""
        return self.address + self.layout.end_offset(self.pool_size) & self.nodes.mask

    def needed(self, size: int) -> int:
        """Size of the node for a payload of `size` bytes."""
        return aligned(size + self.layout.node_size, self.layout.align)

    def can_split(self, size: int, needed: int) -> bool:
        """Whether a node of `size` leaves a node of its own beside one of `needed` bytes."""
        return needed + self.layout.smallest_node <= size

    def list_index(self, size: int) -> int | None:
        """Which list holds free nodes of `size` bytes; None above the largest."""
        index = max(size.bit_length() - 1 - self.layout.list_min_log2, 0)
        return index if index < self.layout.list_count else None

    def list_head(self, index: int) -> int:
        """Address of a list's head."""
        return self.lists + index * self.layout.list_head_size

    # --- lists -------------------------------------------------------------------------------------------------

    def remove(self, node: int) -> None:
        """Take a node off its list; its neighbours there that are nodes are saved, and so is the node."""
        nodes, ram, pointer = self.nodes, self.ram, self.layout.pointer
        prev, following = nodes.prev(node), nodes.next_link(node)
        ram.set_word(following, prev)
        ram.set_word(nodes.prev(node) + pointer, nodes.next_link(node))
        self._save_entry(nodes.next_link(node))
        self._save_entry(nodes.prev(node))
        nodes.set_next_link(node, 0)
        nodes.set_prev(node, 0)
        self.save(node)

    def insert(self, head: int, node: int) -> None:
        """Put a node right after a list's head; it and the node that was first are saved."""
        nodes, ram = self.nodes, self.ram
        at_next = head + self.layout.pointer
        nodes.set_next_link(node, ram.word(at_next))
        nodes.set_prev(node, head)
        self.save(node)
        links = ram.word(at_next)
        ram.set_word(links, nodes.links(node))
        self._save_entry(links)
        ram.set_word(at_next, nodes.links(node))

    def insert_by_size(self, node: int, step: str) -> bool:
        """Put a free node on the list of its size; False, after `no_list`, where it is too large for any."""
        index = self.list_index(self.nodes.size_and_flag(node))
        if index is None:
            self.no_list(step)
            return False
        self.insert(self.list_head(index), node)
        return True

    def no_list(self, step: str) -> None:
        """Called where a free node has a size that no list is for: `step` is split, release or join."""

    def _save_entry(self, links: int) -> None:
        """Save the node that a list entry belongs to, if it is no list head."""
        if links >= self.first:
            self.save(self.nodes.of_links(links))

    # --- nodes -------------------------------------------------------------------------------------------------

    def save(self, node: int, gap_size: int = 0) -> None:
        """Seal a header and back it up in the node before; nothing without head backup."""
        if self.config.head_backup:
            self.nodes.save(node, gap_size)

    def merge(self, node: int) -> None:
        """Add a node to the one before it and clear its whole header, the backup in it included."""
        nodes = self.nodes
        before = nodes.pre_node(node)
        nodes.set_size_and_flag(before, nodes.size_and_flag(before) + nodes.size_and_flag(node))
        following = node + nodes.size_and_flag(node) & nodes.mask
        nodes.set_pre_node(following, before)
        self.save(before)
        self.save(following)
        self.ram.zero(node, self.layout.node_size)

    def split(self, node: int, needed: int) -> None:
        """Cut a node without flags to `needed` bytes; the rest becomes a free node, joined with a free one after it."""
        nodes = self.nodes
        rest = node + needed & nodes.mask
        nodes.set_pre_node(rest, node)
        nodes.set_size_and_flag(rest, nodes.size_and_flag(node) - needed)
        nodes.set_size_and_flag(node, needed)
        following = nodes.following(rest)
        nodes.set_pre_node(following, rest)
        if nodes.used(following):
            self.save(following)
        else:
            self.remove(following)
            self.merge(following)
        if self.insert_by_size(rest, "split"):
            self.save(rest)

    def occupy(self, node: int, size: int) -> None:
        """Make a free node that fits used, for a payload of `size` bytes: split, off its list, marked and saved."""
        nodes = self.nodes
        needed = self.needed(size)
        if self.can_split(nodes.size_and_flag(node), needed):
            self.split(node, needed)
        self.remove(node)
        self.mark(node)
        nodes.set_size_and_flag(node, nodes.size_and_flag(node) | USED_FLAG)
        self.count_up(nodes.size(node), nodes.task(node))
        if self.config.recordinfo:
            nodes.set_origin_size(node, size)
        self.save(node)
        self.record_links(node)

    def release(self, node: int) -> None:
        """Make a used node free: counted down, its flags off, joined with free neighbours, on the list of its size."""
        nodes = self.nodes
        self.count_down(nodes.size(node), nodes.task(node))
        nodes.set_size_and_flag(node, nodes.size(node))
        self.save(node)
        self.record_links(node)
        before = nodes.pre_node(node)
        if before != 0 and not nodes.used(before):
            self.merge(node)
            self._join_following(before)
            self.remove(before)
            self.insert_by_size(before, "join")
        else:
            self._join_following(node)
            self.insert_by_size(node, "release")

    def shrink(self, node: int, needed: int) -> None:
        """Cut a used node to `needed` bytes where the rest makes a node."""
        nodes = self.nodes
        size = nodes.size(node)
        if self.can_split(size, needed):
            nodes.set_size_and_flag(node, size)
            self.split(node, needed)
            nodes.set_size_and_flag(node, nodes.size_and_flag(node) | USED_FLAG)
            self.save(node)
            self.count_down(size - needed, nodes.task(node))
        self.record_links(node)

    def grow(self, node: int, needed: int) -> None:
        """Take the free node after a used one into it, and give back what is more than `needed` bytes."""
        nodes = self.nodes
        size = nodes.size(node)
        following = nodes.following(node)
        nodes.set_size_and_flag(node, size)
        self.remove(following)
        self.merge(following)
        if self.can_split(nodes.size_and_flag(node), needed):
            self.split(node, needed)
        self.count_up(nodes.size_and_flag(node) - size, nodes.task(node))
        nodes.set_size_and_flag(node, nodes.size_and_flag(node) | USED_FLAG)
        self.save(node)
        self.record_links(node)

    def align_payload(self, node: int, payload: int, size: int) -> None:
        """Move a used node's payload up to `payload`; the word before it and the header say how far."""
        gap_size = payload - node - self.layout.node_size
        self.nodes.set_size_and_flag(node, self.nodes.size_and_flag(node) | ALIGNED_FLAG)
        if self.config.recordinfo:
            self.nodes.set_origin_size(node, size)
        self.save(node, gap_size)
        self.ram.set_u32(payload - 4, gap_size | ALIGNED_FLAG)

    def mark(self, node: int) -> None:
        """Give a used node its magic and the task that runs."""
        if self.layout.has_magic:
            self.nodes.set_magic(node)
            self.nodes.set_task(node, self.task)
            self.save(node)

    def set_module(self, node: int, module: int) -> None:
        """Note the module that owns a used node."""
        self.nodes.set_module(node, module)
        self.save(node)

    def set_requested(self, node: int, size: int) -> None:
        """Note the requested size of a node that kept its place in a realloc."""
        if self.config.recordinfo:
            self.nodes.set_origin_size(node, size)
            self.save(node)

    def record_links(self, node: int) -> None:
        """Record the return addresses of the running operation, with LEAKCHECK."""
        if self.config.leakcheck:
            registers = (*self.link_registers(), *(0,) * LINK_REGISTERS)[:LINK_REGISTERS]
            self.nodes.set_link_registers(node, registers)

    def _join_following(self, node: int) -> None:
        following = self.nodes.following(node)
        if not self.nodes.used(following):
            self.remove(following)
            self.merge(following)

    # --- statistics --------------------------------------------------------------------------------------------

    def count_up(self, size: int, task: int) -> None:
        """Add a node to what the task and the pool use, and to their peaks."""
        if not self.config.task_stat:
            return
        for used, peak in (self.task_counters(task), self.total_counters()):
            now = self.ram.u32(used) + size & 0xFFFFFFFF
            self.ram.set_u32(used, now)
            self.ram.set_u32(peak, max(now, self.ram.u32(peak)))

    def count_down(self, size: int, task: int) -> None:
        """Take a node off what the task and the pool use; nothing where the task is said to use less."""
        if not self.config.task_stat:
            return
        used, _ = self.task_counters(task)
        if self.ram.u32(used) < size:
            return
        total, _ = self.total_counters()
        self.ram.set_u32(used, self.ram.u32(used) - size)
        self.ram.set_u32(total, self.ram.u32(total) - size)

    def task_counters(self, task: int) -> tuple[int, int]:
        """Addresses of a task's used and peak counters; the last place counts whoever has none of its own."""
        stat, fields = self.layout.pool.stat, self.layout.pool.stat_fields
        assert stat is not None and fields is not None
        place = min(task, fields.task_count - 1)
        start = self.address + stat.offset + fields.tasks.offset + place * fields.task_stride
        return start + fields.task_used.offset, start + fields.task_peak.offset

    def total_counters(self) -> tuple[int, int]:
        """Addresses of the pool's used and peak counters."""
        stat, fields = self.layout.pool.stat, self.layout.pool.stat_fields
        assert stat is not None and fields is not None
        start = self.address + stat.offset
        return start + fields.total_used.offset, start + fields.total_peak.offset

    # --- making a pool -----------------------------------------------------------------------------------------

    def create(self, size: int) -> bool:
        """Write a new pool of `size` bytes; False where its one free node is too large for any list."""
        nodes, layout, pool = self.nodes, self.layout, self.layout.pool
        self.ram.set_word(self.address + pool.pool.offset, self.address)
        self.ram.set_u32(self.address + pool.pool_size.offset, size)
        for index in range(layout.list_count):
            head = self.list_head(index)
            self.ram.set_word(head, head)
            self.ram.set_word(head + layout.pointer, head)
        free_size = size - layout.first_offset - layout.node_size
        end = self.end
        nodes.set_size_and_flag(self.first, free_size)
        nodes.set_pre_node(self.first, end)
        own_list = self.list_index(free_size)
        if own_list is None:
            return False
        head = self.list_head(own_list)
        for address in (nodes.links(self.first), head):
            other = head if address != head else nodes.links(self.first)
            self.ram.set_word(address, other)
            self.ram.set_word(address + layout.pointer, other)
        self.ram.zero(end, layout.node_size)
        nodes.set_pre_node(end, self.first)
        nodes.set_size_and_flag(end, layout.node_size | USED_FLAG)
        self.mark(end)
        if self.config.task_stat:
            stat = pool.stat
            assert stat is not None
            self.ram.zero(self.address + stat.offset, stat.size)
            for counter in self.total_counters():
                self.ram.set_u32(counter, layout.first_offset + layout.node_size)
        self.save(self.first)
        self.save(end)
        return True


def aligned(value: int, boundary: int) -> int:
    """The next multiple of a power of two."""
    return value + boundary - 1 & -boundary
