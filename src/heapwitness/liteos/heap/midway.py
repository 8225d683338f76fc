"""What an operation of the kernel leaves behind when it is stopped half way: no damage, and told apart from it.

The kernel changes a header field by field, then seals it (gap size, checksum), then copies it field by field into
the node before. It takes nodes off lists and puts them on, makes nodes of rests, and clears merged ones. In between
- a header can be changed and not sealed: its checksum is that of what it was;
- a backup can be part new, part old, and what was old may be the header of a node that was merged or split off;
- a node can already name another one as the node before it;
- a free node can be on no list, on that of its former size, or linked from one side only;
- statistics can lag behind the nodes by the sizes of those that change.
Everything that is stored in such a moment is a value that the kernel has there at some time: 0, a list head, a
free node's links, a node's magic and task, a node that is there, a size that leads to one, and the checksum of such
values. What is anything else is damage. Two states that one operation and one stray write leave alike are damage
unless the heap's lock was held: a lone used flag, and a lone word of a backup that is sealed otherwise.
"""

from collections.abc import Iterator

import msgspec

from heapwitness.liteos.heap.counters import counters
from heapwitness.liteos.heap.halflists import head_address
from heapwitness.liteos.heap.view import PoolView
from heapwitness.liteos.heap.walk import Walk, WalkedNode
from heapwitness.liteos.layout.layout import ALIGNED_FLAG, USED_FLAG, ControlHeader

_FLAGS = USED_FLAG | ALIGNED_FLAG
_COVERED = ("prev", "next", "pre_node", "gap_size", "size_and_flag")
_MOST = 6
_WINDOW = 4
_MOST_NAMING = 64
_LAST_MODULE = 0x20
_NO_TASK = 0x1000
"""Tasks of kernels without statistics have numbers below this."""


def settled(view: PoolView, walked: Walk, *, held: bool | None = None) -> Walk:
    """The walk with every node taken as sound whose header only an operation half way explains.

    Args:
        view: the pool's bytes.
        walked: its nodes.
        held: whether the heap's lock is known to have been held; None where nobody knows.
    """
    walked = msgspec.structs.replace(walked, midway=True, held=bool(held))
    changing = [node for node in walked.everything if not node.intact]
    if not changing or walked.layout.backup_offset is None:
        return walked
    judge = _Midway(view, walked, held=bool(held))
    excused = judge.of_one_operation([node for node in changing if judge.explains(node)])
    if not 0 < len(excused) <= _MOST:
        return walked
    nodes = tuple(_excused(node) if node.address in excused else node for node in walked.nodes)
    end = _excused(walked.end) if walked.end.address in excused else walked.end
    return msgspec.structs.replace(walked, nodes=nodes, end=end)


def _excused(node: WalkedNode) -> WalkedNode:
    return msgspec.structs.replace(node, own_good=True, backup_good=True, moving=True)


