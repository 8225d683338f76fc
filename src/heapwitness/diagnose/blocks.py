"""Blocks as their program knows them, from nodes: requested size, origin, who allocated and freed them.

A free node may be several released blocks merged into one. Each of them that was not the first left a
tombstone, its old header with a check that can never hold; from these the blocks are told again.
"""

import struct
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from heapwitness.errors import HeapwitnessError
from heapwitness.findings import model
from heapwitness.findings.model import Block, Frame, Site
from heapwitness.heap import LostPool, NodeArea, area_at
from heapwitness.layout import witness
from heapwitness.layout.events import Released
from heapwitness.layout.past import Past
from heapwitness.layout.process import (
    Process,
    PythonCall,
    Region,
    RegionKind,
    SiteRecord,
    read_code,
    read_process,
    read_site,
    region_at,
)
from heapwitness.layout.python_code import PythonCode
from heapwitness.layout.witness import HEADER_WORDS, Domain, NodeHeader, Origin, State
from heapwitness.memory import Memory, Unreadable

_SEARCH = 64 << 10
_SEARCH_FIRST = 4 << 20
STATES: dict[State, model.State] = {
    State.FREE: "free",
    State.USED: "used",
    State.CACHED: "cached",
    State.END: "end",
}
ORIGINS: dict[Origin, model.Origin] = {
    Origin.MALLOC: "malloc",
    Origin.NEW: "new",
    Origin.NEW_ARRAY: "new[]",
    Origin.ALIGNED: "aligned",
}

DOMAINS: dict[Domain, model.Domain] = {
    Domain.RAW: "PyMem_RawMalloc",
    Domain.MEMORY: "PyMem_Malloc",
    Domain.OBJECTS: "PyObject_Malloc",
    Domain.ARRAYS: "NumPy",
}


class Sites:
    """The call sites of a process, read when asked for; without a process block there are none."""

    def __init__(self, memory: Memory, address: int) -> None:
        self._memory = memory
        self._known: dict[int, SiteRecord | None] = {}
        self._codes: dict[int, PythonCode | None] = {}
        self._process: Process | None = None
        self._past: Past | None = None
        try:
            self._process = read_process(memory, address)
        except HeapwitnessError:
            # A pool of the core alone has no such block, and a destroyed one must not hide the finding.
            self._process = None

    @property
    def past(self) -> Past | None:
        """What was released lately; None without a process block."""
        if self._past is None and self._process is not None:
            self._past = Past(self._memory, self._process)
        return self._past

    def site(self, number: int) -> Site | None:
        """A site by its number; None when nothing is known of it."""
        record = self._record(number)
        if record is None:
            return None
        native = tuple(Frame(pc=pc) for pc in record.pcs)
        return Site(thread=record.thread, stack=(*native, *self._python(record.python)))

    def lines(self, number: int) -> tuple[Frame, ...]:
        """The Python frames of a site, as `site` has them behind its C frames."""
        record = self._record(number) if number else None
        return tuple(self._python(record.python)) if record is not None else ()

    def _python(self, calls: Sequence[PythonCall]) -> Iterator[Frame]:
        """Python frames, to be put in their places among named ones: `pc` is how many of them C code called."""
        entered = 0
        for call in calls:
            code = self._code(call.code)
            if code is None:
                return
            line = code.line(call.before)
            yield Frame(pc=entered, function=code.function, file=code.file, line=line, language="python")
            entered += call.entry

    def _code(self, number: int) -> PythonCode | None:
        if self._process is None:
            return None
        if number not in self._codes:
            self._codes[number] = read_code(self._memory, self._process, number)
        return self._codes[number]

    def domain(self, number: int) -> model.Domain | None:
        """By which of Python's allocators a block came that was allocated at this site, or released at it."""
        record = self._record(number)
        if record is not None and record.prior:
            record = self._record(record.prior)
        return DOMAINS.get(record.domain) if record is not None else None

    def prior(self, number: int) -> Site | None:
        """Where the block was allocated that was released at this site."""
        record = self._record(number)
        return self.site(record.prior) if record and record.prior != number else None

    def is_release_of(self, number: int, allocation: int) -> bool:
        """Whether a site is a release of what was allocated at another."""
        record = self._record(number)
        return record is not None and allocation != 0 and record.prior == allocation

    def _record(self, number: int) -> SiteRecord | None:
        if self._process is None or number == witness.SITE_QUARANTINE:
            return None
        if number not in self._known:
            self._known[number] = read_site(self._memory, self._process, number)
        return self._known[number]


class Tenant(NamedTuple):
    """A block: the node it has or had (offset in granules), with the header of that time."""

    offset: int
    header: NodeHeader

    def end(self, pool: NodeArea) -> int:
        """The end of what was requested, in bytes from the pool's start."""
        return pool.end_of(self.offset, self.header)


def released_block(sites: Sites, released: Released) -> Block:
    """A big block that is gone, as the engine remembers it."""
    return Block(
        address=released.address,
        size=released.size,
        state="free",
        origin=ORIGINS[released.origin],
        allocated=sites.prior(released.site),
        freed=sites.site(released.site),
        domain=sites.domain(released.site),
    )


