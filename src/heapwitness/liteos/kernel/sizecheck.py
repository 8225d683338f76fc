"""How much room a pointer has in its node: the node size check and its levels (LOSCFG_BASE_MEM_NODE_SIZE_CHECK)."""

from enum import IntEnum

import msgspec

from heapwitness.liteos.kernel.kernel import Kernel
from heapwitness.liteos.kernel.mechanism import aligned
from heapwitness.liteos.layout.layout import SIZE_MASK


class CheckLevel(IntEnum):
    """LOW takes a pointer to be a payload's start, HIGH searches downward for the node around it.

    Source: LiteOS's `LOS_MemCheckLevelSet`; docs/liteos-pool.md.
    """

    LOW = 0
    HIGH = 1
    DISABLE = 0xFF


class CheckCode(IntEnum):
    """What the check answers."""

    OK = 0
    NULL = 0x02000101
    OUTSIDE = 0x02000102
    NO_HEAD = 0x02000103
    WRONG_LEVEL = 0x02000104
    DISABLED = 0x02000105


class NodeSize(msgspec.Struct, frozen=True):
    """The payload's size in bytes, and what of it lies from the pointer on; both 0 unless `code` is OK."""

    code: CheckCode
    total: int = 0
    available: int = 0


class SizeCheck:
    """The check for one pool. `faithful`: with the kernel's own magic check, which never holds in 64-bit."""

    def __init__(self, heap: Kernel, *, faithful: bool) -> None:
        self.heap = heap
        self.level = CheckLevel.DISABLE
        self._is_node = heap.nodes.kernel_magic_holds if faithful else heap.nodes.magic_holds

    def __call__(self, pointer: int) -> NodeSize:
        """Ask about a pointer."""
        heap = self.heap
        if self.level == CheckLevel.DISABLE:
            return NodeSize(CheckCode.DISABLED)
        if pointer == 0:
            return NodeSize(CheckCode.NULL)
        if not heap.address <= pointer < heap.address + heap.pool_size:
            return NodeSize(CheckCode.OUTSIDE)
        node = self._find(pointer) if self.level == CheckLevel.HIGH else self._take(pointer)
        if node is None:
            return NodeSize(CheckCode.NO_HEAD)
        size = heap.nodes.size_and_flag(node)
        from_pointer = pointer - node if self.level == CheckLevel.HIGH else heap.layout.node_size
        return NodeSize(CheckCode.OK, size - heap.layout.node_size & SIZE_MASK, size - from_pointer & SIZE_MASK)

    def _take(self, pointer: int) -> int | None:
        node = pointer - self.heap.layout.node_size
        inside = node >= self.heap.address and pointer % self.heap.layout.align == 0
        return node if inside and self._is_node(node) else None

    def _find(self, pointer: int) -> int | None:
        """The nearest place at or below a pointer whose magic is valid, if its node reaches to the pointer."""
        heap = self.heap
        node = aligned(pointer, heap.layout.align)
        node = min(node, heap.address + heap.ram.size - heap.layout.node_size & -heap.layout.align)
        while not self._is_node(node):
            node -= heap.layout.pointer
            if node <= heap.address:
                return None
        return node if heap.nodes.size(node) >= pointer - node else None
