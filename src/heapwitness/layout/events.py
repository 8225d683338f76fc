"""Events as the engine sends them (docs/format.md, "events"); `decode.py` makes them of its messages."""

import struct
from enum import IntEnum, IntFlag
from typing import NamedTuple

from heapwitness.errors import HeapwitnessError
from heapwitness.layout.witness import Domain, Origin

MAGIC = 0x56455748
VERSION = 2

EVENT_WORDS = struct.Struct("<IHHIIIIIIQQQQII16sIIQ")
WINDOW_WORDS = struct.Struct("<II")
SECTION_WORDS = struct.Struct("<IIQQ")
CRASH_WORDS = struct.Struct("<11Q31Q")
NUMBER_WORDS = struct.Struct("<QQQ")

MESSAGE_LIMIT = 64 << 20
WINDOWS_LIMIT = 1 << 16
FRAMES_LIMIT = 256
MAPS_LIMIT = 8 << 20
SECTIONS_LIMIT = 1 << 16
WORDS_LIMIT = 4096
COMMAND_LIMIT = 1 << 20
STORED_LIMIT = 4096
NUMBERS_LIMIT = 4096
BEFORE_LIMIT = 4096

FAMILY_BITS = 8
"""Above so many bits of an event's `family`, its origin, stands the domain that the release belongs to."""

_STRANGER, _REPLACED = 0xFF, 0x100


class BadEvent(HeapwitnessError):
    """The bytes are no event."""


class Type(IntEnum):
    HELLO = 1
    FINDING = 2
    EXIT = 3
    OUTCOME = 4
    STRANGER = 5
    CRASH = 6
    CHECKED = 7
    WATCHED = 8


class When(IntEnum):
    MALLOC = 0
    FREE = 1
    REALLOC = 2
    CHECK = 3
    EXIT = 4
    TRAP = 5
    CRASH = 6


class Reason(IntEnum):
    NONE = 0
    DAMAGE = 1
    SLACK = 2
    LINKS = 3
    POISON = 4
    CONTROL = 5
    DOUBLE = 6
    INVALID = 7
    MISMATCH = 8
    GUARD = 9


class Stranger(IntEnum):
    """Why a program is started without the engine."""

    STATIC = 1
    MUSL = 2
    OTHER_MACHINE = 3
    PRIVILEGED = 4
    NOT_TOLD = 5
    OUT_OF_REACH = 6


class SectionKind(IntEnum):
    MEMORY = 1
    MAPS = 2
    COMMAND = 3
    STATS = 4
    RELEASED = 5
    OUTCOME = 6
    CRASH = 7
    TRAP = 8
    UNPOOLED = 9
    STORED = 10
    HELD = 11
    LEFT = 12
    WENT_ON = 13
    FRAME = 14
    WATCHED = 15
    NUMBERED = 16
    RUN = 17
    NOTICED = 18


class Machine(IntEnum):
    """Processors, as ELF numbers them."""

    X86_64 = 62
    AARCH64 = 183


class CrashState(IntFlag):
    """How far the engine came after a crash."""

    LOOKED = 1
    CHECKED = 2
    ENGAGED = 4
    BROKE = 8
    FOUND = 16


class TrapState(IntEnum):
    """What is known of a fault: the program goes on after it, and no other block is about as near to it."""

    GOES_ON = 1
    IS_NEAR = 2


class Access(IntEnum):
    UNKNOWN = 0
    READ = 1
    WRITE = 2


class Window(NamedTuple):
    """A stretch of the pool that holds damage; offsets of nodes in granules, see docs/format.md."""

    low: int
    high: int


class Stats(NamedTuple):
    """What the engine has counted in its process so far; the signal that ends it, 0 for none, and whether the last
    check did not come to its end.

    `trapped`: blocks that were trapped; `too_often` and `too_many`: that were not though their sites are, since sites
    allocated too often, and since there were too many already or there was no room. `left`: places that were put right
    after an operation of the heap was left in the middle. `watched`: blocks beside which bytes were watched;
    `unwatched` is the system's error number for which they were not, or not as many at once as there could be.
    `backup_bytes`: what the backups of all nodes take; older engines do not say so.
    """

    operations: int
    nodes: int
    nodes_peak: int
    findings: int
    repaired: int
    whole_checks: int
    big_blocks: int
    signal: int = 0
    cut_short: bool = False
    trapped: int = 0
    too_often: int = 0
    too_many: int = 0
    left: int = 0
    watched: int = 0
    unwatched: int = 0
    backup_bytes: int | None = None


