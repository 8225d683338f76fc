"""The report, version 1: frozen records, in the shape in which they are written as JSON.

Field names are stable within a version. Sizes, lengths and offsets are in bytes, addresses are
integers. `null` means "not known". docs/design.md, section 5, is the promise this file keeps.
"""

from typing import Final, Literal

import msgspec

SCHEMA: Final = "heapwitness-report/1"

Kind = Literal[
    "heap-buffer-overflow",
    "heap-buffer-underflow",
    "header-overwrite",
    "use-after-free-write",
    "use-after-free-read",
    "double-free",
    "invalid-free",
    "mismatched-free",
    "task-stack-overflow",
]
RELEASES: Final[tuple[Kind, ...]] = ("double-free", "invalid-free", "mismatched-free")
"""Kinds that are a wrong release: its detection is the fault itself, and there is nothing to repair."""

When = Literal["malloc", "free", "realloc", "check", "exit", "trap", "crash"]
Access = Literal["read", "write", "execute"]
State = Literal["free", "used", "cached", "end", "quarantined"]
Origin = Literal["malloc", "new", "new[]", "aligned"]
Release = Literal["free", "realloc", "delete", "delete[]", "PyMem_RawFree", "PyMem_Free", "PyObject_Free", "NumPy"]
Domain = Literal["PyMem_RawMalloc", "PyMem_Malloc", "PyObject_Malloc", "NumPy"]
RELEASE_OF_DOMAIN: Final[dict[Domain, Release]] = {
    "PyMem_RawMalloc": "PyMem_RawFree",
    "PyMem_Malloc": "PyMem_Free",
    "PyObject_Malloc": "PyObject_Free",
    "NumPy": "NumPy",
}
Copy = Literal["slack", "backup", "header", "links", "payload", "control"]
HeaderFields = dict[str, int | str | bool]


class Frame(msgspec.Struct, frozen=True, kw_only=True):
    """One frame of a stack; only `pc` is known until symbols are resolved.

    `pc` is a return address, except in the innermost frame of a trap or a crash. `offset` is `pc` within
    `module`. An inlined frame has the pc of the frame it was inlined into.
    """

    pc: int
    module: str | None = None
    build_id: str | None = None
    offset: int | None = None
    function: str | None = None
    file: str | None = None
    line: int | None = None
    column: int | None = None
    inlined: bool = False
    language: Literal["c", "python"] = "c"


class Site(msgspec.Struct, frozen=True, kw_only=True):
    """Where and by which thread (kernel thread id, 0 unknown) something was done; innermost frame first.

    `task` is the task's name where the target has tasks; `thread` is its number then.
    """

    thread: int
    stack: tuple[Frame, ...] = ()
    task: str | None = None


class Array(msgspec.Struct, frozen=True, kw_only=True):
    """A NumPy array whose data a block holds: `itemsize` and `strides` in bytes."""

    dtype: str
    itemsize: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


class Former(msgspec.Struct, frozen=True, kw_only=True):
    """A block that was released, and whose memory is another one's now.

    `type` is that of the object that the first block of this site of releases held, if it was one.
    """

    allocated: Site | None = None
    freed: Site | None = None
    domain: Domain | None = None
    type: str | None = None


class Block(msgspec.Struct, frozen=True, kw_only=True):
    """A heap block as its program knows it: `address` and requested `size` of the payload.

    A block in state "used" with a `freed` site was released by another thread than its owner and waits
    for that one. `task` is the owning task's name, where the format records tasks. `number`: how many its allocation
    site had allocated with it, in a run that counted them; else 0. `domain` is the one of Python's allocators that the
    block came by, where that is known, `array` the array that owns it, and `type` the type of the Python object that it
    holds, or held when it was released. `before` are blocks that lay there before it, the last one first, where one of
    them may be meant.
    """

    address: int
    size: int
    state: State
    origin: Origin
    allocated: Site | None = None
    freed: Site | None = None
    task: str | None = None
    number: int = 0
    domain: Domain | None = None
    array: Array | None = None
    type: str | None = None
    before: tuple[Former, ...] = ()


