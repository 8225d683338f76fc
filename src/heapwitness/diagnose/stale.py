"""Whether a value was read from released or uninitialised memory: a search for it in the pools.

A value counts where it stands in a pool now and the pool's key says that the heap put it there: as a node's pattern
(slack, poison), or as the second word of a released block's links, half of which is their check.
"""

import time
from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple

from heapwitness.diagnose.blocks import Tenant, tombstone
from heapwitness.heap import LostPool, WalkedPool
from heapwitness.heap.verify import pending_links
from heapwitness.layout import witness
from heapwitness.layout.process import Region
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
_FIXED, _SHAPE = 0xE1E1E1E1E1E1E1E1, 0x8181818181818181
_UPPER = 0xFFFFFFFFFFFF0000


class Source(NamedTuple):
    """Where a value came from: the block that has or had the node, and what of the heap's writing it is.

    `value` is the one that was asked for. `behind`: it stands behind the block's requested bytes.
    """

    pool: WalkedPool
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
            pool = WalkedPool.open(memory, region.base, region.size)
            for source in _in_pool(pool, wanted, until):
                if source.released:
                    return source
                best = best or source
        except (LostPool, Unreadable):
            continue
    return best


def released_at(pool: WalkedPool, address: int) -> Tenant | None:
    """The released block whose payload begins at an address, where its node stands or left a tombstone."""
    node, rest = divmod(address - pool.base - witness.OVERHEAD, 1 << pool.log2)
    if rest or not pool.first <= node < pool.end:
        return None
    try:
        tenant = _tenant(pool, node)
        return tenant if tenant is not None and _is_released(pool, tenant) else None
    except Unreadable:
        return None


def released_around(pool: WalkedPool, address: int) -> Tenant | None:
    """The released block that an address leads into, where its node stands or left a tombstone not far before."""
    node = address - pool.base - witness.OVERHEAD >> pool.log2
    try:
        for start in range(node, max(pool.first, node - _NODES_AROUND) - 1, -1):
            tenant = _tenant(pool, start) if start < pool.end else None
            if tenant is not None:
                within = address < pool.base + tenant.end(pool)
                return tenant if within and _is_released(pool, tenant) else None
    except Unreadable:
        return None
    return None


def _could_be_pattern(value: int) -> bool:
    return value & _FIXED & _UPPER == _SHAPE & _UPPER


def _could_be_links(value: int) -> bool:
    parent = value & 0xFFFFFFFF
    return value >> 32 != 0 and (parent < witness.POOL_LIMIT or parent >= witness.PENDING_PARENT)


def _in_pool(pool: WalkedPool, values: Sequence[int], until: float) -> Iterator[Source]:
    hits = 0
    at = pool.first << pool.log2
    # Whole words that cross the border of two parts are in the second.
    while at < pool.length:
        data = pool.memory.read(pool.base + at, min(_CHUNK, pool.length - at))
        for value in values:
            for place in _places(data, value):
                hits += 1
                source = _verified(pool, at + place, int.from_bytes(data[place : place + 8], "little"), value)
                if source is not None:
                    yield source
        if hits > _HITS_LIMIT or time.monotonic() > until:
            return
        at += len(data) - 8 if at + len(data) < pool.length else len(data)


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


def _verified(pool: WalkedPool, at: int, word: int, value: int) -> Source | None:
    """What the heap wrote at byte `at` of the pool, if that is this word and made this value."""
    if word == value and (node := _linked(pool, at)) is not None:
        return Source(pool, node, value, "links")
    if word & _FIXED != _SHAPE or not 0 <= value - word < _NEAR:
        return None
    return _patterned(pool, at, word, value)


def _linked(pool: WalkedPool, at: int) -> Tenant | None:
    """The block whose links have their second word at byte `at`."""
    node, rest = divmod(at - 8 - witness.OVERHEAD, 1 << pool.log2)
    if rest or not pool.first <= node < pool.end:
        return None
    links = pool.links(node)
    return _tenant(pool, node) if pool.links_hold(node, links) else None


def _patterned(pool: WalkedPool, at: int, word: int, value: int) -> Source | None:
    turn = 8 * (at - witness.OVERHEAD & 7)
    plain = (word << turn | word >> 64 - turn) & _MASK
    granule = at - witness.OVERHEAD >> pool.log2
    wanted = plain.to_bytes(8, "little")
    for node in range(granule, max(pool.first, granule - _NODES_BACK) - 1, -1):
        if witness.pattern(pool.secret, node) == wanted and (tenant := _tenant(pool, node)) is not None:
            break
    else:
        return None
    if at >= (tenant.offset + tenant.header.size) << pool.log2:
        return None
    return Source(pool, tenant, value, "pattern", behind=at + 8 > tenant.end(pool))


def _tenant(pool: WalkedPool, node: int) -> Tenant | None:
    """The block that has a node at this place, or had one that was merged with another."""
    header = pool.own(node)
    if pool.stands(node, header):
        return None if header.quarantined else Tenant(node, header)
    buried = tombstone(pool, node)
    return Tenant(node, buried) if buried is not None else None


def _is_released(pool: WalkedPool, tenant: Tenant) -> bool:
    if tenant.header.state is not State.USED:
        return True
    return pending_links(pool, tenant.offset, tenant.header) is not None
