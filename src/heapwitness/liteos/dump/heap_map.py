"""The pools of a dump as a heap's map: blocks by state, task and, where link registers are recorded, call site."""

from collections.abc import Iterator, Sequence

from heapwitness.findings.model import Frame, HeapMap, MapNodes, MapPart
from heapwitness.liteos.diagnose.blocks import requested_size, task_name
from heapwitness.liteos.dump.examine import ExaminedDump, ExaminedPool
from heapwitness.liteos.dump.naming import StackOf, bare, stack_of
from heapwitness.liteos.firmware.firmware import FirmwareFile
from heapwitness.liteos.heap.walk import WalkedNode
from heapwitness.survey.near import Stretches, near, places
from heapwitness.survey.tally import Key, Tally


def heap_map(examined: ExaminedDump) -> HeapMap:
    """The map of all pools of a dump."""
    if examined.options.elf is None:
        return _Surveyor(examined, bare).run()
    with FirmwareFile(examined.options.elf) as firmware:
        return _Surveyor(examined, firmware.stack).run()


_FEW = 1 << 15
"""So many nodes are told one by one."""


class _Surveyor:
    def __init__(self, examined: ExaminedDump, stack: StackOf) -> None:
        self._examined = examined
        self._stack = stack
        # Sites by number: their link registers.
        self._sites: dict[tuple[int, ...], int] = {}

    def run(self) -> HeapMap:
        pools = self._examined.pools
        size = sum(pool.use.size for pool in pools)
        few = sum(len(pool.evidence.walk.nodes) for pool in pools) <= _FEW
        tally = Tally(size, len(pools), fine=not few)
        looked_at = places(self._examined.findings)
        for pool in pools:
            whole = ((0, pool.use.size),) if few else near(pool.address, pool.use.size, looked_at)
            self._count(pool, tally, whole)
        cut = [pool for pool in pools if pool.evidence.walk.truncated is not None]
        notes = (f"{len(cut)} of {len(pools)} pools are not wholly in the dump.",) if cut else ()
        registers = {number: site for site, number in self._sites.items()}

        def stack(number: int) -> tuple[Frame, ...]:
            return stack_of(registers.get(number, ()), self._stack)

        # Owners count from 1, as 0 is none.
        named = any(pool.evidence.view.layout.has_magic for pool in pools)
        names = self._examined.names
        owner = (lambda number: task_name(number - 1, names) if number else "not known") if named else None
        return tally.map(HeapMap(taken="dump", whole=not cut, notes=notes), stack, owner)

    def _count(self, pool: ExaminedPool, tally: Tally, shown: Stretches) -> None:
        counted = tally.pool(pool.address, pool.use.size, _parts(pool))
        stretches: list[list[WalkedNode]] = [[] for _ in shown]
        for node in pool.evidence.walk.nodes:
            at = node.address - pool.address
            counted.node(at, node.size, self._key(pool, node))
            for stretch, (start, stop) in zip(stretches, shown, strict=True):
                if at < stop and at + node.size > start:
                    stretch.append(node)
        counted.finish(tuple(self._nodes(pool, nodes) for nodes in stretches if nodes))

    def _key(self, pool: ExaminedPool, node: WalkedNode) -> Key:
        layout, header = pool.evidence.view.layout, node.header
        if header is None:
            return Key("l")
        registers = tuple(one for one in header.link_registers if one)
        site = self._sites.setdefault(registers, len(self._sites) + 1) if registers else 0
        if not header.used:
            return Key("f", site)
        return Key("u", site, header.task + 1 if layout.has_magic else 0)

    def _nodes(self, pool: ExaminedPool, nodes: Sequence[WalkedNode]) -> MapNodes:
        keys = [self._key(pool, node) for node in nodes]
        return MapNodes(
            address=nodes[0].address,
            sizes=tuple(node.size for node in nodes),
            states="".join(key.state for key in keys),
            requested=tuple(_requested(pool, node) for node in nodes),
            sites=tuple(key.site for key in keys),
            owners=tuple(key.owner for key in keys),
        )


def _requested(pool: ExaminedPool, node: WalkedNode) -> int:
    layout = pool.evidence.view.layout
    capacity = max(0, node.size - layout.node_size)
    return capacity if node.header is None else requested_size(layout, node.header, capacity)


def _parts(pool: ExaminedPool) -> tuple[MapPart, ...]:
    return tuple(_told(pool))


def _told(pool: ExaminedPool) -> Iterator[MapPart]:
    layout = pool.evidence.view.layout
    yield MapPart(name="header", offset=layout.header_offset, size=layout.control.size)
    if layout.backup_offset is not None:
        yield MapPart(name="backup", offset=layout.backup_offset, size=layout.control.size)
