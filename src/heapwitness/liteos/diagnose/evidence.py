"""What vouches for the headers of a walked pool: each node's header as it should be, and its copies beside it."""

from collections.abc import Mapping

from heapwitness.liteos.diagnose.registers import Registers
from heapwitness.liteos.diagnose.spot import HeaderSpot, SpotCopy
from heapwitness.liteos.heap.rebuild import Rebuilt
from heapwitness.liteos.heap.view import PoolView
from heapwitness.liteos.heap.walk import Walk, WalkedNode
from heapwitness.liteos.layout.copies import encode, saved_mask
from heapwitness.liteos.layout.layout import ControlHeader, Field, Layout


class HeaderEvidence:
    """The spots of one walked pool."""

    def __init__(self, view: PoolView, walk: Walk, rebuilt: Mapping[int, Rebuilt]) -> None:
        self.view = view
        self.walk = walk
        self.rebuilt = rebuilt
        self.nodes = walk.everything
        self.index = {node.address: number for number, node in enumerate(self.nodes)}
        self._mask = saved_mask(view.layout)
        self.registers = Registers(view.layout, walk)

    def header(self, node: WalkedNode) -> ControlHeader | None:
        """A node's header as it should be: the good copy, or what was rebuilt."""
        rebuilt = self.rebuilt.get(node.address)
        return rebuilt.header if rebuilt is not None else node.header

    def spots(self, node: WalkedNode) -> tuple[HeaderSpot, ...]:
        """Both copies of a node's header, in order of address, where they are in the bytes."""
        layout = self.view.layout
        found: list[HeaderSpot] = []
        if node.own is not None:
            found.append(self._spot("header", node, node.address, node.address + layout.header_offset))
        if node.backup is not None and node.previous is not None and layout.backup_offset is not None:
            found.append(self._spot("backup", node, node.previous, node.previous + layout.backup_offset))
        return tuple(sorted(found, key=lambda spot: spot.address))

    def _spot(self, copy: SpotCopy, node: WalkedNode, place: int, address: int) -> HeaderSpot:
        view, size = self.view, self.view.layout.control.size
        actual = view.data[address - view.address : address - view.address + size]
        header = self.header(node)
        if header is None or not node.exact:
            return HeaderSpot(copy, node.address, place, address, bytes(size), bytes(size), actual)
        rebuilt = self.rebuilt.get(node.address)
        known = self._mask if rebuilt is None else masked(view.layout, self._mask, rebuilt)
        return HeaderSpot(copy, node.address, place, address, encode(view.layout, header, actual), known, actual)


def masked(layout: Layout, mask: bytes, rebuilt: Rebuilt) -> bytes:
    """The bytes of a rebuilt header that are known: without the unknown fields, and without the checksum over them."""
    if not rebuilt.unknown:
        return mask
    control = layout.control
    fields: dict[str, Field | None] = {
        "freeNodeInfo.pstPrev": control.prev,
        "freeNodeInfo.pstNext": control.next,
        "taskId": control.task,
        "moduleId": control.module,
        "gapSize": control.gap_size,
        "originSize": control.origin_size,
    }
    unknown = [fields[name] for name in rebuilt.unknown]
    if set(rebuilt.unknown) != {"originSize"}:
        unknown.append(control.checksum)
    out = bytearray(mask)
    for field in unknown:
        if field is not None:
            out[field.offset : field.offset + field.size] = bytes(field.size)
    return bytes(out)
