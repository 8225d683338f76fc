"""The nodes of a pool, each verified before its length is believed.

A node's header has two witnesses: itself, and the backup in the node before (the first node's backup
lies in the end node). A copy is *good* when its checksum holds, it leads back to the node before, its
size fits in the pool, and a used one carries its magic. Where neither copy is good the walk goes on
at the next place that verifies (`anchors`). Every step goes up in memory, so every walk ends.
"""

from typing import TYPE_CHECKING

import msgspec

from heapwitness.liteos.heap.anchors import Anchors
from heapwitness.liteos.heap.ends import PoolInfo, find_end
from heapwitness.liteos.heap.view import PoolView
from heapwitness.liteos.image.store import held
from heapwitness.liteos.layout.copies import saved_words, sealed
from heapwitness.liteos.layout.layout import ALIGNED_FLAG, CHECKSUM_MAGIC, SIZE_MASK, USED_FLAG, ControlHeader, Layout

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer


class WalkedNode(msgspec.Struct, frozen=True):
    """One node: where it lies, what its header's two copies say, and which of them can be trusted.

    `address` is where the node starts, `size` its bytes, headers included. `previous` is the node that holds
    the backup, None when that is not known. `header` is the copy to be trusted, None when both are lost; then
    `size` reaches to the next place that verifies, and `exact` tells whether that node names this one as
    the node before it (if not, more than one node may lie here). `own` and `backup` are the copies as stored:
    None where the layout has none or the bytes are not in the image. `moving` tells that an operation of the
    kernel was in the middle of changing the header (`midway`).
    """

    address: int
    size: int
    previous: int | None
    header: ControlHeader | None
    own: ControlHeader | None
    backup: ControlHeader | None
    own_good: bool
    backup_good: bool
    exact: bool = True
    moving: bool = False

    @property
    def intact(self) -> bool:
        """Whether every copy that is there is good and they agree."""
        return (self.own is None or self.own_good) and (self.backup is None or self.backup_good)

    @property
    def used(self) -> bool:
        """Whether the node is in use; one whose header is lost counts as used."""
        return self.header is None or self.header.used


class Walk(msgspec.Struct, frozen=True):
    """A walked pool: its nodes from the first on, and the end node.

    `truncated` is the address at which the bytes ended before the pool did, None when they were all there.
    `midway` tells that an operation may have been stopped half way.
    """

    address: int
    layout: Layout
    info: PoolInfo
    nodes: tuple[WalkedNode, ...]
    end: WalkedNode
    truncated: int | None = None
    midway: bool = False
    held: bool = False

    @property
    def everything(self) -> tuple[WalkedNode, ...]:
        """The nodes and the end node."""
        return (*self.nodes, self.end)


def walk(data: "ReadableBuffer", address: int, layout: Layout, *, midway: bool = False) -> Walk:
    """Walk the pool whose first byte is the first of `data`, which may be longer or (cut off) shorter than it.

    Args:
        data: the pool's bytes; they are copied where they can change.
        address: the pool's address on the target.
        layout: what the bytes mean.
        midway: an operation may have been stopped half way; then a header that it was changing is followed to
            where the next node is.

    Raises:
        NoPool: the bytes don't even hold a pool's info and list heads, or nothing tells where it ends.
    """
    view = PoolView(held(data), address, layout)
    info = find_end(view)
    return _Walker(view, info, midway=midway).run()


