"""What an engine keeps beside its pools: the process block, regions and sites (docs/format.md).

All of it lies in the target's own memory, so none of it is trusted: counts are bounded before anything
is read, and what contradicts itself is treated as not there.
"""

import struct
from dataclasses import dataclass
from enum import IntEnum

from heapwitness.errors import HeapwitnessError
from heapwitness.memory import Memory, Unreadable

MAGIC = 0x52505748
VERSION = 1

PROCESS_WORDS = struct.Struct("<IIQQQQ")
REGION_WORDS = struct.Struct("<QQII")
SITE_WORDS = struct.Struct("<IIIHH")
SITE_UNIT = 16

REGIONS_LIMIT = 1 << 17
FRAMES_LIMIT = 256


class BadProcess(HeapwitnessError):
    """There is no process block where one was said to be."""


class RegionKind(IntEnum):
    UNUSED = 0
    ARENA = 1
    BIG = 2
    BIG_HELD = 3
    CLAIMED = 4
    HUGE = 5
    HUGE_HELD = 6


@dataclass(frozen=True, slots=True)
class Process:
    """The block that leads to everything else; addresses, lengths in bytes, `regions_used` in entries."""

    sites: int
    sites_used: int
    regions: int
    regions_used: int


@dataclass(frozen=True, slots=True)
class Region:
    """A pool's address and how many bytes from there can be read."""

    base: int
    size: int
    kind: RegionKind
    arena: int


@dataclass(frozen=True, slots=True)
class SiteRecord:
    """A call site: return addresses, innermost first; `prior` leads from a release to the allocation."""

    prior: int
    thread: int
    pcs: tuple[int, ...]


def read_process(memory: Memory, address: int) -> Process:
    """The process block at `address`.

    Raises:
        BadProcess: there is none, or its version is not known.
        Unreadable: there is nothing at that address.
    """
    magic, version, sites, sites_used, regions, regions_used = PROCESS_WORDS.unpack(
        memory.read(address, PROCESS_WORDS.size)
    )
    if magic != MAGIC:
        raise BadProcess(f"there is no heapwitness engine at {address:#x} of that process.")
    if version != VERSION:
        raise BadProcess(
            f"that process runs an engine of version {version}; this installation reads version {VERSION}."
        )
    return Process(sites, sites_used, regions, regions_used)


def read_regions(memory: Memory, process: Process) -> tuple[Region, ...]:
    """All regions in use; at most REGIONS_LIMIT entries are looked at. Empty when they cannot be read."""
    count = min(process.regions_used, REGIONS_LIMIT)
    try:
        data = memory.read(process.regions, count * REGION_WORDS.size)
    except Unreadable:
        return ()
    return tuple(
        Region(base, size, RegionKind(kind), arena)
        for base, size, kind, arena in REGION_WORDS.iter_unpack(data)
        if kind in (RegionKind.ARENA, RegionKind.BIG, RegionKind.BIG_HELD) and base + size <= 1 << 64
    )


def read_site(memory: Memory, process: Process, number: int) -> SiteRecord | None:
    """A site's record; None for site 0, and for a number that leads to nothing sensible."""
    offset = number * SITE_UNIT
    if number <= 0 or offset + SITE_WORDS.size > process.sites_used:
        return None
    try:
        _, prior, thread, frames, _ = SITE_WORDS.unpack(memory.read(process.sites + offset, SITE_WORDS.size))
        if frames > FRAMES_LIMIT or offset + SITE_WORDS.size + 8 * frames > process.sites_used:
            return None
        stack = memory.read(process.sites + offset + SITE_WORDS.size, 8 * frames)
    except Unreadable:
        return None
    return SiteRecord(prior, thread, struct.unpack(f"<{frames}Q", stack))
