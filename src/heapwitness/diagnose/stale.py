"""Whether a value was read from released or uninitialised memory: a search for it in the pools.

A value counts where it stands in a pool now and the pool's key says that the heap put it there: as a node's pattern
(slack, poison), or as the second word of a released block's links, half of which is their check.
"""

import time
from collections.abc import Iterable, Iterator, Sequence
from typing import Literal, NamedTuple

from heapwitness.diagnose.blocks import Tenant, tombstone
from heapwitness.errors import HeapwitnessError
from heapwitness.heap import LostPool, NodeArea, WalkedPool, area_at
from heapwitness.layout import runs, witness
from heapwitness.layout.process import Region, RegionKind
from heapwitness.layout.witness import State
from heapwitness.memory import Memory, Unreadable

SECONDS = 3.0
BYTES_LIMIT = 2 << 30
"""Time and memory for one search; the process waits."""

_CHUNK = 1 << 20
_HITS_LIMIT = 256
_NODES_BACK = 1 << 16
_NODES_AROUND = 256
_NEAR = 4096
_MASK = (1 << 64) - 1
# Of a pattern these bits are the same everywhere; of its upper six bytes, too, when a little was added to it.
# The top bit of a byte is another one in poison.
_FIXED, _SHAPE = 0x6161616161616161, 0x0101010101010101
_UPPER = 0xFFFFFFFFFFFF0000


class Source(NamedTuple):
    """Where a value came from: the block that has or had the node, and what of the heap's writing it is.

    `value` is the one that was asked for. `behind`: it stands behind the block's requested bytes.
    """

    pool: NodeArea
    tenant: Tenant
    value: int
    kind: Literal["pattern", "links"]
    behind: bool = False

    @property
    def released(self) -> bool:
        return _is_released(self.pool, self.tenant)


def source_of(memory: Memory, regions: Sequence[Region], values: Sequence[int]) -> Source | None:
    """Where one of these values came from; a released block before one that is in use, None for nowhere.

    Args:
        regions: the pools of the process.
        values: what a crashing instruction made its address of.
    """
    wanted = [one for one in values if _could_be_pattern(one) or _could_be_links(one)]
    best: Source | None = None
    until, left = time.monotonic() + SECONDS, BYTES_LIMIT
    for region in regions if wanted else ():
        left -= region.size
        if left < 0 or time.monotonic() > until:
            break
        try:
            for source in _in_region(memory, region, wanted, until):
                if source.released:
                    return source
                best = best or source
        except (LostPool, Unreadable):
            continue
    return best


def released_at(pool: NodeArea, address: int) -> Tenant | None:
    """The released block whose payload begins at an address, where its node stands or left a tombstone."""
    node, rest = divmod(address - pool.base - pool.overhead, 1 << pool.log2)
    if rest or not pool.first <= node < pool.end:
        return None
    try:
        tenant = _tenant(pool, node)
        return tenant if tenant is not None and _is_released(pool, tenant) else None
    except Unreadable:
        return None


def released_around(pool: NodeArea, address: int) -> Tenant | None:
    """The released block that an address leads into, where its node stands or left a tombstone not far before."""
    node = address - pool.base - pool.overhead >> pool.log2
    known = pool.at(address - pool.base)
    try:
        if known is not None:
            tenant = _tenant(pool, known)
            within = tenant is not None and pool.payload(known) <= address < pool.base + tenant.end(pool)
            return tenant if tenant is not None and within and _is_released(pool, tenant) else None
        for start in range(node, max(pool.first, node - _NODES_AROUND) - 1, -1):
            tenant = _tenant(pool, start) if start < pool.end else None
            if tenant is not None:
                within = address < pool.base + tenant.end(pool)
                return tenant if within and _is_released(pool, tenant) else None
    except Unreadable:
        return None
    return None


def tenant_around(pool: NodeArea, address: int) -> Tenant | None:
    """The block, in use or not, whose node of a run holds an address."""
    known = pool.at(address - pool.base)
    try:
        tenant = _tenant(pool, known) if known is not None else None
    except Unreadable:
        return None
    return tenant if tenant is not None and pool.payload(tenant.offset) <= address else None


def _could_be_pattern(value: int) -> bool:
    return value & _FIXED & _UPPER == _SHAPE & _UPPER


