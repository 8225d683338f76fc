"""The damaged bytes of a walked pool: which bytes of which copy differ from what the other copy vouches for.

A `Spot` is one copy of one node's header with what its bytes should be. A `Run` is a stretch of
damage that one write can have made: neighbouring spots of one node, or of several when the damage
passes through the payload between them.
"""

from collections.abc import Mapping, Sequence

from heapwitness.liteos.copies import encode, saved_mask
from heapwitness.liteos.edges import Edges
from heapwitness.liteos.layout import Field, Header, Layout
from heapwitness.liteos.rebuild import Rebuilt
from heapwitness.liteos.registers import Registers
from heapwitness.liteos.spot import Run, Spot, SpotCopy
from heapwitness.liteos.view import PoolView
from heapwitness.liteos.walk import Walk, WalkedNode


class Evidence:
    """The spots and runs of one walked pool."""

    def __init__(self, view: PoolView, walk: Walk, rebuilt: Mapping[int, Rebuilt]) -> None:
        self.view = view
        self.walk = walk
        self.rebuilt = rebuilt
        self.nodes = walk.everything
        self.index = {node.address: number for number, node in enumerate(self.nodes)}
        self._mask = saved_mask(view.layout)
        self.registers = Registers(view.layout, walk)
        self._edges = Edges(self)

    def header(self, node: WalkedNode) -> Header | None:
        """A node's header as it should be: the good copy, or what was rebuilt."""
        rebuilt = self.rebuilt.get(node.address)
        return rebuilt.header if rebuilt is not None else node.header

    def spots(self, node: WalkedNode) -> tuple[Spot, ...]:
        """Both copies of a node's header, in order of address, where they are in the bytes."""
        layout = self.view.layout
        found: list[Spot] = []
        if node.own is not None:
            found.append(self._spot("header", node, node.address, node.address + layout.header_offset))
        if node.backup is not None and node.previous is not None and layout.backup_offset is not None:
            found.append(self._spot("backup", node, node.previous, node.previous + layout.backup_offset))
        return tuple(sorted(found, key=lambda spot: spot.address))

    def _spot(self, copy: SpotCopy, node: WalkedNode, place: int, address: int) -> Spot:
        view, size = self.view, self.view.layout.control.size
        actual = view.data[address - view.address : address - view.address + size]
        header = self.header(node)
        if header is None or not node.exact:
            return Spot(copy, node.address, place, address, bytes(size), bytes(size), actual)
        rebuilt = self.rebuilt.get(node.address)
        known = self._mask if rebuilt is None else masked(view.layout, self._mask, rebuilt)
        return Spot(copy, node.address, place, address, encode(view.layout, header, actual), known, actual)

    def runs(self) -> tuple[Run, ...]:
        """The separate damages of headers and backups, in order of address."""
        pieces: list[Run] = []
        for node in self.nodes:
            if node.intact:
                continue
            for spot in self.spots(node):
                if not (node.own_good if spot.copy == "header" else node.backup_good):
                    pieces.append(_piece(spot))
        pieces.sort(key=lambda piece: piece.start)
        joined: list[Run] = []
        for piece in pieces:
            if joined and self._is_one_write(joined[-1], piece):
                last = joined.pop()
                piece = Run(last.start, piece.stop, piece.stop, True, (*last.spots, *piece.spots))
            joined.append(piece)
        return tuple(self._edges.extended(run) for run in joined)

    def _is_one_write(self, one: Run, other: Run) -> bool:
        last, first = one.spots[-1], other.spots[0]
        if last.place == first.place:
            fills = last.fill, first.fill
            if None not in fills and fills[0] != fills[1]:
                return False  # two whole copies, each filled with a value of its own
            return other.start - one.stop <= 2 * self.view.layout.pointer
        # Through the whole payload between two nodes: up to where it begins, and on where the next node does.
        place = self.index[last.place]
        payload = last.place + self.view.layout.node_size
        is_next = place + 1 < len(self.nodes) and self.nodes[place + 1].address == first.place
        return is_next and one.stop == payload and other.start - first.place < self.view.layout.pointer


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


def _piece(spot: Spot) -> Run:
    """The damage of one copy: its first wrong byte to its last; all of it where it is filled or nothing is known."""
    start, stop = 0, len(spot.actual)
    if spot.fill is None:
        wrong = wrong_bytes(spot)
        if wrong:
            start, stop = wrong[0], wrong[-1] + 1
    return Run(spot.address + start, spot.address + stop, spot.address + stop, True, (spot,))


def wrong_bytes(spot: Spot) -> Sequence[int]:
    """Offsets of bytes that something vouches for and that are otherwise."""
    triples = zip(spot.actual, spot.expected, spot.known, strict=True)
    return [at for at, (have, want, known) in enumerate(triples) if known and have != want]
