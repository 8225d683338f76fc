"""Nodes in the target's memory, named by the address at which they start: their fields, and the next node.

Nothing here verifies anything: it is what the kernel's own code sees and does.
"""

from heapwitness.liteos.kernel.ram import Ram
from heapwitness.liteos.layout.copies import saved_ranges
from heapwitness.liteos.layout.layout import CHECKSUM_MAGIC, SIZE_MASK, USED_FLAG, ControlHeader, Layout


class Nodes:
    """The fields of nodes by node address, for one layout."""

    __slots__ = (
        "_checksum_at",
        "_gap_at",
        "_links_at",
        "_magic_at",
        "_module_at",
        "_next_at",
        "_origin_at",
        "_pre_node_at",
        "_prev_at",
        "_saved",
        "_size_at",
        "_task_at",
        "layout",
        "mask",
        "ram",
    )

    def __init__(self, ram: Ram, layout: Layout) -> None:
        control, start = layout.control, layout.header_offset
        self.ram = ram
        self.layout = layout
        self.mask = layout.pointer_mask
        self._prev_at = start + control.prev.offset
        self._next_at = start + control.next.offset
        self._pre_node_at = start + control.pre_node.offset
        self._size_at = start + control.size_and_flag.offset
        self._magic_at = start + control.magic.offset
        self._task_at = start + control.task.offset
        self._module_at = start + (control.task.offset if control.module is None else control.module.offset)
        self._gap_at = start + (0 if control.gap_size is None else control.gap_size.offset)
        self._checksum_at = start + (0 if control.checksum is None else control.checksum.offset)
        self._origin_at = start + (0 if control.origin_size is None else control.origin_size.offset)
        self._links_at = start + (0 if control.link_registers is None else control.link_registers.offset)
        self._saved = saved_ranges(layout)

    def links(self, node: int) -> int:
        """Address of the node's list links, by which lists name it."""
        return node + self._prev_at

    def of_links(self, links: int) -> int:
        """The node whose list links lie at an address."""
        return links - self._prev_at & self.mask

    def prev(self, node: int) -> int:
        """The link to the entry before it in its list; in a used node the magic lies over it."""
        return self.ram.word(node + self._prev_at)

    def set_prev(self, node: int, value: int) -> None:
        """Store `prev`."""
        self.ram.set_word(node + self._prev_at, value)

    def next_link(self, node: int) -> int:
        """The link to the entry after it in its list."""
        return self.ram.word(node + self._next_at)

    def set_next_link(self, node: int, value: int) -> None:
        """Store `next_link`."""
        self.ram.set_word(node + self._next_at, value)

    def pre_node(self, node: int) -> int:
        """Address of the node before it in memory."""
        return self.ram.word(node + self._pre_node_at)

    def set_pre_node(self, node: int, value: int) -> None:
        """Store `pre_node`."""
        self.ram.set_word(node + self._pre_node_at, value)

    def size_and_flag(self, node: int) -> int:
        """Size in bytes and the two flags."""
        return self.ram.u32(node + self._size_at)

    def set_size_and_flag(self, node: int, value: int) -> None:
        """Store `size_and_flag`."""
        self.ram.set_u32(node + self._size_at, value)

    def size(self, node: int) -> int:
        """Size in bytes, headers included."""
        return self.size_and_flag(node) & SIZE_MASK

    def used(self, node: int) -> bool:
        """Whether the used flag is set."""
        return bool(self.size_and_flag(node) & USED_FLAG)

    def following(self, node: int) -> int:
        """The node after it in memory."""
        return node + self.size(node) & self.mask

    def gap_size(self, node: int) -> int:
        """Bytes by which an aligned payload is moved up; 0 in a layout without head backup."""
        return 0 if self.layout.control.gap_size is None else self.ram.u32(node + self._gap_at)

    def task(self, node: int) -> int:
        """The task that allocated a used node."""
        return self._half(node + self._task_at)

    def set_task(self, node: int, task: int) -> None:
        """Store the task."""
        self._set_half(node + self._task_at, task)

    def module(self, node: int) -> int:
        """The module that allocated a used node; only in a layout that has modules."""
        return self._half(node + self._module_at)

    def set_module(self, node: int, module: int) -> None:
        """Store the module."""
        self._set_half(node + self._module_at, module)

    def set_magic(self, node: int) -> None:
        """Mark a node as used by the kernel: the complement of the magic's own address."""
        self.ram.set_u32(node + self._magic_at, ~(node + self._magic_at))

    def kernel_magic_holds(self, node: int) -> bool:
        """The kernel's own check of the magic, which reads a whole pointer: in 64-bit it never holds."""
        at = node + self._prev_at
        return self.ram.word(at) == ~at & self.mask

    def magic_holds(self, node: int) -> bool:
        """Whether the node carries its magic, in either width."""
        at = node + self._magic_at
        return self.ram.u32(at) == ~at & 0xFFFFFFFF

    def set_origin_size(self, node: int, size: int) -> None:
        """Store the requested size; only in a layout that records it."""
        self.ram.set_u32(node + self._origin_at, size)

    def set_link_registers(self, node: int, registers: tuple[int, ...]) -> None:
        """Store the return addresses of the operation; only in a layout that records them."""
        for index, value in enumerate(registers):
            self.ram.set_word(node + self._links_at + index * self.layout.pointer, value & self.mask)

    def header(self, node: int) -> ControlHeader:
        """The node's own header."""
        return self.layout.decode_control(
            self.ram.view, self.ram.offset(node + self.layout.header_offset, self.layout.control.size)
        )

    def backup(self, node: int) -> ControlHeader:
        """The backup that lies in the node: the NEXT node's header."""
        at = self.ram.offset(node + (self.layout.backup_offset or 0), self.layout.control.size)
        return self.layout.decode_control(self.ram.view, at)

    def checksum_holds(self, node: int) -> bool:
        """Whether the node's own header is consistent with its checksum."""
        return self.ram.word(node + self._checksum_at) == self._checksum(node + self.layout.header_offset)

    def backup_holds(self, node: int) -> bool:
        """Whether the backup in the node is consistent with its checksum."""
        start = node + (self.layout.backup_offset or 0)
        return self.ram.word(start + self._checksum_at - self.layout.header_offset) == self._checksum(start)

    def checksum(self, node: int) -> int:
        """The checksum that the node's own header asks for."""
        return self._checksum(node + self.layout.header_offset)

    def save(self, node: int, gap_size: int = 0) -> None:
        """Seal the node's header and copy it into the backup in the node before: the kernel's save, blind."""
        self.ram.set_u32(node + self._gap_at, gap_size)
        self.ram.set_word(node + self._checksum_at, self.checksum(node))
        pre_node = self.pre_node(node)
        if pre_node != 0:
            self.copy_to_backup(node, pre_node)

    def copy_to_backup(self, node: int, holder: int) -> None:
        """Copy the node's own header over the backup in `holder`; link registers are not part of it."""
        self._copy(node + self.layout.header_offset, holder + (self.layout.backup_offset or 0))

    def copy_from_backup(self, node: int, holder: int) -> None:
        """Copy the backup in `holder` over the node's own header."""
        self._copy(holder + (self.layout.backup_offset or 0), node + self.layout.header_offset)

    def _copy(self, source: int, destination: int) -> None:
        for offset, length in self._saved:
            self.ram.move(source + offset, destination + offset, length)

    def _checksum(self, control: int) -> int:
        fields, ram = self.layout.control, self.ram
        value = ram.word(control + fields.prev.offset) ^ ram.word(control + fields.next.offset)
        value ^= ram.word(control + fields.pre_node.offset)
        if fields.gap_size is not None:
            value ^= ram.u32(control + fields.gap_size.offset)
        return value ^ ram.u32(control + fields.size_and_flag.offset) ^ CHECKSUM_MAGIC

    def _half(self, address: int) -> int:
        return self.ram.u16(address)

    def _set_half(self, address: int, value: int) -> None:
        self.ram.set_u16(address, value)