def block_of(pool: NodeArea, sites: Sites, tenant: Tenant) -> Block:
    """The block of a node whose header can be believed, or that was believed once."""
    node, header = tenant
    allocated = freed = None
    if header.state is State.USED and not header.quarantined:
        allocated = sites.site(header.site)
        freed = _released_elsewhere(pool, sites, tenant)
    elif header.state in (State.FREE, State.CACHED):
        allocated, freed = sites.prior(header.site), sites.site(header.site)
    return Block(
        address=pool.payload(node),
        size=max(0, pool.requested(node, header)),
        state="quarantined" if header.quarantined else STATES[header.state],
        origin=ORIGINS[header.origin],
        allocated=allocated,
        freed=freed,
        domain=None if header.quarantined else sites.domain(header.site),
    )


def _released_elsewhere(pool: NodeArea, sites: Sites, tenant: Tenant) -> Site | None:
    """Where a used block was released that waits for its owner. Links that were overwritten since still
    tell, when what they name is a release of this very block."""
    node, header = tenant
    try:
        released = pool.handed(node, header)
        once = pool.handed_once(node) if released is None else None
    except Unreadable:
        return None
    if once is not None and sites.is_release_of(once, header.site):
        released = once
    return sites.site(released) if released is not None else None


def block_at(memory: Memory, regions: Sequence[Region], sites: Sites, address: int) -> Block | None:
    """The block in use of an arena that begins at an address; None where there is none."""
    region = region_at(regions, address)
    if region is None or region.kind not in (RegionKind.ARENA, RegionKind.RUNS):
        return None
    try:
        pool = area_at(memory, region, address)
        node = (address - pool.base - pool.overhead) >> pool.log2
        if node <= 0 or pool.payload(node) != address or not pool.standing(node) or pool.is_bound(node):
            return None
        header = pool.own(node)
    except (LostPool, Unreadable):
        return None
    return block_of(pool, sites, Tenant(node, header)) if header.state is State.USED else None


def tombstone(pool: NodeArea, node: int) -> NodeHeader | None:
    """The header of a block that was released at `node` and merged into the node before, or None."""
    if not pool.merges or not pool.first < node < pool.end:
        return None
    try:
        buried = pool.own(node)
    except Unreadable:
        return None
    return _dug_up(pool, node, buried)


def _dug_up(pool: NodeArea, node: int, buried: NodeHeader) -> NodeHeader | None:
    header = buried._replace(check=buried.check ^ 0xFFFFFFFF)
    return header if pool.stands(node, header) else None


def first_tenant(pool: NodeArea, node: int, header: NodeHeader) -> Tenant:
    """The block that a free node's address belonged to last: what follows may have been merged with it."""
    merged = Tenant(node, header)
    if not pool.merges or header.state is not State.FREE:
        return merged
    for place in _led_back(pool, node, node + header.size):
        tenant = Tenant(node, header._replace(size=place - node))
        if tombstone(pool, place) is not None and _slack_remains(pool, tenant):
            return tenant
    return merged


def last_tenant(pool: NodeArea, node: int, header: NodeHeader) -> Tenant:
    """The block that ended where a free node ends."""
    if not pool.merges or header.state is not State.FREE:
        return Tenant(node, header)
    end = node + header.size
    first = first_tenant(pool, node, header)
    start = max(node + pool.min_node, end - (_SEARCH >> pool.log2))
    found = [first] if first.header.slack and first.offset + first.header.size == end else []
    for place, stored in _headers(pool, start, end):
        if place + stored.size == end and (buried := _dug_up(pool, place, stored)) is not None:
            found.append(Tenant(place, buried))
    # Tombstones of older blocks may lie inside of the last one; its slack tells which that is.
    by_slack = [one for one in found if one.header.slack and _slack_remains(pool, one)]
    if by_slack or found:
        return (by_slack or found)[-1]
    return Tenant(node, header._replace(meta=header.meta & ~15))


def _slack_remains(pool: NodeArea, tenant: Tenant) -> bool:
    if not tenant.header.slack:
        return True
    start, expected = pool.slack_pattern(*tenant)
    try:
        return pool.peek(start, len(expected)) == expected
    except Unreadable:
        return False


def _led_back(pool: NodeArea, node: int, stop: int) -> Iterator[int]:
    """Where in a free node something stands that leads back to its start, as only what was merged to that very node
    does; in the first _SEARCH_FIRST bytes."""
    stop = min(stop, node + (_SEARCH_FIRST >> pool.log2))
    words = struct.Struct(f"<4xI{(1 << pool.log2) - 8}x")
    for start in range(node + pool.min_node, stop, _SEARCH >> pool.log2):
        length = (min(stop, start + (_SEARCH >> pool.log2)) - start) << pool.log2
        try:
            data = pool.peek(start << pool.log2, length)
        except Unreadable:
            return
        for place, (prev_size,) in enumerate(words.iter_unpack(data), start):
            if prev_size == place - node:
                yield place


def _headers(pool: NodeArea, start: int, stop: int) -> list[tuple[int, NodeHeader]]:
    """What stands where headers could be, from node `start` to before `stop`, at most _SEARCH bytes of it."""
    stop = min(stop, start + (_SEARCH >> pool.log2))
    at = start << pool.log2
    try:
        data = pool.peek(at, max(0, (stop - start) << pool.log2))
    except Unreadable:
        return []
    return [
        (start + (place >> pool.log2), NodeHeader._make(HEADER_WORDS.unpack_from(data, place)))
        for place in range(0, len(data) - witness.HEADER + 1, 1 << pool.log2)
        if data[place : place + 4] != b"\0\0\0\0"
    ]
