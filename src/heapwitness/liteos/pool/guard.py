"""Verify before you save: which nodes an operation will read and save, and whether all of them can be trusted.

A node can be trusted when its own header and the backup in the node before it say the same, with a
checksum that holds, and both lead to the nodes around. Without head backup the links to and from
the neighbours and the magic are all there is.
"""

from collections.abc import Iterable

from heapwitness.liteos.kernel.mechanism import Mechanism
from heapwitness.liteos.layout.copies import saved_ranges
from heapwitness.liteos.layout.layout import ALIGNED_FLAG, SIZE_MASK, USED_FLAG


class Guard:
    """Answers for one pool; changes nothing."""

    def __init__(self, heap: Mechanism, size: int) -> None:
        self.heap = heap
        self.size = size
        self.end = heap.address + heap.layout.end_offset(size)
        self._saved = saved_ranges(heap.layout)

    def pool_is_sound(self) -> bool:
        """Whether the pool's info still says where the pool lies and how large it is."""
        heap, pool = self.heap, self.heap.layout.pool
        own = heap.ram.word(heap.address + pool.pool.offset)
        return own == heap.address and heap.pool_size == self.size

    def is_place(self, node: int) -> bool:
        """Whether a node other than the end node can start at an address."""
        return self.heap.first <= node < self.end and (node - self.heap.first) % self.heap.layout.align == 0

    def holds(self, node: int) -> bool:
        """Whether a node can be trusted: both copies of its header agree with each other and with its neighbours."""
        heap, nodes, end = self.heap, self.heap.nodes, self.end
        if node != end and not self.is_place(node):
            return False
        before = nodes.pre_node(node)
        if node == heap.first:
            if before != end:
                return False
        elif not self.is_place(before) or before + nodes.size(before) != node:
            return False
        size_and_flag = nodes.size_and_flag(node)
        size = size_and_flag & SIZE_MASK
        if size < heap.layout.node_size or size % heap.layout.align:
            return False
        if node == end:
            if not size_and_flag & USED_FLAG or size != heap.layout.node_size:
                return False
        elif node + size > end:
            return False
        if heap.config.head_backup and not self._copies_agree(node, before):
            return False
        if size_and_flag & USED_FLAG:
            return not heap.layout.has_magic or nodes.magic_holds(node)
        return not size_and_flag & ALIGNED_FLAG and self._links_hold(node)

    def _copies_agree(self, node: int, before: int) -> bool:
        heap, layout = self.heap, self.heap.layout
        own = heap.ram.offset(node + layout.header_offset, layout.control.size)
        backup = heap.ram.offset(before + (layout.backup_offset or 0), layout.control.size)
        view = heap.ram.view
        for offset, length in self._saved:
            start, other = own + offset, backup + offset
            if view[start : start + length] != view[other : other + length]:
                return False
        return heap.nodes.checksum_holds(node)

    def _links_hold(self, node: int) -> bool:
        """Whether the entries before and after a free node on its list name it."""
        ram, nodes = self.heap.ram, self.heap.nodes
        links = nodes.links(node)
        prev, following = nodes.prev(node), nodes.next_link(node)
        if not self._is_entry(prev) or not self._is_entry(following):
            return False
        return ram.word(prev + self.heap.layout.pointer) == links and ram.word(following) == links

    def list_holds(self, head: int) -> bool:
        """Whether a list's head and the first and last entries name each other."""
        ram = self.heap.ram
        at_next = head + self.heap.layout.pointer
        last, first = ram.word(head), ram.word(at_next)
        if first == head or last == head:
            return first == last
        entries = self._is_entry(first) and self._is_entry(last)
        return entries and ram.word(first) == head and ram.word(last + self.heap.layout.pointer) == head

    def _is_entry(self, links: int) -> bool:
        """Whether an address can be that of a list head or of a node's links."""
        heap = self.heap
        if links >= heap.first:
            return self.is_place(heap.nodes.of_links(links))
        return heap.lists <= links and (links - heap.lists) % heap.layout.list_head_size == 0

    def around(self, node: int) -> list[int]:
        """The nodes that splitting, releasing or resizing a trusted node will read or save, itself included."""
        nodes = self.heap.nodes
        before, after = nodes.pre_node(node), nodes.following(node)
        touched = [before, after]
        if not self.holds(before) or not self.holds(after):
            return [node, *touched]
        # The backup in the node after belongs to the one behind that; it is the first that an overflow hits.
        touched.append(self.heap.first if after == self.end else nodes.following(after))
        for neighbour in (before, node, after):
            if not nodes.used(neighbour):
                touched += self._listed_beside(neighbour)
        return [node, *touched]

    def first_of_lists(self, sizes: Iterable[int]) -> list[int]:
        """The first nodes of the lists on which free nodes of these sizes belong: an insertion saves them."""
        found = []
        for size in sizes:
            index = self.heap.list_index(size)
            if index is not None:
                links = self.heap.ram.word(self.heap.list_head(index) + self.heap.layout.pointer)
                if links >= self.heap.first:
                    found.append(self.heap.nodes.of_links(links))
        return found

    def _listed_beside(self, node: int) -> list[int]:
        """The nodes beside a free one on its list: taking it off saves them."""
        nodes = self.heap.nodes
        entries = (nodes.prev(node), nodes.next_link(node))
        return [nodes.of_links(links) for links in entries if links >= self.heap.first]
