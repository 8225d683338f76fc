"""Allocation by module (LOSCFG_MEM_MUL_MODULE): who owns a block, and how much each module uses.

The kernel counts modules outside of the pool, for all pools together; here each pool counts its own.
"""

from heapwitness.findings.model import When
from heapwitness.liteos.kernel.kernel import Kernel

LAST_MODULE = 0x20


class Modules:
    """The module operations over a pool's heap; `used` holds node sizes in bytes by module."""

    def __init__(self, heap: Kernel) -> None:
        self.heap = heap
        self.used = [0] * (LAST_MODULE + 1)

    def alloc(self, size: int, module: int) -> int | None:
        """Allocate for a module."""
        return self._own(self.heap.alloc(size), module) if self._exists(module) else None

    def alloc_align(self, size: int, boundary: int, module: int) -> int | None:
        """Allocate aligned for a module."""
        return self._own(self.heap.alloc_align(size, boundary), module) if self._exists(module) else None

    def free(self, payload: int, module: int) -> bool:
        """Free a module's allocation. That of another module is freed too, and told, as the kernel does."""
        if not self._exists(module) or payload == 0:
            return False
        node = self.heap.node_of(payload, "free")
        if node is None:
            return False
        size, owner = self.heap.nodes.size(node), self._owner("free", payload, node, module)
        freed = self.heap.free(payload)
        if freed:
            self._count(owner, -size)
        return freed

    def realloc(self, payload: int, size: int, module: int) -> int | None:
        """Resize a module's allocation, which becomes `module`'s."""
        if not self._exists(module):
            return None
        if payload == 0:
            return self.alloc(size, module)
        node = self.heap.node_of(payload, "realloc")
        if node is None:
            return None
        old_size, owner = self.heap.nodes.size(node), self._owner("realloc", payload, node, module)
        if size == 0:
            self.free(payload, owner)
            return None
        moved = self.heap.realloc(payload, size)
        if moved is not None:
            self._own(moved, module)
            self._count(owner, -old_size)
        return moved

    def _exists(self, module: int) -> bool:
        if 0 <= module <= LAST_MODULE:
            return True
        self.heap.console.error("error module ID input!\n")
        return False

    def _own(self, payload: int | None, module: int) -> int | None:
        node = None if payload is None else self.heap.node_of(payload, "malloc")
        if node is not None:
            self._count(module, self.heap.nodes.size(node))
            self.heap.set_module(node, module)
        return payload

    def _owner(self, when: When, payload: int, node: int, module: int) -> int:
        """The module that owns a node; told where that is another than the one that gives it back."""
        owner = self.heap.nodes.module(node)
        if owner != module:
            self.heap.tell_foreign(when, payload, node, owner, module)
        return owner

    def _count(self, module: int, size: int) -> None:
        if module <= LAST_MODULE:
            self.used[module] = self.used[module] + size & 0xFFFFFFFF
