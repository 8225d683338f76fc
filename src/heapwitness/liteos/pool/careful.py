"""Bestfit that obeys the three rules: verify before you save, check both neighbours, damage is data.

On undamaged pools it takes the same nodes and leaves the same bytes as the kernel; in 64-bit it
also frees. Before an operation touches a node, that node and all that will be saved with it are
verified. What does not verify is inspected as a whole, reported, and repaired where a copy
survived; what cannot be repaired is left alone and the operation goes without it or is refused.
"""

from collections.abc import Callable
from typing import Protocol

from heapwitness.findings.model import When
from heapwitness.liteos.config.config import Config
from heapwitness.liteos.kernel.console import Console
from heapwitness.liteos.kernel.kernel import Kernel
from heapwitness.liteos.kernel.ram import Ram
from heapwitness.liteos.layout.layout import ALIGNED_FLAG, USED_FLAG, Layout
from heapwitness.liteos.pool.guard import Guard

_FLAGS = USED_FLAG | ALIGNED_FLAG


class Witness(Protocol):
    """Looks at the whole pool for the heap."""

    def repair(self, when: When) -> None:
        """Report everything that is wrong, and repair what can be repaired."""

    def explain(self, when: When, pointer: int) -> None:
        """Report a pointer that names no allocation."""

    def tell_mismatch(self, when: When, pointer: int, detail: str) -> None:
        """Report a block that the wrong one releases."""


