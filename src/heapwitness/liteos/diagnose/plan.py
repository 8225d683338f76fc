"""Repairs a pool so that it passes its own integrity check again, byte for byte where a witness is left.

In this order: each bad copy of a header from the good one, lost headers as `rebuild` made them, the
pool's info, gap words, free lists, statistics. Every change says why; what nothing vouched for is told.
"""

from typing import TYPE_CHECKING

from heapwitness.liteos.diagnose.derived import lag, lost_gaps, wrong_words
from heapwitness.liteos.diagnose.evidence import HeaderEvidence
from heapwitness.liteos.diagnose.finding import Change, Restoration
from heapwitness.liteos.diagnose.runs import runs_of
from heapwitness.liteos.diagnose.spot import HeaderSpot
from heapwitness.liteos.diagnose.unsaved import Unsaved
from heapwitness.liteos.heap.counters import counters, released_first, wrong_counters
from heapwitness.liteos.heap.lists import FreeLists
from heapwitness.liteos.heap.midway import settled
from heapwitness.liteos.heap.rebuild import rebuild
from heapwitness.liteos.heap.view import PoolView
from heapwitness.liteos.heap.walk import WalkedNode, walk
from heapwitness.liteos.layout.copies import encode, sealed, with_fields
from heapwitness.liteos.layout.layout import ControlHeader

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer, WriteableBuffer

    from heapwitness.liteos.layout.layout import Layout


def plan(
    data: "ReadableBuffer", address: int, layout: "Layout", *, midway: bool = False, held: bool | None = None
) -> Restoration:
    """What has to change for the pool at the start of `data` to be whole again; nothing is written.

    Args:
        data: the pool's bytes; longer or (cut off) shorter than the pool.
        address: the pool's address on the target.
        layout: what the bytes mean.
        midway: whether an operation of the kernel may have been stopped half way, as in a dump of a device; what
            it was changing is left as it is.
        held: whether the heap's lock is known to have been held then.

    Raises:
        NoPool: the bytes hold no pool of this layout.

    Source: docs/liteos.md.
    """
    view = PoolView(bytes(data), address, layout)
    walked = walk(view.data, address, layout, midway=midway)
    if midway:
        walked = settled(view, walked, held=held)
    return _Planner(HeaderEvidence(view, walked, rebuild(view, walked))).run()


def apply(buffer: "WriteableBuffer", address: int, restoration: Restoration) -> None:
    """Write a restoration's changes into a buffer that stands at an address."""
    view = memoryview(buffer).cast("B")
    for change in restoration.changes:
        at = change.address - address
        view[at : at + len(change.new)] = change.new