def _could_be_links(value: int) -> bool:
    parent = value & 0xFFFFFFFF
    in_pool = parent < witness.POOL_LIMIT or parent >= witness.PENDING_PARENT
    return value == runs.HELD or (value >> 32 != 0 and in_pool)


def _in_region(memory: Memory, region: Region, values: Sequence[int], until: float) -> Iterator[Source]:
    if region.kind is not RegionKind.RUNS:
        pool = WalkedPool.open(memory, region.base, region.size)
        yield from _found(memory, (pool.base + (pool.first << pool.log2), pool.base + pool.length), values, until, pool)
        return
    yield from _found(memory, (region.base, region.base + region.size), values, until, _Runs(memory, region))


class _Runs:
    """The runs of a region, each opened once."""

    def __init__(self, memory: Memory, region: Region) -> None:
        self._memory = memory
        self._region = region
        self._open: dict[int, NodeArea | None] = {}

    def at(self, address: int) -> NodeArea | None:
        number = (address - self._region.base) // runs.BYTES
        if number not in self._open:
            try:
                self._open[number] = area_at(self._memory, self._region, address)
            except HeapwitnessError:
                self._open[number] = None
        return self._open[number]


def _found(
    memory: Memory, stretch: tuple[int, int], values: Sequence[int], until: float, nodes: "WalkedPool | _Runs"
) -> Iterator[Source]:
    hits = 0
    at, end = stretch
    # Whole words that cross the border of two parts are in the second.
    while at < end:
        data = memory.read(at, min(_CHUNK, end - at))
        for value in values:
            for place in _places(data, value):
                hits += 1
                area = nodes.at(at + place) if isinstance(nodes, _Runs) else nodes
                word = int.from_bytes(data[place : place + 8], "little")
                source = _verified(area, at + place - area.base, word, value) if area is not None else None
                if source is not None:
                    yield source
        if hits > _HITS_LIMIT or time.monotonic() > until:
            return
        at += len(data) - 8 if at + len(data) < end else len(data)


def _places(data: bytes, value: int) -> Iterator[int]:
    """Where a value stands whole, or one that is a little less and may be a pattern; the first of them."""
    near = _could_be_pattern(value)
    needle = value.to_bytes(8, "little")[2 if near else 0 :]
    skipped = 8 - len(needle)
    place, found = data.find(needle), 0
    while place >= 0 and found < _HITS_LIMIT:
        if place >= skipped:
            found += 1
            yield place - skipped
        place = data.find(needle, place + 1)


def _verified(pool: NodeArea, at: int, word: int, value: int) -> Source | None:
    """What the heap wrote at byte `at` of the pool, if that is this word and made this value."""
    linked = pool.links_behind(at, word, value)
    node = _tenant(pool, linked) if linked is not None else None
    if node is not None:
        return Source(pool, node, value, "links")
    if word & _FIXED != _SHAPE or not 0 <= value - word < _NEAR:
        return None
    return _patterned(pool, at, word, value)


def _patterned(pool: NodeArea, at: int, word: int, value: int) -> Source | None:
    turn = 8 * (at - pool.overhead & 7)
    plain = (word << turn | word >> 64 - turn) & _MASK
    wanted = plain.to_bytes(8, "little")
    for node in _around(pool, at):
        if wanted in (pool.pattern(node), pool.poison(node)) and (tenant := _tenant(pool, node)) is not None:
            break
    else:
        return None
    if at >= (tenant.offset + tenant.header.size) << pool.log2:
        return None
    return Source(pool, tenant, value, "pattern", behind=at + 8 > tenant.end(pool))


def _around(pool: NodeArea, at: int) -> Iterable[int]:
    """Nodes in whose payload a byte may lie, the nearest first."""
    known = pool.at(at)
    if known is not None:
        return (known,)
    granule = at - pool.overhead >> pool.log2
    return range(granule, max(pool.first, granule - _NODES_BACK) - 1, -1)


def _tenant(pool: NodeArea, node: int) -> Tenant | None:
    """The block that has a node at this place, or had one that was merged with another."""
    header = pool.own(node)
    if pool.stands(node, header):
        return None if header.quarantined or pool.is_bound(node) else Tenant(node, header)
    buried = tombstone(pool, node)
    return Tenant(node, buried) if buried is not None else None


def _is_released(pool: NodeArea, tenant: Tenant) -> bool:
    if tenant.header.state is not State.USED:
        return True
    return pool.handed(*tenant) is not None