class Careful(Kernel):
    """The kernel's operations over trusted nodes only.

    `witness` reports and repairs what is damaged in the pool, and explains pointers that name no allocation.
    """

    def __init__(self, ram: Ram, config: Config, layout: Layout, console: Console, size: int, witness: Witness) -> None:
        super().__init__(ram, config, layout, console)
        self.guard = Guard(self, size)
        self.witness = witness
        self._seen_whole = True
        self._hopeless: set[int] = set()

    def distrust(self) -> None:
        """Have the whole pool inspected before its next operation: it was made elsewhere."""
        self._seen_whole = False

    def forget_damage(self) -> None:
        """Look again at nodes that could not be repaired before."""
        self._hopeless.clear()

    # --- allocation --------------------------------------------------------------------------------------------

    def _allocate(self, size: int) -> int | None:
        # In a pool at an unaligned address the kernel, with MEM_DEBUG, takes every node for a foreign one.
        if not self._pool_is_sound("malloc") or (self.config.debug and self._is_foreign(self.first)):
            return None
        needed = self.needed(size)
        node = self._find(needed)
        if node is None:
            return None
        self.occupy(node, size)
        return node + self.layout.node_size

    def _find(self, needed: int) -> int | None:
        """As the kernel searches, over trusted nodes; a list is searched up to the first that cannot be trusted."""
        start = self.list_index(needed)
        for index in range(self.layout.list_count if start is None else start, self.layout.list_count):
            node = self._find_in(index, needed)
            if node is not None:
                return node
        return None

    def _find_in(self, index: int, needed: int) -> int | None:
        nodes, head = self.nodes, self.list_head(index)
        if not self._is_list_sound(head, "malloc"):
            return None
        links = self.ram.word(head + self.layout.pointer)
        # The head and entries that verify name each other both ways, so the walk ends at the head.
        while links != head:
            node = nodes.of_links(links)
            if not self._is_node_trusted("malloc", node):
                return None
            size = nodes.size_and_flag(node)
            if size & USED_FLAG:
                return None
            if size >= needed and self._can_take(node, size, needed):
                return node
            links = nodes.next_link(node)
        return None

    def _can_take(self, node: int, size: int, needed: int) -> bool:
        rests = [size - needed] if self.can_split(size, needed) else []
        return self._is_trusted("malloc", lambda: self.guard.around(node) + self.guard.first_of_lists(rests))

    # --- release -----------------------------------------------------------------------------------------------

    def free(self, payload: int) -> bool:
        """Free what an allocation returned; null is refused without a finding, anything else with one."""
        if payload == 0:
            return False
        node = self.node_of(payload, "free")
        if node is None or not self._can_release(node, "free"):
            return False
        self.release(node)
        return True

    def node_of(self, payload: int, when: When) -> int | None:
        """The trusted used node whose payload a pointer names; None after a finding about the pointer or the node."""
        if not self._pool_is_sound(when):
            return None
        node = self._allocated(payload)
        if node is None:
            self.witness.repair(when)
            node = self._allocated(payload)
        if node is None:
            self.witness.explain(when, payload)
        return node

    def tell_foreign(self, when: When, payload: int, node: int, owner: int, module: int) -> None:
        """Report that a module gives back what another one owns; as by the kernel, that is done all the same."""
        self.witness.tell_mismatch(when, payload, f"Module {module} releases a block that module {owner} allocated.")

    def _allocated(self, payload: int) -> int | None:
        """The used node that a pointer names by the word before it, if it can be trusted."""
        layout = self.layout
        gap = self._gap_word(payload)
        if payload % layout.pointer or gap & _FLAGS == _FLAGS:
            return None
        gap = gap & ~ALIGNED_FLAG if gap & ALIGNED_FLAG else 0
        node = payload - gap - layout.node_size
        if not self.guard.is_place(node) or not self.guard.holds(node):
            return None
        return node if self.nodes.used(node) else None

    def _can_release(self, node: int, when: When) -> bool:
        nodes = self.nodes

        def touched() -> list[int]:
            neighbours = (nodes.pre_node(node), nodes.following(node))
            size = nodes.size(node) + sum(nodes.size(one) for one in neighbours if not nodes.used(one))
            return self.guard.around(node) + self.guard.first_of_lists([size])

        return self._is_trusted(when, lambda: self.guard.around(node)) and self._is_trusted(when, touched)

    # --- resizing ----------------------------------------------------------------------------------------------

    def _resize(self, payload: int, size: int) -> int | None:
        nodes = self.nodes
        node = self.node_of(payload, "realloc")
        if node is None or not self._can_release(node, "realloc"):
            return None
        # The kernel forgets an aligned block's gap here and gives less than was asked for.
        gap = payload - node - self.layout.node_size
        needed, old_size = self.needed(size + gap), nodes.size(node)
        following = nodes.following(node)
        room = old_size + (0 if nodes.used(following) else nodes.size(following))
        if room >= needed and self._can_resize(room, needed):
            if old_size >= needed:
                self.shrink(node, needed)
            else:
                self.grow(node, needed)
            if gap:
                self.align_payload(node, payload, size)
            else:
                self.set_requested(node, size)
            return payload
        moved = self._allocate(size)
        if moved is None:
            return None
        self.ram.move(payload, moved, max(min(node + old_size - payload, size), 0))
        if self._can_release(node, "realloc"):
            self.release(node)
        return moved

    def save(self, node: int, gap_size: int = 0) -> None:
        """As the kernel, but an aligned node keeps its gap size when it is saved as somebody's neighbour."""
        if not self.config.head_backup:
            return
        if gap_size == 0 and self.nodes.size_and_flag(node) & ALIGNED_FLAG:
            gap_size = self.nodes.gap_size(node)
        self.nodes.save(node, gap_size)

    def _can_resize(self, room: int, needed: int) -> bool:
        rests = [room - needed] if room > needed else []
        return self._is_trusted("realloc", lambda: self.guard.first_of_lists(rests))

    # --- trust -------------------------------------------------------------------------------------------------

    def _is_trusted(self, when: When, touched: Callable[[], list[int]]) -> bool:
        """Whether all nodes that an operation touches verify, after a repair if need be."""
        failing = [node for node in touched() if not self.guard.holds(node)]
        if not failing or self._hopeless.issuperset(failing):
            return not failing
        self.witness.repair(when)
        failing = [node for node in touched() if not self.guard.holds(node)]
        self._hopeless.update(failing)
        return not failing

    def _is_node_trusted(self, when: When, node: int) -> bool:
        return self._is_trusted(when, lambda: [node])

    def _is_list_sound(self, head: int, when: When) -> bool:
        if self.guard.list_holds(head) or head in self._hopeless:
            return head not in self._hopeless
        self.witness.repair(when)
        if self.guard.list_holds(head):
            return True
        self._hopeless.add(head)
        return False

    def _pool_is_sound(self, when: When) -> bool:
        if not self._seen_whole or not self.guard.pool_is_sound():
            self._seen_whole = True
            self.witness.repair(when)
        return self.guard.pool_is_sound()