class Stretch(msgspec.Struct, frozen=True, kw_only=True):
    """Neighbouring bytes of one kind near the damage, `expected` and `actual` as in Damage.

    `block` is the address of the block that they speak of: a backup lies in one node and speaks of the
    next. `missing` bytes between this stretch and the one after it are left out.
    """

    copy: Copy
    address: int
    expected: str
    actual: str
    block: int | None = None
    missing: int = 0


class Damage(msgspec.Struct, frozen=True, kw_only=True):
    """The damaged extent.

    `offset` counts from the culprit's end (0 is the first byte past it); for an underflow it is
    negative and counts from the culprit's start; for a write into a freed block it counts from that
    block's start. It is null where no culprit is known. `expected` and `actual` are hexadecimal, at
    most `shown` bytes from `address`; ".." stands for a byte that no copy vouches for, and in both for the
    pool's key, which no report shows. `copies`
    names what was hit, in order of address. `exact` is false where the damage may have gone on over
    bytes that nothing vouches for, or that had the value which was likely written: a zero, or the last
    byte once more. `picture` shows the bytes around, for renderers.
    """

    address: int
    length: int
    offset: int | None
    expected: str
    actual: str
    shown: int
    copies: tuple[Copy, ...]
    exact: bool = True
    picture: tuple[Stretch, ...] = ()


class Header(msgspec.Struct, frozen=True, kw_only=True):
    """Both copies of the victim's header, field by field, and which of them restored the other.

    The names are those of the format, in the order of its bytes. In `witness/1`: `size` and `prev_size`
    in granules as stored, `slack` in bytes, `state`, `origin`, `site`, `check`, and `valid`: whether the
    check holds and the fields lead to nodes around. A copy is null when it could not be read.
    """

    stored: HeaderFields | None
    backup: HeaderFields | None
    restored_from: Literal["backup", "header"] | None = None


class Detected(msgspec.Struct, frozen=True, kw_only=True):
    """When the damage was noticed, in which process, by which thread (id and name), and its stack."""

    when: When
    thread: int
    thread_name: str = ""
    pid: int = 0
    stack: tuple[Frame, ...] = ()


class Store(msgspec.Struct, frozen=True, kw_only=True):
    """The store itself, where a trap caught it; or the read, where the finding's `access` says so.

    `address` is the first byte that a trap was at; `start` where the access begins, null where that is the same. `size`
    is 0 where it is not known. `value` is hexadecimal, in order of address: what lay at all of the access's bytes after
    it. `registers` are those that the address was made of. `last` is the farthest byte from the block that the same
    instruction was at, `times` how often it was, at least: a loop.
    """

    address: int
    size: int
    stack: tuple[Frame, ...]
    start: int | None = None
    value: str | None = None
    instruction: str = ""
    registers: dict[str, int] = {}
    last: int | None = None
    times: int = 1


