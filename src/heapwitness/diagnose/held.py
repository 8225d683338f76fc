"""What a crashed thread held that leads to released blocks: no proof of anything, but the place to look at."""

from collections.abc import Iterator, Sequence

from heapwitness.diagnose.blocks import Sites, Tenant, block_of
from heapwitness.diagnose.python_objects import type_at, with_type
from heapwitness.diagnose.stale import released_around, released_at
from heapwitness.findings.model import Stale
from heapwitness.heap import LostPool, NodeArea, area_at
from heapwitness.layout import runs
from heapwitness.layout.events import CrashWords
from heapwitness.layout.process import Region, RegionKind, region_at
from heapwitness.memory import Memory, Unreadable, read_up_to

SHOWN = 3
STACK_BYTES = 2048
"""Of the stack, from its pointer on: what C functions keep of their callers' arguments."""


def held(
    words: CrashWords, names: Sequence[str], memory: Memory, regions: Sequence[Region], sites: Sites
) -> tuple[Stale, ...]:
    """Pointers to or into released blocks that registers held; of those on the stack, pointers to Python objects.

    Args:
        words: of the crash.
        names: of its registers.
        memory: of the process at that moment.
    """
    pools = _Pools(memory, regions)
    found: dict[int, Stale] = {}
    for name, value in zip(names, words.registers, strict=False):
        place = pools.released(value)
        if place is not None and len(found) < SHOWN:
            pool, tenant = place
            block = with_type(block_of(pool, sites, tenant), memory)
            found.setdefault(block.address, Stale(register=name, block=block))
    for at, value in _stack(words, memory):
        kind = type_at(memory, value) if len(found) < 2 * SHOWN and pools.holds(value) else None
        place = pools.released(value) if kind is not None else None
        if place is not None:
            pool, tenant = place
            block = with_type(block_of(pool, sites, tenant), memory)
            if block.type == kind:
                found.setdefault(block.address, Stale(register=f"the stack at {at:#x}", block=block))
    return tuple(found.values())


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

    def released(self, address: int) -> tuple[NodeArea, Tenant] | None:
        """The released block that an address leads into."""
        region = region_at(self._regions, address)
        if region is None:
            return None
        place = (address if region.kind is RegionKind.RUNS else region.base) // runs.BYTES
        if place not in self._open:
            try:
                self._open[place] = area_at(self._memory, region, address)
            except (LostPool, Unreadable):
                self._open[place] = None
        pool = self._open[place]
        tenant = (released_at(pool, address) or released_around(pool, address)) if pool is not None else None
        return (pool, tenant) if pool is not None and tenant is not None else None