class _Midway:
    def __init__(self, view: PoolView, walked: Walk, *, held: bool) -> None:
        self.view = view
        self.layout = view.layout
        self.held = held
        self.walked = walked
        self.end = walked.end.address
        everything = walked.everything
        self.index = {node.address: number for number, node in enumerate(everything)}
        heads = {head_address(view, number) for number in range(self.layout.list_count)}
        free = {self._links(node.address) for node in walked.nodes if not node.used or not node.intact}
        self.entries = frozenset({0, *heads, *free})
        self.pairs = frozenset(self._pairs(heads | free))
        fields = self.layout.pool.stat_fields
        self.tasks = _NO_TASK if fields is None else fields.task_count + 1

    def of_one_operation(self, nodes: list[WalkedNode]) -> set[int]:
        """Those that one operation can be changing: nodes in use that lie together, and free ones."""
        used = [self.index[node.address] for node in nodes if node.used]
        windows = (range(first, first + _WINDOW) for first in used)
        window = max(windows, key=lambda window: sum(number in window for number in used), default=range(0))
        return {node.address for node in nodes if not node.used or self.index[node.address] in window}

    def explains(self, node: WalkedNode) -> bool:
        """Whether an operation half way explains both copies of a node's header."""
        own, backup = node.own, node.backup
        if node.header is None or own is None or backup is None or node.previous is None or not node.exact:
            return False
        if self._is_split_off(node, own, backup):
            return True
        sources = tuple(self._sources(node, own))
        if not self._plausible(node, own, (backup,)) or not self._plausible(node, backup, (own, *sources)):
            return False
        others = backup.size != own.size and any(backup.size_and_flag == one.size_and_flag for one in sources)
        if not self.held and not others and self._is_alike(node, own, backup):
            return False
        return self._is_sealed_once(node, own, (backup, *sources)) and self._is_sealed_once(
            node, backup, (own, *sources)
        )

    def _is_split_off(self, node: WalkedNode, own: ControlHeader, backup: ControlHeader) -> bool:
        """Whether a node is the rest that is being split off the one before it, with a free one behind it merged in.

        It is saved with whatever its links were before it was on a list, so its backup may have had any.
        """
        before = None if node.previous is None else self.index.get(node.previous)
        if before is None or own.used or not self.layout.checksum_holds(own) or own.pre_node != node.previous:
            return False
        cut = self.walked.everything[before]
        if cut.own is None or cut.backup is None or self.layout.checksum_holds(cut.own):
            return False
        sealed = self.layout.checksum_holds(cut.backup) and cut.backup.size > cut.own.size
        whole = backup.pre_node == own.pre_node and backup.gap_size == own.gap_size == 0
        return sealed and whole and cut.address + cut.own.size == node.address and not backup.size % self.layout.align

    def _sources(self, node: WalkedNode, own: ControlHeader) -> Iterator[ControlHeader]:
        """Headers that the place of the backup may have held before: of a node merged away, or split off behind."""
        assert node.previous is not None
        for candidate in self._naming(node.previous, node.address):
            merged = self._own(candidate)
            if merged is not None and merged.pre_node == node.previous and candidate + merged.size == node.address:
                yield merged
        behind = self._own(node.address + own.size)
        if behind is not None:
            yield _resealed(self.view, behind, node.previous)

    def _naming(self, before: int, end: int) -> Iterator[int]:
        """Places between two nodes where a header may lie that names the first as the node before it."""
        pattern, base = before.to_bytes(self.layout.pointer, "little"), self.view.address
        inside = self.layout.header_offset + self.layout.control.pre_node.offset
        at = self.view.data.find(pattern, before - base + self.layout.node_size, end - base)
        for _ in range(_MOST_NAMING):
            if at < 0:
                return
            place = at - inside
            if not place % self.layout.align:
                yield place + base
            at = self.view.data.find(pattern, at + 1, end - base)

    # --- values -----------------------------------------------------------------------------------------------

    def _plausible(self, node: WalkedNode, header: ControlHeader, others: tuple[ControlHeader, ...]) -> bool:
        if not self._is_place_before(node, header.pre_node) or header.size % self.layout.align:
            return False
        if header.used and others[0].used and header.origin_size > self._room(node, max(header.size, others[0].size)):
            return False
        if self.layout.checksum_holds(header):
            return True
        return (
            (self._is_prev(node, header) or any(header.prev == one.prev for one in others))
            and (self._is_next(node, header, others[0]) or any(header.next == one.next for one in others))
            and (
                self._is_size(node, header)
                or any(header.size_and_flag == one.size_and_flag for one in others[1:])
                or (header is node.backup and self._is_of_merged(node, header))
            )
            and self._is_gap(header)
        )

    def _room(self, node: WalkedNode, size: int) -> int:
        """The most that a node of a size can have been before it was cut: with the free node behind it."""
        number = self.index[node.address] + 1
        behind = self.walked.everything[number] if number < len(self.walked.everything) else node
        return size if behind.used else size + behind.size

    def _is_place_before(self, node: WalkedNode, before: int) -> bool:
        """The node before, the one before that (a merge goes there), or a rest that was split off in between."""
        assert node.previous is not None
        places = {node.previous}
        number = self.index.get(node.previous)
        if number:
            places.add(self.walked.everything[number - 1].address)
        if before in places:
            return True
        rest = self._own(before) if min(places) < before < node.address else None
        ends = node.address, node.address + node.size
        return rest is not None and rest.pre_node in places and before + rest.size in ends

    def _is_prev(self, node: WalkedNode, header: ControlHeader) -> bool:
        if header.prev in self.entries:
            return True
        if self.layout.width == 32:
            return header.prev == self._magic(node)
        return self._is_marked(node, header) and self._is_owner(header.prev >> 32)

    def _is_next(self, node: WalkedNode, header: ControlHeader, other: ControlHeader) -> bool:
        if header.next in self.entries:
            return True
        if self.layout.width == 64 or not self._is_owner(header.next):
            return False
        # A task is given once, together with the magic.
        return header.task == other.task or not self._is_marked(node, other)

    def _is_owner(self, word: int) -> bool:
        """Whether a word can be a task's number, with a module's above it."""
        module = word >> 16
        most = _LAST_MODULE + 1 if self.layout.control.module is not None else 1
        return word & 0xFFFF < self.tasks and module < most

    def _is_marked(self, node: WalkedNode, header: ControlHeader) -> bool:
        return header.prev & 0xFFFFFFFF == self._magic(node)

    def _magic(self, node: WalkedNode) -> int:
        return self.view.magic(node.address - self.view.address)

    def _is_size(self, node: WalkedNode, header: ControlHeader) -> bool:
        if header.size < self.layout.node_size or header.size % self.layout.align:
            return False
        following = node.address + header.size
        if node.address == self.end:
            return header.size_and_flag == self.layout.node_size | USED_FLAG
        if following in self.index:
            return True
        inner = self._own(following)
        return inner is not None and inner.pre_node == node.address

    def _is_of_merged(self, node: WalkedNode, backup: ControlHeader) -> bool:
        """Whether a backup's size is that of a free node which was merged into this one, or leads to such a one."""
        merged = node.address + node.size - backup.size
        if not backup.size_and_flag & _FLAGS and node.address < merged and self._was_merged(merged, backup):
            return True
        number = self.index[node.address] + 1
        behind = self.walked.everything[number] if number < len(self.walked.everything) else node
        inside = behind.address < node.address + backup.size <= behind.address + behind.size - self.layout.node_size
        return backup.used and inside and not behind.used and self._was_merged(node.address + backup.size, None)

    def _was_merged(self, place: int, backup: ControlHeader | None) -> bool:
        """Whether a merged node's header lies at a place: cleared, or as it was."""
        at = place - self.view.address
        header = self.view.data[at : at + self.layout.node_size] if at >= 0 else b""
        if header and not any(header):
            return True
        own = self._own(place)
        return backup is not None and own is not None and own.size_and_flag == backup.size_and_flag

    def _is_gap(self, header: ControlHeader) -> bool:
        return header.gap_size == 0 or (header.gap_size < header.size and not header.gap_size % 4)

    def _is_alike(self, node: WalkedNode, own: ControlHeader, backup: ControlHeader) -> bool:
        """Whether one stray write leaves the same as the operation: a flag, or a link of zero, alone in its copy."""
        wrong = [name for name in _COVERED if getattr(own, name) != getattr(backup, name)]
        if own.checksum != backup.checksum:
            return False
        if not wrong:
            cut = backup.origin_size > self.view.capacity(own)
            fits = self._is_request(own, own.origin_size) and (cut or self._is_request(own, backup.origin_size))
            return own.used and not fits
        if self.layout.checksum_holds(own):
            if wrong == ["size_and_flag"]:
                if own.size != backup.size:
                    return backup.used and not self._is_size(node, backup)
                aligning = own.aligned and not backup.aligned and not self._is_gap_stored(node, own)
                return own.used and not aligning
            return {*wrong} <= {"prev", "next"} and not any(getattr(backup, name) for name in wrong)
        if wrong == ["size_and_flag"] and own.size == backup.size:
            if own.used:
                return backup.used or self._is_linked(node)
            return not (self._is_uncounted(node) or self._is_growing(node))
        zeroed = any(getattr(own, name) == 0 for name in wrong if name in ("prev", "next"))
        return zeroed and self._is_linked(node)

    def _is_uncounted(self, node: WalkedNode) -> bool:
        """Whether statistics count a node no more, as before its used flag is taken off."""
        assert node.backup is not None and node.header is not None
        counted = {one.task: one.above for one in counters(self.view, self.walked, {})}
        left = node.size if node.header.used else 0
        task = min(node.backup.task, len(counted) - 2)
        return bool(counted) and -left in (counted[None], counted[task])

    def _is_growing(self, node: WalkedNode) -> bool:
        """Whether the free node behind a node is being taken off its list, as for a block that grows."""
        following = self._own(node.address + node.size)
        if following is None or following.used or node.address + node.size == self.end:
            return False
        links = self._links(node.address + node.size)
        before = self.view.word(following.prev + self.layout.pointer - self.view.address)
        after = self.view.word(following.next - self.view.address)
        return before != links or after != links

    def _is_gap_stored(self, node: WalkedNode, header: ControlHeader) -> bool:
        at = node.address + self.layout.node_size + header.gap_size - 4 - self.view.address
        return 0 <= at <= len(self.view.data) - 4 and self.view.u32(at) == header.gap_size | ALIGNED_FLAG

    def _is_request(self, header: ControlHeader, size: int) -> bool:
        room = self.view.capacity(header) - size
        return 0 <= room < self.layout.smallest_node

    def _is_linked(self, node: WalkedNode) -> bool:
        """Whether the entries beside a free node on its list still lead to it."""
        assert node.backup is not None
        links = self._links(node.address)
        before = self.view.word(node.backup.prev + self.layout.pointer - self.view.address)
        after = self.view.word(node.backup.next - self.view.address)
        return links in (before, after)

    # --- checksums ----------------------------------------------------------------------------------------------

    def _is_sealed_once(self, node: WalkedNode, header: ControlHeader, others: tuple[ControlHeader, ...]) -> bool:
        """Whether a header's checksum is that of what its fields are or were."""
        if self.layout.checksum_holds(header) or any(header.checksum == one.checksum for one in others[1:]):
            return True
        backup_holds = self.layout.checksum_holds(others[0])
        if header.checksum == others[0].checksum and backup_holds:
            return True
        difference = header.checksum ^ self.layout.checksum(header)
        assert node.previous is not None
        if self._was_between(node, header.pre_node ^ difference):
            return True
        gap = header.gap_size ^ difference
        resized = header.size_and_flag != others[0].size_and_flag
        if resized and header.aligned and gap < header.size and not gap % 4:
            return True
        if any(
            self._is_link_change(node, header, difference ^ change) for change in self._changes(node, header, others)
        ):
            return True
        # The old checksum may stand beside new fields: then it is that of another header's old fields.
        other = others[0]
        difference = header.checksum ^ self.layout.checksum(other)
        return any(
            self._is_link_change(node, other, difference ^ change) for change in self._changes(node, other, others)
        )

    def _was_between(self, node: WalkedNode, place: int) -> bool:
        """Whether a node that was split off or merged lies at a place between a node and the one before."""
        assert node.previous is not None
        if not node.previous + self.layout.smallest_node <= place < node.address or place % self.layout.align:
            return False
        own = self._own(place)
        return (own is not None and own.pre_node == node.previous) or self._was_merged(place, None)

    def _changes(self, node: WalkedNode, header: ControlHeader, others: tuple[ControlHeader, ...]) -> Iterator[int]:
        """What changes of the place before, the gap and the size can have done to a checksum."""
        assert node.previous is not None
        number = self.index.get(node.previous) or 0
        places = {header.pre_node, node.previous, *(one.pre_node for one in others)}
        if number:
            places.add(self.walked.everything[number - 1].address)
        sizes = {header.size, *(one.size for one in others), *self._sizes(node)}
        gaps = {0, header.gap_size, *(one.gap_size for one in others)}
        flagged = {size | flag for size in sizes for flag in (0, USED_FLAG, _FLAGS)}
        for place in places:
            for size in flagged:
                for gap in gaps:
                    yield place ^ header.pre_node ^ size ^ header.size_and_flag ^ gap ^ header.gap_size

    def _sizes(self, node: WalkedNode) -> Iterator[int]:
        number = self.index[node.address]
        for other in self.walked.everything[number + 1 : number + 4]:
            yield other.address - node.address

    def _is_link_change(self, node: WalkedNode, header: ControlHeader, difference: int) -> bool:
        """Whether a change of list links, or of magic and task, explains what is left of a difference."""
        if difference == 0:
            return True
        wide = self.layout.width == 64
        owner = difference ^ (header.prev ^ self._magic(node) if wide else header.next)
        if self._is_marked(node, header):
            if difference in (header.prev, header.next, header.prev ^ header.next):
                return True  # both were 0 before
            if not wide and header.next in self.entries:
                return self._is_owner(owner)  # the list's link came first
            unowned = header.prev >> 48 << 48 if wide else header.next >> 16 << 16
            return difference == unowned  # only the module is new
        both = difference ^ header.prev ^ header.next
        if difference ^ header.prev in self.entries or difference ^ header.next in self.entries or both in self.pairs:
            return True
        marked = both ^ self._magic(node)
        return both == 0 or self._is_owner(marked >> 32 if wide and not marked & 0xFFFFFFFF else marked)

    def _pairs(self, entries: set[int]) -> Iterator[int]:
        """Links of every two entries that follow each other, as a checksum has them."""
        for entry in entries:
            following = self.view.word(entry + self.layout.pointer - self.view.address)
            before = self.view.word(entry - self.view.address)
            if following is not None and before is not None:
                yield entry ^ following
                yield entry ^ before
                yield before ^ following

    def _links(self, node: int) -> int:
        return self.view.links(node - self.view.address)

    def _own(self, node: int) -> ControlHeader | None:
        return self.view.own(node - self.view.address)


def _resealed(view: PoolView, header: ControlHeader, before: int) -> ControlHeader:
    """A header as it was sealed when another node lay before it."""
    moved = msgspec.structs.replace(header, pre_node=before)
    return msgspec.structs.replace(moved, checksum=view.layout.checksum(moved))