class Released(NamedTuple):
    """A big block whose pool is gone: address and requested size, the release's site, origin."""

    address: int
    size: int
    site: int
    origin: Origin


class Trap(NamedTuple):
    """A fault: its address, the instruction (0 for unknown), and the pool of the big block whose guard it lies in, 0
    for none. Unless `state` says otherwise the program dies of it."""

    address: int
    pc: int
    access: Access
    pool: int
    state: int = 0


class WentOn(NamedTuple):
    """How far from a block the accesses of an instruction went of which the first was told, and how many there were."""

    block: int
    pc: int
    farthest: int
    times: int


class WatchedStore(NamedTuple):
    """A store to watched bytes: where they lie, what they held before and after it; the block beside them, with its
    requested size, site, and number among that site's."""

    at: int
    before: bytes
    after: bytes
    block: int
    size: int
    site: int
    number: int


class Numbered(NamedTuple):
    """The block that began last at an address: its site, and how many this had allocated with it."""

    address: int
    site: int
    number: int


class Unpooled(NamedTuple):
    """A block without a pool: address and requested size, its allocation's site, origin, the pattern of its slack.

    So many bytes `before` it have that pattern, too. The slack behind it ends with a page, which has `page` bytes.
    """

    address: int
    size: int
    site: int
    origin: Origin
    pattern: int
    before: int = 0
    page: int = 4096


class Outcome(NamedTuple):
    """How many of each the engine put right after a finding."""

    headers: int
    backups: int
    slacks: int
    links: int
    poisons: int
    controls: int
    quarantined: int


class CrashWords(NamedTuple):
    """What a thread's processor and the kernel said when a signal ended its process.

    `registers` are the general ones in the order of their DWARF numbers, `trap` and `error` the processor's words:
    number and error code of the exception on x86-64, the syndrome (in `error`) on AArch64. `sender` is the process
    that sent the signal, 0 for the kernel; `nodes` is how many there were when the heap had been looked at.
    """

    machine: int
    signal: int
    code: int
    address: int
    sender: int
    state: CrashState
    nodes: int
    pc: int
    sp: int
    trap: int
    error: int
    registers: tuple[int, ...]


class Event(NamedTuple):
    """One message, decoded. `frames` are return addresses, innermost first; `memory` is (address, bytes).

    A stranger's `command` is its file. `held` is what the processor held at an access that a trap let through, `stored`
    what lies around its address after it, `went_on` where a loop of such accesses ended. `watched` is a store to
    watched bytes, right after which `held` is. `numbers` are of blocks around a finding. `run` is the address of what
    describes the run at `pool`, 0 where that is a pool. `noticed` is the site of what the thread was at, which has its
    Python lines.
    """

    type: Type
    pid: int = 0
    tid: int = 0
    ppid: int = 0
    when: When = When.CHECK
    reason: Reason = Reason.NONE
    process: int = 0
    pool: int = 0
    pool_bytes: int = 0
    pointer: int = 0
    node: int = 0
    family: Origin = Origin.MALLOC
    domain: Domain = Domain.NONE
    thread: str = ""
    dropped: int = 0
    windows: tuple[Window, ...] = ()
    frames: tuple[int, ...] = ()
    memory: tuple[tuple[int, bytes], ...] = ()
    maps: str | None = None
    command: tuple[str, ...] | None = None
    stats: Stats | None = None
    released: Released | None = None
    outcome: Outcome | None = None
    crash: CrashWords | None = None
    trap: Trap | None = None
    unpooled: Unpooled | None = None
    left: bool = False
    frame: int = 0
    stored: tuple[int, bytes] | None = None
    held: CrashWords | None = None
    went_on: WentOn | None = None
    watched: WatchedStore | None = None
    numbers: tuple[Numbered, ...] = ()
    run: int = 0
    noticed: int = 0

    @property
    def stranger(self) -> Stranger | None:
        """Why a program is started without the engine; None for other events."""
        try:
            return Stranger(self.node & _STRANGER) if self.type is Type.STRANGER else None
        except ValueError:
            return None

    @property
    def replaced(self) -> bool:
        """A program without the engine is started in this process."""
        return self.type is Type.STRANGER and bool(self.node & _REPLACED)
