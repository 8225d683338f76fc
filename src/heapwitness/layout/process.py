"""What an engine keeps beside its pools: the process block, regions and sites (docs/format.md).

All of it lies in the target's own memory, so none of it is trusted: counts are bounded before anything
is read, and what contradicts itself is treated as not there.
"""

import contextlib
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from enum import IntEnum
from typing import NamedTuple

from heapwitness.errors import HeapwitnessError
from heapwitness.layout.python_code import CODE_LIMIT, PythonCode, parse_code
from heapwitness.layout.runs import BOOK, RunKey
from heapwitness.layout.runs import LOG2 as RUN_LOG2
from heapwitness.layout.witness import Domain
from heapwitness.memory import Memory, Unreadable

MAGIC = 0x52505748
VERSION = 4
BEFORE_RUNS = 1
"""The version of engines that had pools alone."""

PROCESS_WORDS = struct.Struct("<IIQQQQQQQ")
PROCESS_WORDS_BEFORE_RUNS = struct.Struct("<IIQQQQ")
REGION_WORDS = struct.Struct("<QQIIQQ")
REGION_WORDS_BEFORE_RUNS = struct.Struct("<QQII")
SITE_WORDS = struct.Struct("<IIIHBB")
SITE_UNIT = 16

_NUMBER, _ENTRY = (1 << 24) - 1, 1 << 24
_DOMAIN_AT = 56

REGIONS_LIMIT = 1 << 17
_SINGLE_LIMIT = 1 << 12
"""Regions that are read one by one where a record has only some of them."""
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
    TRAPPED = 7
    RUNS = 8


_READ_KINDS = (RegionKind.ARENA, RegionKind.BIG, RegionKind.BIG_HELD, RegionKind.RUNS)


class SiteKind(IntEnum):
    """What a record of the site area is: return addresses, a native site with Python frames, a code object."""

    NATIVE = 0
    PYTHON = 1
    CODE = 2


@dataclass(frozen=True, slots=True)
class Process:
    """The block that leads to everything else; addresses, lengths in bytes, `regions_used` in entries.

    `key` is that of all runs; None of an engine that has none. `past` is the address of what was released lately, 0
    where that is not noted.
    """

    sites: int
    sites_used: int
    regions: int
    regions_used: int
    key: RunKey | None = field(default=None, repr=False)
    past: int = 0


@dataclass(frozen=True, slots=True)
class Region:
    """A pool's address and how many bytes from there can be read.

    Of runs: `table` is the address of what describes them, `handed` of their nodes that other threads released (0 for
    none), `key` what their checks depend on.
    """

    base: int
    size: int
    kind: RegionKind
    arena: int
    table: int = 0
    handed: int = 0
    key: RunKey | None = field(default=None, repr=False)

    @property
    def runs(self) -> int:
        """How many runs it has, used ones or not."""
        return self.size >> RUN_LOG2 if self.kind is RegionKind.RUNS else 0

    def run_table(self, number: int) -> int:
        """The address of what describes a run."""
        return self.table + number * BOOK


def region_at(regions: Iterable[Region], address: int) -> Region | None:
    """The region that an address lies in."""
    return next((one for one in regions if one.base <= address < one.base + one.size), None)


def split_address(word: int) -> tuple[Domain, int]:
    """The domain that stands above a call's address in a record, and the address."""
    domain = word >> _DOMAIN_AT
    return (Domain(domain), word & (1 << _DOMAIN_AT) - 1) if domain in tuple(Domain) else (Domain.NONE, word)


@dataclass(frozen=True, slots=True)
class PythonCall:
    """A Python frame: the number of its code's record, and how many instructions come before the one that ran.

    `entry`: C code called the interpreter here.
    """

    code: int
    before: int
    entry: bool


@dataclass(frozen=True, slots=True)
class SiteRecord:
    """A call site: return addresses, innermost first; `prior` leads from a release to the allocation.

    `python` are the innermost Python frames, where they are known.
    """

    prior: int
    thread: int
    pcs: tuple[int, ...]
    python: tuple[PythonCall, ...] = ()
    domain: Domain = Domain.NONE


