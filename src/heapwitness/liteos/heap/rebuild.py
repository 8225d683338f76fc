"""Headers of which both copies are lost, as far as everything around still tells them.

The nodes before and after give place and size; the free lists tell free from used and give the links;
the magic follows from the address; the statistics tell whose a used node was; a word in front of an
aligned payload tells its gap. Where one copy's own checksum fits once some of its fields are replaced
by what is known, the whole copy is recovered.
"""

from collections.abc import Iterator, Mapping
from itertools import product

import msgspec

from heapwitness.liteos.heap.counters import shortfalls
from heapwitness.liteos.heap.halflists import head_address, stored_links
from heapwitness.liteos.heap.view import PoolView
from heapwitness.liteos.heap.walk import Walk, WalkedNode
from heapwitness.liteos.layout.copies import sealed, with_fields
from heapwitness.liteos.layout.layout import ALIGNED_FLAG, USED_FLAG, ControlHeader

_PREV, _NEXT = "freeNodeInfo.pstPrev", "freeNodeInfo.pstNext"


class Rebuilt(msgspec.Struct, frozen=True):
    """A header made from what is around it.

    Fields in `unknown` are assumptions; `confirmed` tells that a stored checksum fits the whole. `how` says
    in a sentence what was taken from where.
    """

    header: ControlHeader
    unknown: tuple[str, ...]
    confirmed: bool
    how: str


def rebuild(view: PoolView, walk: Walk) -> Mapping[int, Rebuilt]:
    """Rebuild the header of every node that lost both copies, by node address."""
    lost = [node for node in walk.everything if node.header is None]
    return _Rebuilder(view, walk, lost).run() if lost else {}