class _Walker:
    def __init__(self, view: PoolView, info: PoolInfo, *, midway: bool) -> None:
        self.view = view
        self.midway = midway and view.layout.backup_offset is not None
        self.info = info
        self.layout = view.layout
        self.base = view.address
        self.end = info.end - view.address
        self.anchors = Anchors(view, self.end)
        self.nodes: list[WalkedNode] = []
        self.truncated: int | None = None

    def run(self) -> Walk:
        at = self.layout.first_offset
        previous: int | None = self.end
        while at < self.end:
            at, previous = self._run_of_intact(at, previous)
            if at >= self.end:
                break
            if not self.view.has_own(at) and (previous is None or not self.view.has_backup(previous)):
                self.truncated = self.base + len(self.view.data)
                break
            at, previous = self._step(at, previous)
        end = self._end_node(previous if self.truncated is None else None)
        return Walk(self.base, self.layout, self.info, tuple(self.nodes), end, self.truncated)

    def _run_of_intact(self, at: int, previous: int | None) -> tuple[int, int | None]:
        """Take nodes for as long as both copies are equal and good: nearly always to the end.

        The tests are those of `PoolView.good`, written out: this runs once for every node.
        """
        layout, data, base, end = self.layout, self.view.data, self.base, self.end
        decode, append = layout.decode_control, self.nodes.append
        header_at, backup_at, control = layout.header_offset, layout.backup_offset, layout.control
        saved = saved_words(layout).unpack_from
        align, smallest, last_fit = layout.align, layout.smallest_node, end - layout.smallest_node
        magic_at = base + header_at + control.magic.offset if layout.has_magic else None
        sealed = control.checksum is not None
        last_own, last_backup = len(data) - control.size, len(data) - control.size - (backup_at or 0)
        while at < end and previous is not None:
            own_at = at + header_at
            if own_at > last_own or previous > last_backup:
                break
            if backup_at is not None and saved(data, own_at) != saved(data, previous + backup_at):
                break
            header = decode(data, own_at)
            flagged = header.size_and_flag
            size = flagged & SIZE_MASK
            following = at + size
            if (
                header.pre_node != base + previous
                or size < smallest
                or size % align
                or (following != end and following > last_fit)
            ):
                break
            if sealed:
                checksum = header.prev ^ header.next ^ header.pre_node ^ header.gap_size ^ flagged ^ CHECKSUM_MAGIC
                if header.checksum != checksum:
                    break
            if flagged & USED_FLAG:
                if magic_at is not None and header.magic != ~(magic_at + at) & 0xFFFFFFFF:
                    break
            elif flagged & ALIGNED_FLAG or header.gap_size or not (sealed or self.view.links_inside(header, end)):
                break
            backup = header if backup_at is not None else None
            append(WalkedNode(base + at, size, base + previous, header, header, backup, True, backup is not None))
            previous, at = at, following
        return at, previous

    def _step(self, at: int, previous: int | None) -> tuple[int, int | None]:
        """One node that is not plainly intact. Returns where the next one starts, and the node before that."""
        view = self.view
        own = view.own(at)
        backup = None if previous is None else view.backup(previous)
        own_good = own is not None and previous is not None and view.good(own, at, previous, self.end)
        backup_good = backup is not None and previous is not None and view.good(backup, at, previous, self.end)
        changing = self._changing(own, backup, at) if self.midway else None
        if changing is not None:
            if own_good and backup_good and own is not None and backup is not None:
                own_good, backup_good = view.better(own, backup, at, self.end)
            node = WalkedNode(
                self.base + at, changing.size, self._named(previous), changing, own, backup, own_good, backup_good
            )
            self.nodes.append(node)
            return at + changing.size, at
        if not own_good and self._previous_is_wrong(at, previous, backup if backup_good else None):
            return self._resized(at)
        if own_good and backup_good and own is not None and backup is not None:
            own_good, backup_good = view.better(own, backup, at, self.end)
        header = own if own_good else backup if backup_good else None
        if header is None:
            return self._lost(at, previous, own, backup)
        size = header.size
        self.nodes.append(
            WalkedNode(self.base + at, size, self._named(previous), header, own, backup, own_good, backup_good)
        )
        return at + size, at

    def _changing(self, own: ControlHeader | None, backup: ControlHeader | None, at: int) -> ControlHeader | None:
        """Of two copies that differ, sealed or not, the one whose size leads to the next node; None where none does."""
        copies = [copy for copy in (backup, own) if copy is not None]
        copies.sort(key=lambda copy: not self.layout.checksum_holds(copy))
        worth = [self.view.leads(at, copy.size, self.end) for copy in copies]
        best = max(worth, default=0)
        return copies[worth.index(best)] if best else None

    def _previous_is_wrong(self, at: int, previous: int | None, backup: ControlHeader | None) -> bool:
        """Whether the node before, though both of its copies agree, led to a place where no node starts.

        The genuine kernel seals damaged headers when it saves a neighbour, so equal copies may lie.
        """
        if previous is None or previous == self.end or not self.nodes or self.nodes[-1].header is None:
            return False
        if backup is not None and (backup.used and self.layout.has_magic):
            return False  # the magic is the complement of its address: the backup knows its node's place
        if backup is not None and self.view.leads_on(at, backup.size, self.end):
            return False
        other = self.anchors.following(previous)
        return other is not None and other != at

    def _resized(self, at: int) -> tuple[int, int | None]:
        """Go back to the node before, whose size is wrong in both copies, and give it the size it must have."""
        node = self.nodes.pop()
        start = node.address - self.base
        following = self.anchors.following(start)
        assert following is not None
        size = following - start
        header = node.header
        assert header is not None
        resized = msgspec.structs.replace(header, size_and_flag=header.size_and_flag & ~SIZE_MASK | size)
        right = sealed(self.layout, resized)
        self.nodes.append(msgspec.structs.replace(node, size=size, header=right, own_good=False, backup_good=False))
        return following, start

    def _lost(
        self, at: int, previous: int | None, own: ControlHeader | None, backup: ControlHeader | None
    ) -> tuple[int, int | None]:
        """Both copies are lost: go on at the next place that verifies."""
        found, before = self.anchors.next(at)
        if before is not None and before > at:
            self._take_lost(at, before, previous, own, backup, exact=False)
            self._take_lost(before, found, None, self.view.own(before), None, exact=True)
            return found, before
        exact = before == at
        self._take_lost(at, found, previous, own, backup, exact=exact)
        return found, at if exact or found == self.end else None

    def _take_lost(
        self,
        at: int,
        to: int,
        previous: int | None,
        own: ControlHeader | None,
        backup: ControlHeader | None,
        *,
        exact: bool,
    ) -> None:
        named = self._named(previous)
        self.nodes.append(WalkedNode(self.base + at, to - at, named, None, own, backup, False, False, exact))

    def _end_node(self, previous: int | None) -> WalkedNode:
        view, layout = self.view, self.layout
        own = view.own(self.end)
        backup = None if previous is None else view.backup(previous)
        own_good = own is not None and view.good_end(own, self.end, previous)
        backup_good = backup is not None and view.good_end(backup, self.end, previous)
        header = own if own_good else backup if backup_good else None
        if header is None and self.midway and own is not None and view.marks_end(own, self.end):
            header = own
        named = self._named(previous)
        return WalkedNode(self.base + self.end, layout.node_size, named, header, own, backup, own_good, backup_good)

    def _named(self, at: int | None) -> int | None:
        return None if at is None else self.base + at