def read_process(memory: Memory, address: int) -> Process:
    """The process block at `address`.

    Raises:
        BadProcess: there is none, or its version is not known.
        Unreadable: there is nothing at that address.
    """
    before = PROCESS_WORDS_BEFORE_RUNS
    magic, version, sites, sites_used, regions, regions_used = before.unpack(memory.read(address, before.size))
    if magic != MAGIC:
        raise BadProcess(f"there is no heapwitness engine at {address:#x} of that process.")
    if version not in (VERSION, BEFORE_RUNS):
        raise BadProcess(
            f"that process runs an engine of version {version}; this installation reads versions up to {VERSION}."
        )
    if version == BEFORE_RUNS:
        return Process(sites, sites_used, regions, regions_used)
    *_, place, meta, past = PROCESS_WORDS.unpack(memory.read(address, PROCESS_WORDS.size))
    return Process(sites, sites_used, regions, regions_used, RunKey(place, meta), past)


def read_regions(memory: Memory, process: Process) -> tuple[Region, ...]:
    """All regions in use; at most REGIONS_LIMIT entries are looked at. Empty when they cannot be read."""
    words = REGION_WORDS_BEFORE_RUNS if process.key is None else REGION_WORDS
    count = min(process.regions_used, REGIONS_LIMIT)
    try:
        entries = memory.read(process.regions, count * words.size)
    except Unreadable:
        entries = b"".join(_single(memory, process.regions, words.size, min(count, _SINGLE_LIMIT)))
    regions = (_region(one, process.key) for one in words.iter_unpack(entries) if one[2] in _READ_KINDS)
    return tuple(one for one in regions if one.base + one.size <= 1 << 64)


def _region(words: tuple[int, ...], key: RunKey | None) -> Region:
    base, size, kind, arena = words[:4]
    table, handed = words[4:] or (0, 0)
    return Region(base, size, RegionKind(kind), arena, table, handed, key)


def _single(memory: Memory, start: int, size: int, count: int) -> Iterator[bytes]:
    """Those of so many entries that a record has."""
    for number in range(count):
        with contextlib.suppress(Unreadable):
            yield memory.read(start + number * size, size)


def read_site(memory: Memory, process: Process, number: int) -> SiteRecord | None:
    """A site's record; None for site 0, and for a number that leads to nothing sensible."""
    record = _record(memory, process, number)
    if record is None or record.kind not in (SiteKind.NATIVE, SiteKind.PYTHON):
        return None
    if record.kind == SiteKind.NATIVE:
        return _site(record, record)
    native = _record(memory, process, record.words[0] & _NUMBER) if record.words else None
    if native is None or native.kind != SiteKind.NATIVE:
        return None
    calls = tuple(PythonCall(word & _NUMBER, word >> 32, bool(word & _ENTRY)) for word in record.words[1:])
    return _site(record, native, calls)


def _site(record: "_Record", native: "_Record", calls: tuple[PythonCall, ...] = ()) -> SiteRecord:
    domain, first = split_address(native.words[0]) if native.words else (Domain.NONE, 0)
    return SiteRecord(record.prior, record.thread, (first, *native.words[1:]), calls, domain)


def read_code(memory: Memory, process: Process, number: int) -> PythonCode | None:
    """A code object's record; None for a number that leads to none."""
    offset = number * SITE_UNIT
    head = _head(memory, process, number)
    if head is None or head.kind != SiteKind.CODE or head.words * 8 > CODE_LIMIT:
        return None
    try:
        return parse_code(memory.read(process.sites + offset + SITE_WORDS.size, 8 * head.words))
    except Unreadable:
        return None


class _Head(NamedTuple):
    hash: int
    prior: int
    thread: int
    words: int
    kind: int
    trapped: int


class _Record(NamedTuple):
    prior: int
    thread: int
    kind: int
    words: tuple[int, ...]


def _head(memory: Memory, process: Process, number: int) -> _Head | None:
    """What a record begins with; None where it would not lie in the area as a whole."""
    offset = number * SITE_UNIT
    if number <= 0 or offset + SITE_WORDS.size > process.sites_used:
        return None
    try:
        head = _Head._make(SITE_WORDS.unpack(memory.read(process.sites + offset, SITE_WORDS.size)))
    except Unreadable:
        return None
    return head if offset + SITE_WORDS.size + 8 * head.words <= process.sites_used else None


def _record(memory: Memory, process: Process, number: int) -> _Record | None:
    head = _head(memory, process, number)
    if head is None or head.words > FRAMES_LIMIT:
        return None
    try:
        words = memory.read(process.sites + number * SITE_UNIT + SITE_WORDS.size, 8 * head.words)
    except Unreadable:
        return None
    return _Record(head.prior, head.thread, head.kind, struct.unpack(f"<{head.words}Q", words))
