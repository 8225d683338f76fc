"""A pool's bytes with its layout: control headers by offset, and the tests that a copy must pass.

Offsets count from the pool's start. A header that is not wholly in the bytes is None.
"""

from typing import cast

from heapwitness.liteos.image.store import Held, SourceStretch
from heapwitness.liteos.layout.layout import SIZE_MASK, USED_FLAG, ControlHeader, Layout


class PoolView:
    """The bytes of one pool at an address, never changed."""

    __slots__ = ("_backup_at", "_header_at", "_last_control", "_magic_at", "address", "data", "layout")

    def __init__(self, data: Held, address: int, layout: Layout) -> None:
        self.data = data
        self.address = address
        self.layout = layout
        self._header_at = layout.header_offset
        self._backup_at = layout.backup_offset
        self._magic_at = layout.header_offset + layout.control.magic.offset
        self._last_control = len(data) - layout.control.size

    def has_own(self, at: int) -> bool:
        """Whether the own header of the node at an offset is in the bytes."""
        return at >= 0 and at + self._header_at <= self._last_control

    def has_backup(self, at: int) -> bool:
        """Whether the backup in the node at an offset is in the bytes."""
        return self._backup_at is not None and at >= 0 and at + self._backup_at <= self._last_control

    def own(self, at: int) -> ControlHeader | None:
        """The own header of the node at an offset."""
        return self.layout.decode_control(self.data, at + self._header_at) if self.has_own(at) else None

    def backup(self, at: int) -> ControlHeader | None:
        """The backup that lies in the node at an offset: the next node's header."""
        if not self.has_backup(at):
            return None
        return self.layout.decode_control(self.data, at + (self._backup_at or 0))

    def word(self, at: int) -> int | None:
        """The pointer-sized word at an offset."""
        size = self.layout.pointer
        return int.from_bytes(self.data[at : at + size], "little") if 0 <= at <= len(self.data) - size else None

    def u32(self, at: int) -> int:
        """The 32-bit word at an offset, which must lie in the bytes."""
        return int.from_bytes(self.data[at : at + 4], "little")

    def magic(self, at: int) -> int:
        """The magic that a used node at an offset carries: the complement of its own address."""
        return ~(self.address + at + self._magic_at) & 0xFFFFFFFF

    def links(self, at: int) -> int:
        """The address by which list links name the node at an offset."""
        return self.address + at + self._header_at + self.layout.control.prev.offset

    def of_links(self, links: int) -> int:
        """The offset of the node that list links name; may lie anywhere."""
        return links - self.address - self._header_at - self.layout.control.prev.offset

    def good(self, header: ControlHeader, at: int, previous: int, end: int) -> bool:
        """Whether a copy can be the header of the node at offset `at`, with the node `previous` before it."""
        return header.pre_node == self.address + previous and self.sound(header, at, end)

    def sound(self, header: ControlHeader, at: int, end: int) -> bool:
        """`good`, without asking what lies before."""
        layout = self.layout
        size = header.size_and_flag & SIZE_MASK
        following = at + size
        if size < layout.smallest_node or size % layout.align:
            return False
        if following != end and following > end - layout.smallest_node:
            return False
        if not layout.checksum_holds(header):
            return False
        if header.used:
            return not layout.has_magic or header.magic == self.magic(at)
        if header.aligned or header.gap_size:
            return False
        return layout.control.checksum is not None or self.links_inside(header, end)

    def links_inside(self, header: ControlHeader, end: int) -> bool:
        """Whether a free node's links can be: they lead to list heads or nodes."""
        low, high = self.address + self.layout.lists_offset, self.address + end
        pointer = self.layout.pointer
        return all(low <= link < high and not (link - low) % pointer for link in (header.prev, header.next))

    def good_end(self, header: ControlHeader, end: int, previous: int | None) -> bool:
        """Whether a copy can be the end node's header, with the node at offset `previous` before it (None: any)."""
        layout = self.layout
        before = header.pre_node - self.address
        return (
            self.marks_end(header, end)
            and layout.checksum_holds(header)
            and (before == previous or (previous is None and layout.first_offset <= before < end))
        )

    def marks_end(self, header: ControlHeader, end: int) -> bool:
        """Whether a copy has the end node's size and magic."""
        marked = not self.layout.has_magic or header.magic == self.magic(end)
        return marked and header.size_and_flag == self.layout.node_size | USED_FLAG

    def leads_on(self, at: int, size: int, end: int) -> bool:
        """Whether a node of `size` bytes at offset `at` is followed by a node that leads back to it, or by the end."""
        following = at + size
        if following == end:
            return True
        header = self.own(following)
        return header is not None and self.good(header, following, at, end)

    def leads(self, at: int, size: int, end: int) -> int:
        """What speaks for a node of `size` bytes at an offset: that the next header leads back, and its backup here."""
        following = at + size
        if size < self.layout.smallest_node or size % self.layout.align or following > end:
            return 0
        own, backup = self.own(following), self.backup(at)
        if own is None:
            return int(following == end)
        worth = 0
        if own.pre_node == self.address + at:
            worth = 3 if self.layout.checksum_holds(own) else 1
        if backup is not None and backup.pre_node == self.address + at and self.layout.checksum_holds(backup):
            same = backup.size_and_flag == own.size_and_flag
            marked = backup.used and (backup.magic == self.magic(following) or not self.layout.has_magic)
            if same:
                worth += 2 if marked or (backup.prev, backup.next) == (own.prev, own.next) else 1
        return worth

    def better(self, own: ControlHeader, backup: ControlHeader, at: int, end: int) -> tuple[bool, bool]:
        """Of two good copies that differ, which one holds: (own, backup).

        The checksum does not cover the requested size, and a kernel that saved a damaged header made
        its checksum right. Where nothing tells them apart, the own header is taken.
        """
        own_votes, backup_votes = (self._votes(header, at, end) for header in (own, backup))
        return (False, True) if backup_votes > own_votes else (True, False)

    def capacity(self, header: ControlHeader) -> int:
        """Bytes of payload that a header's size gives, behind an aligned block's gap."""
        return header.size - self.layout.node_size - header.gap_size

    def _votes(self, header: ControlHeader, at: int, end: int) -> tuple[bool, ...]:
        leads_on = self.leads_on(at, header.size, end)
        if not header.used:
            return leads_on, self.links_inside(header, end), self._on_list(header, at)
        requested = header.origin_size
        recorded = self.layout.control.origin_size is not None
        return leads_on, not recorded or 0 < requested <= self.capacity(header), header.aligned or not header.gap_size

    def _on_list(self, header: ControlHeader, at: int) -> bool:
        links = self.links(at)
        before = self.word(header.prev - self.address + self.layout.pointer)
        after = self.word(header.next - self.address)
        return before == links and after == links


class HeadersView(PoolView):
    """A view of bytes that are read where they are, for a look at a few headers of a memory that may be large."""

    __slots__ = ()

    def __init__(self, memory: SourceStretch, address: int, layout: Layout) -> None:
        super().__init__(cast(Held, memory), address, layout)

    def own(self, at: int) -> ControlHeader | None:
        """See `PoolView.own`."""
        return self._header(at + self._header_at) if self.has_own(at) else None

    def backup(self, at: int) -> ControlHeader | None:
        """See `PoolView.backup`."""
        return self._header(at + (self._backup_at or 0)) if self.has_backup(at) else None

    def _header(self, place: int) -> ControlHeader:
        return self.layout.decode_control(self.data[place : place + self.layout.control.size], 0)