class Reading(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that damage may be: the block whose fault it is then, null for something that is not known.

    `offset` counts as in Damage.
    """

    kind: Kind
    culprit: Block | None = None
    offset: int | None = None


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """Where outside of the heap a wrong pointer leads.

    `thread` and its name are those whose stack it is. `module` is the file of a variable, of code or of a
    mapping; `symbol` the variable or function that holds the pointer, which is `offset` bytes into it.
    "break" is memory that brk gave and "mapped" what was mapped without a file: another allocator's, the stack of a
    thread that cannot be told, or the program's own; `module` is the file of another allocator that is loaded.
    """

    kind: Literal["stack", "data", "read-only data", "code", "file", "break", "mapped", "unmapped"]
    thread: int = 0
    thread_name: str = ""
    module: str | None = None
    symbol: str | None = None
    offset: int | None = None


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One finding. `culprit` overran or was misused, `victim` was hit, `previous` holds the victim's backup.

    `certain` is False where the bytes allow for several things; these are `readings`, the most likely first, which is
    what the finding is told as. `suspect` is another block than the culprit that may have been overrun: one that ends
    or begins close to damage which does not touch it, or the one on the other side of damage that does. Of an
    `invalid-free` it is the block that the pointer was read from, where that shows.

    `pointer` is what a wrong release passed, `released_with` the function that it was passed to, and `place` where
    it leads when that is no heap; `detail` says in a sentence what the kind alone does not
    (which block a pointer lies in and how far, by which family it was released). `count` is how often
    the same kind with the same culprit site was seen. `store` is the access that a trap caught, a read where `access`
    says so. `access` says whether the program read or wrote there, where
    that was seen. A read of a released block (`use-after-free-read`) shows in the address that the program made of
    what it read: that is `pointer`. `element` is the index that the element of the first damaged or accessed byte would
    have in the culprit's array.

    Addresses are the process's, sizes and lengths in bytes. Source: docs/report.md.
    """

    kind: Kind
    detected: Detected
    culprit: Block | None = None
    victim: Block | None = None
    previous: Block | None = None
    suspect: Block | None = None
    damage: Damage | None = None
    header: Header | None = None
    repaired: bool = False
    store: Store | None = None
    pointer: int | None = None
    released_with: Release | None = None
    place: Place | None = None
    detail: str = ""
    count: int = 1
    certain: bool = True
    readings: tuple[Reading, ...] = ()
    access: Access | None = None
    element: tuple[int, ...] | None = None


class Stale(msgspec.Struct, frozen=True, kw_only=True):
    """A register that held the address of a released block when the program crashed; that alone proves nothing.

    `inside`: it led so many bytes into a block that is in use, out of which what the program used as an address was
    read: another block of those that `block.before` names may have been meant.
    """

    register: str
    block: Block
    inside: int | None = None


class Crash(msgspec.Struct, frozen=True, kw_only=True):
    """A process that a signal ended, as its engine saw it.

    `code` is the signal's si_code, `address` what the program accessed (null where that is not known or makes no
    sense for the signal), `sender` the process that sent the signal. `heap` says what the check at that moment found,
    of `nodes` nodes: it was "whole", "damaged", or could be looked at in part or not at all.
    """

    signal: str
    code: int
    pid: int
    heap: Literal["whole", "damaged", "partly checked", "unchecked"]
    nodes: int = 0
    thread: int = 0
    thread_name: str = ""
    address: int | None = None
    access: Access | None = None
    sender: int | None = None
    stack: tuple[Frame, ...] = ()
    stale: tuple[Stale, ...] = ()
    notes: tuple[str, ...] = ()


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """What was checked, over all processes; `backup_bytes` is the memory for backups (8 a node of a run, 16 of a pool).

    `trapped` blocks lay at guards of their own, beside `watched` ones the processor watched bytes.

    `findings` counts all: those that are shown, the `dropped`, which came too fast to be looked at, and the `missing`,
    which processes had counted when they ended and could not tell; but not those that were accepted: `suppressed`
    ones and those that the baseline has, `known`. `interpreters` are those of the `processes` whose program is called
    python, when they were heard last: what starts one may be many of a shell's.
    """

    operations: int = 0
    nodes: int = 0
    findings: int = 0
    repaired: int = 0
    backup_bytes: int = 0
    processes: int = 0
    dropped: int = 0
    trapped: int = 0
    missing: int = 0
    watched: int = 0
    suppressed: int = 0
    known: int = 0
    interpreters: int = 0


AcceptedBy = Literal["suppression", "baseline"]


class Accepted(msgspec.Struct, frozen=True, kw_only=True):
    """A finding that does not count: by the `rule`-th of the report's `suppressions`, or since the baseline has it.

    `rule` is null for the baseline's, and where an earlier report had accepted it already.
    """

    finding: Finding
    by: AcceptedBy
    rule: int | None = None


class Suppression(msgspec.Struct, frozen=True, kw_only=True):
    """A line of a file of suppressions, and for how many findings it was the one that fired."""

    file: str
    line: int
    text: str
    fired: int = 0


class Compared(msgspec.Struct, frozen=True, kw_only=True):
    """The baseline that the findings were compared with: how many are `known` from it, and how many different ones of
    it were `missing`, not seen again."""

    file: str
    known: int = 0
    missing: int = 0


class Program(msgspec.Struct, frozen=True, kw_only=True):
    """What was run: `exit_status` as a shell gives it (128 + signal), null while unknown; `language` is that of who
    wrote it, as far as an interpreter of Python tells."""

    argv: tuple[str, ...]
    pid: int | None = None
    exit_status: int | None = None
    language: Literal["c", "python"] = "c"


# A heap as a map. A heap may have millions of blocks: all of it is told in bins, single blocks only in stretches
# around what a reader will look at. Sizes are in bytes, of whole nodes (headers included) unless called requested.

NOBODY: Final = -1
"""Instead of an index of a site or an owner: none is known, or one of those that are too many to list."""


class MapPart(msgspec.Struct, frozen=True, kw_only=True):
    """What lies at the start of each node: `offset` and `size` count from there; the payload comes behind all parts."""

    name: Literal["header", "backup"]
    offset: int
    size: int


class MapSite(msgspec.Struct, frozen=True, kw_only=True):
    """A call site, innermost frame first, and what is live that was allocated there."""

    stack: tuple[Frame, ...]
    blocks: int = 0
    total: int = 0


class MapOwner(msgspec.Struct, frozen=True, kw_only=True):
    """A task and what is live of it."""

    name: str
    blocks: int
    total: int


class MapSizes(msgspec.Struct, frozen=True, kw_only=True):
    """Nodes of at least `size_from` and less than `size_to` bytes: how many live and free ones, and their bytes."""

    size_from: int
    size_to: int
    live: int
    free: int
    live_total: int
    free_total: int


class MapBins(msgspec.Struct, frozen=True, kw_only=True):
    """A pool in bins of `width` bytes from its start; the last may be cut short.

    For each bin: bytes that are live, free, cached (released, and kept for the next allocation) and lost (their header
    is); `blocks` that begin in it; the site and the owner with most live bytes in it, as indexes.
    """

    width: int
    live: tuple[int, ...]
    free: tuple[int, ...]
    cached: tuple[int, ...]
    lost: tuple[int, ...]
    blocks: tuple[int, ...]
    sites: tuple[int, ...]
    owners: tuple[int, ...]


class MapNodes(msgspec.Struct, frozen=True, kw_only=True):
    """Single nodes in a row, the first at `address`. `states` has a letter for each: u used, f free, c cached, l lost.

    `requested` is what was asked for, or what a free one can give; `sites` are of the allocation, or of a released
    one's release.
    """

    address: int
    sizes: tuple[int, ...]
    states: str
    requested: tuple[int, ...]
    sites: tuple[int, ...]
    owners: tuple[int, ...]


class MapPool(msgspec.Struct, frozen=True, kw_only=True):
    """One pool."""

    address: int
    size: int
    nodes: int
    parts: tuple[MapPart, ...]
    bins: MapBins
    stretches: tuple[MapNodes, ...] = ()


class HeapMap(msgspec.Struct, frozen=True, kw_only=True):
    """A heap at one moment: when something was found, at a check, at the end of its process, in a crash, or in a dump.

    `live`, `free`, `cached` and `lost` are bytes, of so many nodes; `largest_free` is the largest free node.
    `whole` is False where not all of it is in the map; `notes` say why.
    """

    taken: Literal["finding", "check", "exit", "crash", "dump"]
    pid: int = 0
    pools: tuple[MapPool, ...] = ()
    sites: tuple[MapSite, ...] = ()
    owners: tuple[MapOwner, ...] = ()
    sizes: tuple[MapSizes, ...] = ()
    live: int = 0
    live_blocks: int = 0
    free: int = 0
    free_blocks: int = 0
    cached: int = 0
    cached_blocks: int = 0
    lost: int = 0
    lost_blocks: int = 0
    largest_free: int = 0
    whole: bool = True
    notes: tuple[str, ...] = ()


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """The whole document. `warnings` are sentences about what was guessed, cut short or could not be read. What was
    `accepted` beforehand is no part of `findings`.

    Addresses are the process's, sizes in bytes. Source: docs/report.md; `schema` names its version.
    """

    schema: Literal["heapwitness-report/1"] = SCHEMA
    program: Program | None = None
    source: str | None = None
    findings: tuple[Finding, ...] = ()
    summary: Summary = Summary()
    warnings: tuple[str, ...] = ()
    crashes: tuple[Crash, ...] = ()
    maps: tuple[HeapMap, ...] = ()
    accepted: tuple[Accepted, ...] = ()
    suppressions: tuple[Suppression, ...] = ()
    baseline: Compared | None = None