class _Planner:
    def __init__(self, evidence: HeaderEvidence) -> None:
        self.evidence = evidence
        self.view = evidence.view
        self.layout = evidence.view.layout
        self.out = bytearray(evidence.view.data)
        self.why: dict[int, str] = {}
        self.unrestored: list[str] = []
        self.runs = runs_of(evidence)
        nodes = evidence.nodes
        self.holder = {node.address: nodes[number - 1].address for number, node in enumerate(nodes)}
        self.headers = {node.address: header for node in nodes if (header := evidence.header(node)) is not None}

    def run(self) -> Restoration:
        for node in self.evidence.nodes:
            if not node.intact:
                self._restore_node(node)
        for word in wrong_words(self.evidence):
            if word.node is None or word.copy == "slack":
                self._put(word.address, word.expected.to_bytes(word.size, "little"), f"{word.what}, from the nodes")
        self._restore_unsaved()
        self._restore_lists()
        self._restore_counters()
        for address in lost_gaps(self.evidence):
            self.unrestored.append(f"The gap word of the aligned block in the node at {address:#x} is not known.")
        if self.evidence.walk.truncated is not None:
            self.unrestored.append(f"The image ends at {self.evidence.walk.truncated:#x}, before the pool does.")
        return Restoration(changes=tuple(self._changes()), unrestored=tuple(self.unrestored))

    def _restore_node(self, node: WalkedNode) -> None:
        header = self.headers.get(node.address)
        if header is None or node.size < self.layout.node_size:
            self.unrestored.append(f"Nothing tells what the {node.size} bytes at {node.address:#x} were.")
            return
        rebuilt = self.evidence.rebuilt.get(node.address)
        if rebuilt is not None:
            why = f"rebuilt: {rebuilt.how}"
            if rebuilt.unknown:
                names = ", ".join(rebuilt.unknown)
                self.unrestored.append(f"Of the header of the node at {node.address:#x} these are assumed: {names}.")
        else:
            why = "restored from its backup" if node.backup_good else "restored from its header"
            if not node.own_good and not node.backup_good:
                why = "its size, from the node after it"
        if not node.own_good:
            self._put_header(node.address, header, f"header of the node at {node.address:#x}, {why}")
        if not node.backup_good:
            self._put_backup(node.address, header, f"backup of the header of the node at {node.address:#x}, {why}")

    def _restore_unsaved(self) -> None:
        """Padding and link registers within the damage, where all other nodes have the same."""
        unsaved = Unsaved(self.evidence)
        for run in self.runs:
            for spot in run.spots:
                node = self.evidence.nodes[self.evidence.index[spot.owner]]
                expected = unsaved.expected(node, spot)
                inside = range(max(run.start, spot.address), min(run.stop, spot.stop))
                for address in inside:
                    at = address - spot.address
                    if at in expected:
                        why = f"padding and link registers of the {spot.copy} at {spot.address:#x}, as in all nodes"
                        self._put(address, bytes([expected[at]]), why)
                if spot.copy == "header" and self._hits_registers(spot, inside):
                    self._tell_lost_registers(spot.owner, known=self._register_offsets() <= expected.keys())

    def _register_offsets(self) -> frozenset[int]:
        field = self.layout.control.link_registers
        return frozenset() if field is None else frozenset(range(field.offset, field.offset + field.size))

    def _hits_registers(self, spot: HeaderSpot, inside: range) -> bool:
        return any(spot.address + at in inside for at in self._register_offsets())

    def _tell_lost_registers(self, node: int, *, known: bool) -> None:
        text = f"The link registers of the node at {node:#x} are overwritten and have no backup"
        self.unrestored.append(text + (": those that all other nodes record are assumed." if known else "."))

    def _restore_lists(self) -> None:
        """Links that are wrong once the headers are as they should be; a changed header is sealed again."""
        words = FreeLists(self.view, self.evidence.walk, self.headers).wrong()
        changed: dict[int, dict[str, int]] = {}
        for word in words:
            if word.node is None:
                self._put(word.address, self._pointer(word.expected), f"{word.field} of a free list's head")
            else:
                field = "prev" if word.field == "pstPrev" else "next"
                changed.setdefault(word.node, {})[field] = word.expected
        for address, values in changed.items():
            header = sealed(self.layout, with_fields(self.layout, self.headers[address], **values))
            self.headers[address] = header
            why = f"list links of the free node at {address:#x}"
            self._put_header(address, header, why)
            self._put_backup(address, header, f"backup of the {why}")

    def _restore_counters(self) -> None:
        found = counters(self.view, self.evidence.walk, self.headers)
        lagging = lag(self.evidence, FreeLists(self.view, self.evidence.walk, self.headers))
        for one in wrong_counters(found, self.layout, lagging or released_first(found, self.evidence.walk)):
            name = "the total" if one.counter.task is None else f"task {one.counter.task}"
            why = f"{'peak' if one.peak else 'statistics'} of {name}, from the nodes"
            self._put(one.address, one.expected.to_bytes(4, "little"), why)

    def _put_header(self, address: int, header: ControlHeader, why: str) -> None:
        self._put_control(address + self.layout.header_offset, header, why)

    def _put_backup(self, address: int, header: ControlHeader, why: str) -> None:
        if self.layout.backup_offset is not None:
            self._put_control(self.holder[address] + self.layout.backup_offset, header, why)

    def _put_control(self, address: int, header: ControlHeader, why: str) -> None:
        at = address - self.view.address
        under = bytes(self.out[at : at + self.layout.control.size])
        if len(under) == self.layout.control.size:
            self._put(address, encode(self.layout, header, under), why)

    def _put(self, address: int, data: bytes, why: str) -> None:
        at = address - self.view.address
        for number, byte in enumerate(data[: max(len(self.out) - at, 0)]):
            if self.out[at + number] != byte:
                self.out[at + number] = byte
                self.why[at + number] = why

    def _pointer(self, value: int) -> bytes:
        return value.to_bytes(self.layout.pointer, "little")

    def _changes(self) -> list[Change]:
        """Neighbouring bytes that differ for one reason, together."""
        data = self.view.data
        found: list[list[int]] = []
        for at in sorted(at for at in self.why if self.out[at] != data[at]):
            if found and at == found[-1][-1] + 1 and self.why[at] == self.why[found[-1][-1]]:
                found[-1].append(at)
            else:
                found.append([at])
        return [
            Change(
                address=self.view.address + group[0],
                old=data[group[0] : group[-1] + 1],
                new=bytes(self.out[group[0] : group[-1] + 1]),
                why=self.why[group[0]],
            )
            for group in found
        ]