class _Rebuilder:
    def __init__(self, view: PoolView, walk: Walk, lost: list[WalkedNode]) -> None:
        self.view = view
        self.layout = view.layout
        self.lost = lost
        places = [node.address for node in walk.everything]
        self.previous = dict(zip(places, (places[-1], *places), strict=False))
        self.shortfalls = shortfalls(view, walk)
        self.before: dict[int, int] = {}
        self.after: dict[int, int] = {}
        for index in range(self.layout.list_count):
            head = head_address(view, index)
            self._hear(head, stored_links(view, head))
        for node in walk.nodes:
            if node.header is not None and not node.header.used:
                self._hear(view.links(node.address - view.address), (node.header.prev, node.header.next))

    def _hear(self, entry: int, links: tuple[int, int] | None) -> None:
        """Note which entries of a list an entry says to stand beside."""
        if links is not None:
            self.after[links[0]] = entry
            self.before[links[1]] = entry

    def run(self) -> dict[int, Rebuilt]:
        used = [node for node in self.lost if not self._is_free(node)]
        rebuilt = {node.address: self._free(node) for node in self.lost if self._is_free(node)}
        rebuilt |= {node.address: self._used(node, alone=len(used) == 1) for node in used}
        return rebuilt

    def _is_free(self, node: WalkedNode) -> bool:
        links = self.view.links(node.address - self.view.address)
        return node.exact and (links in self.before or links in self.after)

    def _free(self, node: WalkedNode) -> Rebuilt:
        links = self.view.links(node.address - self.view.address)
        prev, following = self.before.get(links), self.after.get(links)
        known = {}
        if prev is not None and following is not None:
            known = {"freeNodeInfo": {"prev": prev, "next": following}}
            confirmed = self._confirmed(node, known, (0,))
            if confirmed is not None:
                return confirmed
        unknown = [name for name, value in ((_PREV, prev), (_NEXT, following)) if value is None]
        if self.layout.control.origin_size is not None:
            unknown.append("originSize")
        header = self._make(node, prev or 0, following or 0, 0, 0)
        how = "its place and size come from the nodes around it, its links from the free list that names it"
        return Rebuilt(header, tuple(unknown), False, how)

    def _used(self, node: WalkedNode, *, alone: bool) -> Rebuilt:
        task = self._task(node, alone)
        prev, following = self._marked(node, task or 0)
        if node.exact:
            known = {} if task is None else {"freeNodeInfo": {"prev": prev, "next": following}}
            confirmed = self._confirmed(node, known, (USED_FLAG, USED_FLAG | ALIGNED_FLAG))
            if confirmed is not None:
                return confirmed
        gap = self._gap(node)
        control = self.layout.control
        unknown = ["taskId"] if self.layout.has_magic and task is None else []
        for name, field in (("moduleId", control.module), ("gapSize", control.gap_size)):
            if field is not None and not (name == "gapSize" and gap):
                unknown.append(name)
        if control.origin_size is not None:
            unknown.append("originSize")
        how = "its place and size come from the nodes around it; no free list names it, so it is in use"
        if task is not None:
            how += f"; the statistics of task {task} count it"
        if not node.exact:
            how = "nothing tells where the nodes here begin and end; they are taken as one block in use"
        flags = USED_FLAG | (ALIGNED_FLAG if gap else 0)
        return Rebuilt(self._make(node, prev, following, flags, gap), tuple(unknown), False, how)

    def _task(self, node: WalkedNode, alone: bool) -> int | None:
        """The one task whose statistics miss just this node (or, with only one node lost, at least it)."""
        fitting = [task for task, missing in self.shortfalls.items() if missing == node.size]
        if not fitting and alone:
            fitting = [task for task, missing in self.shortfalls.items() if missing > node.size]
        return fitting[0] if len(fitting) == 1 else None

    def _marked(self, node: WalkedNode, task: int) -> tuple[int, int]:
        """The links of a used node: magic and task lie over them."""
        if not self.layout.has_magic:
            return 0, 0
        control = self.layout.control
        magic = self.view.magic(node.address - self.view.address)
        union = magic << 8 * control.magic.offset | task << 8 * control.task.offset
        return union & self.layout.pointer_mask, union >> self.layout.width

    def _gap(self, node: WalkedNode) -> int:
        """The gap of an aligned block: the word before its payload holds its own distance and the flag."""
        start = node.address - self.view.address + self.layout.node_size
        return gap_in_payload(self.view, start, node.size - self.layout.node_size)

    def _make(self, node: WalkedNode, prev: int, following: int, flags: int, gap: int) -> ControlHeader:
        layout = self.layout
        blank = layout.decode_control(bytes(layout.control.size), 0)
        values = {
            "prev": prev,
            "next": following,
            "pre_node": self.previous[node.address],
            "size_and_flag": node.size | flags,
        }
        if layout.control.gap_size is not None:
            values["gap_size"] = gap
        if layout.control.origin_size is not None:
            values["origin_size"] = max(node.size - layout.node_size - gap, 0)
        return sealed(layout, with_fields(layout, blank, **values))

    def _confirmed(self, node: WalkedNode, known: dict[str, dict[str, int]], flags: tuple[int, ...]) -> Rebuilt | None:
        """A stored copy with some fields replaced by known ones, where its own checksum then fits."""
        if self.layout.control.checksum is None or node.previous is None:
            return None
        at, before = node.address - self.view.address, node.previous - self.view.address
        known = {**known, "preNode": {"pre_node": node.previous}, "gapSize": {"gap_size": 0}}
        for copy in (node.own, node.backup):
            if copy is None:
                continue
            for header, names in self._variants(copy, node, known, flags):
                if self.view.good(header, at, before, at + node.size):
                    how = f"its checksum fits once {' and '.join(names)} say what the nodes around do"
                    return Rebuilt(header, (), True, how)
        return None

    def _variants(
        self, copy: ControlHeader, node: WalkedNode, known: dict[str, dict[str, int]], flags: tuple[int, ...]
    ) -> Iterator[tuple[ControlHeader, list[str]]]:
        sizes = [{"size_and_flag": node.size | flag} for flag in flags]
        choices = [[("", {}), (name, values)] for name, values in known.items()]
        choices.append([("", {}), *(("sizeAndFlag", values) for values in sizes)])
        for chosen in product(*choices):
            names = [name for name, _ in chosen if name]
            if names:
                values = {key: value for _, fields in chosen for key, value in fields.items()}
                yield with_fields(self.layout, copy, **values), names


def gap_in_payload(view: PoolView, start: int, length: int) -> int:
    """The gap of an aligned block whose payload starts at an offset, by the word in front of it; 0 for none found."""
    data = view.data
    for gap in range(4, min(length, len(data) - start), 4):
        at = start + gap - 4
        if int.from_bytes(data[at : at + 4], "little") == gap | ALIGNED_FLAG:
            return gap
    return 0
