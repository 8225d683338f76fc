"""What a crashed thread held that leads to released blocks: no proof of anything, but the place to look at.

The memory of an object that was released once too often may be another one's by then. It was used as the object all the
same where the address that could not be accessed stands in it, behind where a register leads.
"""

from collections.abc import Iterator, Sequence

from heapwitness.diagnose.before import with_before
from heapwitness.diagnose.blocks import Sites, Tenant, block_of
from heapwitness.diagnose.python_objects import type_at, with_type
from heapwitness.diagnose.stale import released_around, released_at, tenant_around
from heapwitness.findings.counted import HEADS
from heapwitness.findings.model import Block, Stale
from heapwitness.heap import LostPool, NodeArea, area_at
from heapwitness.layout import runs
from heapwitness.layout.events import CrashWords
from heapwitness.layout.process import Region, RegionKind, region_at
from heapwitness.memory import Memory, Unreadable, read_up_to

SHOWN = 3
_FIELDS, _TYPE = 16, 1
_FIRST_FIELD = 24
"""Bytes of a type before what is read of it."""

_NEAR, _MASK = 4096, (1 << 64) - 1
STACK_BYTES = 2048
"""Of the stack, from its pointer on: what C functions keep of their callers' arguments."""


def held(
    words: CrashWords,
    names: Sequence[str],
    memory: Memory,
    regions: Sequence[Region],
    sites: Sites,
    used: Sequence[int] = (),
) -> tuple[Stale, ...]:
    """Pointers to or into released blocks that registers held; of those on the stack, pointers to Python objects.

    Args:
        words: of the crash.
        names: of its registers.
        memory: of the process at that moment.
        used: what the access that could not be done was made of.
    """
    pools = _Pools(memory, regions)
    found: dict[int, Stale] = {}
    for name, value in zip(names, words.registers, strict=False):
        place = pools.released(value)
        if place is not None and len(found) < SHOWN:
            pool, tenant = place
            block = with_type(block_of(pool, sites, tenant), memory)
            before = _before(memory, sites, value, block) if block.type is None else None
            found.setdefault(
                block.address,
                Stale(register=name, block=before or block, inside=value - block.address if before else None),
            )
    for at, value in _stack(words, memory):
        kind = type_at(memory, value) if len(found) < 2 * SHOWN and pools.holds(value) else None
        place = pools.released(value) if kind is not None else None
        if place is not None:
            pool, tenant = place
            block = with_type(block_of(pool, sites, tenant), memory)
            if block.type == kind:
                found.setdefault(block.address, Stale(register=f"the stack at {at:#x}", block=block))
    return tuple(found.values()) or tuple(_reused(words, names, memory, pools, sites, used))


def _before(memory: Memory, sites: Sites, value: int, block: Block) -> Block | None:
    """A released block with the objects that lay there before it, where one of them may be meant: what leads there
    leads to where one lay, behind the collector's words, and none is there."""
    inside = value - block.address
    if inside not in HEADS or type_at(memory, value) is not None:
        return None
    block = with_before(block, sites, memory, inside)
    return block if any(one.type is not None for one in block.before) else None


def _reused(
    words: CrashWords, names: Sequence[str], memory: Memory, pools: "_Pools", sites: Sites, used: Sequence[int]
) -> Iterator[Stale]:
    """The first pointer to what was an object, with the block whose memory that is now."""
    registers = zip(names, words.registers, strict=False)
    stack = ((f"the stack at {at:#x}", value) for at, value in _stack(words, memory))
    for name, value in (*registers, *stack) if used else ():
        pool, tenant = pools.tenant(value) or (None, None)
        if pool is None or tenant is None:
            continue
        inside = value - pool.payload(tenant.offset)
        if inside in (0, *HEADS) and type_at(memory, value) is None and _has_one(memory, value, used, name in names):
            block = with_before(block_of(pool, sites, tenant), sites, memory, inside)
            if block.before:
                yield Stale(register=name, block=block, inside=inside)
                return


def _has_one(memory: Memory, value: int, used: Sequence[int], register: bool) -> bool:
    """Whether what looks like an object has one of these in it, or a little less: as its type, or as an address. Zero
    and -1, which are in much memory, count as the type alone, of what a register leads to."""
    data = read_up_to(memory, value, 8 * _FIELDS)
    fields = [int.from_bytes(data[at : at + 8], "little") for at in range(0, len(data) - 7, 8)]
    return any(
        min(one - field & _MASK, field - one & _MASK) < _NEAR
        for number, field in enumerate(fields)
        for one in used
        if (number >= _TYPE and _NEAR <= field < _MASK - _NEAR)
        or (number == _TYPE and field in (0, _MASK) and register and one >= _FIRST_FIELD)
    )


def _stack(words: CrashWords, memory: Memory) -> Iterator[tuple[int, int]]:
    start = words.sp & ~7
    data = read_up_to(memory, start, STACK_BYTES)
    for at in range(0, len(data) - 7, 8):
        yield start + at, int.from_bytes(data[at : at + 8], "little")


class _Pools:
    """Pools by addresses in them, each opened once."""

    def __init__(self, memory: Memory, regions: Sequence[Region]) -> None:
        self._memory = memory
        self._regions = regions
        self._open: dict[int, NodeArea | None] = {}

    def holds(self, address: int) -> bool:
        """Whether there is a pool at an address."""
        return region_at(self._regions, address) is not None

    def tenant(self, address: int) -> tuple[NodeArea, Tenant] | None:
        """The block of a run that an address leads into, whatever became of it."""
        region = region_at(self._regions, address)
        if region is None or region.kind is not RegionKind.RUNS:
            return None
        pool = self._area(region, address)
        tenant = tenant_around(pool, address) if pool is not None else None
        return (pool, tenant) if pool is not None and tenant is not None else None

    def released(self, address: int) -> tuple[NodeArea, Tenant] | None:
        """The released block that an address leads into."""
        region = region_at(self._regions, address)
        pool = self._area(region, address) if region is not None else None
        tenant = (released_at(pool, address) or released_around(pool, address)) if pool is not None else None
        return (pool, tenant) if pool is not None and tenant is not None else None

    def _area(self, region: Region, address: int) -> NodeArea | None:
        place = (address if region.kind is RegionKind.RUNS else region.base) // runs.BYTES
        if place not in self._open:
            try:
                self._open[place] = area_at(self._memory, region, address)
            except (LostPool, Unreadable):
                self._open[place] = None
        return self._open[place]
