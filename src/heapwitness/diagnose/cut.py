"""Pointers that went through an integer of 32 bits: what ctypes makes of a result whose `restype` is not set, or C of a
function that was not declared. Their lower half is that of a block's address."""

from collections.abc import Iterator, Sequence

from heapwitness.diagnose.blocks import Sites, block_of
from heapwitness.diagnose.stale import tenant_around
from heapwitness.errors import HeapwitnessError
from heapwitness.findings.model import Block
from heapwitness.findings.words import count
from heapwitness.heap import area_at
from heapwitness.layout.process import Region, RegionKind
from heapwitness.memory import Memory

_LOW = (1 << 32) - 1
_SIGN = (0, (1 << 33) - 1)
"""The upper bits, with that of the sign, of 32 bits that were made 64 again."""

_LEAST = 1 << 16
_PLACES_LIMIT = 4096


def cut_block(memory: Memory, regions: Sequence[Region], sites: Sites, address: int) -> tuple[Block, int] | None:
    """The only block in use into which an address leads but for its upper half, and how far; None where there are
    several, or none, or it is no such address."""
    if address >> 31 not in _SIGN or address & _LOW < _LEAST:
        return None
    found: list[tuple[Block, int]] = []
    for number, (region, whole) in enumerate(_places(regions, address & _LOW)):
        block = _around(memory, region, sites, whole) if number < _PLACES_LIMIT else None
        if block is not None:
            found.append((block, whole - block.address))
    return found[0] if len(found) == 1 else None


def words(block: Block, inside: int) -> str:
    """What such an address tells. Only that of a block's very start is hardly chance."""
    into = f"{count(inside, 'byte')} into" if inside else "the start of"
    went = "it may have gone" if inside else "it went"
    return (
        f"The pointer's lower 32 bits lead to {into} the {block.size:,}-byte block at {block.address:#x}: {went} "
        "through an integer of 32 bits, as what a function returns does whose restype ctypes was not told, or that C "
        "does not know."
    )


def _places(regions: Sequence[Region], low: int) -> Iterator[tuple[Region, int]]:
    """Addresses in the heap with that lower half."""
    for region in regions:
        if region.kind in (RegionKind.ARENA, RegionKind.RUNS):
            for upper in range(region.base >> 32, (region.base + region.size >> 32) + 1):
                whole = upper << 32 | low
                if region.base <= whole < region.base + region.size:
                    yield region, whole


def _around(memory: Memory, region: Region, sites: Sites, address: int) -> Block | None:
    try:
        pool = area_at(memory, region, address)
        tenant = tenant_around(pool, address)
        block = block_of(pool, sites, tenant) if tenant is not None else None
    except HeapwitnessError:
        return None
    used = block is not None and block.state == "used" and block.freed is None
    return block if used and block is not None and block.address <= address < block.address + block.size else None
