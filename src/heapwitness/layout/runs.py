"""`witness/2`: runs of small blocks, and what vouches for them (docs/format.md, "run").

Only meaning, no reading, as in `witness`. Offsets called nodes are in granules of 16 bytes from the run's start, a
place is the number of 64 bits that stands for a node's address in everything that is keyed.
"""

import struct
from collections.abc import Iterator
from typing import NamedTuple, Self

from heapwitness.layout.witness import POISONED, NodeHeader, Origin, State, meta

LOG2 = 16
BYTES = 1 << LOG2
GRANULE_LOG2 = 4
GRANULES = BYTES >> GRANULE_LOG2
FIRST = 1
"""The first node; what lies before it is the sentinel."""

HEADER = 8
KEPT = 8
"""Where in a node the backup of the next header lies."""
OVERHEAD = 16
LINKS = 16
SMALL = 64
"""Classes whose slack stands in the header."""
CLASSES = 88
MOST = 8192
"""Bytes of the largest class."""
NODES = 2048
MIDS = 56
END_META = meta(0, State.END, Origin.MALLOC, 0)
HELD = POISONED[1] << 32 | POISONED[0]
"""Word 0 of a node that is held back."""

HEADER_WORDS = struct.Struct("<II")
LINK_WORDS = struct.Struct("<QQ")
RUN_WORDS = struct.Struct("<QQQIHHHHBBHQIIII")
BOOK = 256
"""Bytes of what describes one run, in the table of a region: an `hw_run`, and behind it its `hw_run_aside`."""
ASIDE_WORDS = struct.Struct("<QHB5s168s")
HANDED_WORDS = struct.Struct("<I")
HANDED_BYTES = NODES * HANDED_WORDS.size
"""Of one run's array of nodes that another thread released."""

_ENTRY = 3
_HANDED, _SITE = 1 << 31, (1 << 24) - 1
_MID_STEPS, _MID_STEP, _MID_FIRST = 8, 128, 1024
_U32, _U64 = 0xFFFFFFFF, 0xFFFFFFFFFFFFFFFF
_NEXT = 0xFFFF


class RunKey(NamedTuple):
    """What the checks of all runs of a process depend on: two odd numbers, never shown."""

    place: int
    meta: int


class RunLinks(NamedTuple):
    """The first 16 payload bytes of a free or cached node, as two words."""

    first: int
    second: int

    @property
    def next(self) -> int:
        """Of a free node: the next one of the run, 0 for none."""
        return self.first & _NEXT

    def pack(self) -> bytes:
        return LINK_WORDS.pack(*self)

    @classmethod
    def unpack(cls, data: bytes | memoryview) -> Self:
        """From exactly 16 bytes."""
        return cls(*LINK_WORDS.unpack(data))


class RunWords(NamedTuple):
    """An `hw_run`; nothing is verified."""

    base: int
    salt: int
    aside: int
    stride: int
    head: int
    used: int
    formatted: int
    capacity: int
    run_class: int
    listed: int
    where: int
    waiting: int
    next: int
    previous: int
    next_waiting: int
    queued: int

    def pack(self) -> bytes:
        return RUN_WORDS.pack(*self)

    @classmethod
    def unpack(cls, data: bytes | memoryview) -> Self:
        """From exactly 64 bytes."""
        return cls(*RUN_WORDS.unpack(data))


class AsideWords(NamedTuple):
    """An `hw_run_aside`; nothing is verified. `slack` are entries by number of the node."""

    salt: int
    formatted: int
    run_class: int
    zero: bytes
    slack: tuple[int, ...]

    def pack(self) -> bytes:
        entries = b"".join(entry.to_bytes(_ENTRY, "little") for entry in self.slack)
        return ASIDE_WORDS.pack(self.salt, self.formatted, self.run_class, self.zero, entries)

    @classmethod
    def unpack(cls, data: bytes | memoryview) -> Self:
        """From exactly 184 bytes."""
        salt, formatted, run_class, zero, entries = ASIDE_WORDS.unpack(data)
        slack = (int.from_bytes(entries[at : at + _ENTRY], "little") for at in range(0, len(entries), _ENTRY))
        return cls(salt, formatted, run_class, zero, tuple(slack))


class RunShape(NamedTuple):
    """What says where a run's nodes are, and what their checks depend on."""

    salt: int
    run_class: int
    formatted: int

    @property
    def stride(self) -> int:
        """In bytes."""
        return payload_of(self.run_class) + OVERHEAD

    @property
    def granules(self) -> int:
        """The stride in granules."""
        return self.stride >> GRANULE_LOG2

    @property
    def capacity(self) -> int:
        """Nodes that there can be."""
        return (BYTES - 2 * OVERHEAD) // self.stride

    @property
    def end(self) -> int:
        """The END's offset in granules."""
        return FIRST + self.formatted * self.granules

    @property
    def is_possible(self) -> bool:
        """Whether a run can have it."""
        return 0 <= self.run_class < CLASSES and 0 <= self.formatted <= self.capacity

    def is_node(self, node: int) -> bool:
        """Whether a block's node can stand there."""
        return FIRST <= node < self.end and (node - FIRST) % self.granules == 0

    def number(self, node: int) -> int:
        """Of a node among those of the run."""
        return (node - FIRST) // self.granules

    def locate(self, offset: int) -> int:
        """The node that a byte belongs to: 0 for the sentinel, the END for what lies behind all nodes."""
        at = offset >> GRANULE_LOG2
        return 0 if at < FIRST else min(at - (at - FIRST) % self.granules, self.end)


def class_of(size: int) -> int:
    """The class of a request of 1 to MOST bytes."""
    if size <= _MID_FIRST:
        return size - 1 >> GRANULE_LOG2
    top = (size - 1).bit_length() - 1
    return SMALL + (top - 10) * _MID_STEPS + (size - 1 >> top - 3 & _MID_STEPS - 1)


def payload_of(run_class: int) -> int:
    """The bytes of a class's payload."""
    if run_class < SMALL:
        return run_class + 1 << GRANULE_LOG2
    doubling, step = divmod(run_class - SMALL, _MID_STEPS)
    return (_MID_FIRST << doubling) + (step + 1) * (_MID_STEP << doubling)


def place_of(key: RunKey, salt: int, address: int) -> int:
    """What stands for a node's address."""
    return address * key.place + salt & _U64


def keyed(key: RunKey, place: int, meta_word: int) -> int:
    """The check of a header with this `meta`."""
    return (place + meta_word * key.meta & _U64) >> 32


def sealed(key: RunKey, place: int, meta_word: int, size: int = 0, prev_size: int = 0) -> NodeHeader:
    """A header with the check that its place asks for; the sizes are not stored."""
    return NodeHeader(size, prev_size, meta_word, keyed(key, place, meta_word))


def pack_header(header: NodeHeader) -> bytes:
    """A header as it is stored: 8 bytes."""
    return HEADER_WORDS.pack(header.meta, header.check)


def unpack_header(data: bytes | memoryview, size: int, prev_size: int) -> NodeHeader:
    """From exactly 8 bytes, and the sizes in granules that follow from its place."""
    return NodeHeader(size, prev_size, *HEADER_WORDS.unpack(data))


def low_bits(key: RunKey, place: int, header: NodeHeader, bits: int) -> Iterator[int]:
    """The low `bits` of `meta`, of which the header has none, with which its check holds."""
    beyond = place + header.meta * key.meta - (header.check << 32) & _U64
    for low in range(1 << bits):
        if beyond <= _U32:
            yield low
        beyond = beyond + key.meta & _U64


def pattern(place: int) -> bytes:
    """The eight bytes of a node's slack and poison: payload byte q holds byte q modulo 8 of them."""
    x = place ^ place >> 32
    return ((x & 0x1E1E1E1E1E1E1E1E) | 0x8181818181818181).to_bytes(8, "little")


def linked(key: RunKey, place: int, first: int) -> RunLinks:
    """Links with the second word that the first one asks for."""
    return RunLinks(first, (place + first * key.meta & _U64) | _U32)


def free_links(key: RunKey, place: int, following: int) -> RunLinks:
    """The links of a free node; `following` is the next one of the run, 0 for none."""
    return linked(key, place, int.from_bytes(pattern(place), "little") << 16 & _U64 | following)


def held_links(key: RunKey, place: int) -> RunLinks:
    """The links of a node that is held back."""
    return linked(key, place, HELD)


def links_hold(key: RunKey, place: int, state: State, links: RunLinks) -> bool:
    """Whether a released node's links are as they were written."""
    if state is State.CACHED:
        return links == held_links(key, place)
    return links == free_links(key, place, links.next)


def slack_entry(place: int, slack: int) -> int:
    """What stands apart of a node's slack, of a class from SMALL on: what its header has no room for, three times."""
    return (slack >> 4) * 0x010101 ^ place >> 40


def entry_slack(place: int, low: int, entry: int, run_class: int) -> int | None:
    """The bytes of slack that an entry says with the low bits of a header; None where no node can have it."""
    slack = low | ((entry ^ place >> 40) & 0xFF) << 4
    return slack if entry == slack_entry(place, slack) and slack < slack_limit(run_class) else None


def slack_limit(run_class: int) -> int:
    """Nodes of a class above the first have less slack than this."""
    return payload_of(run_class) - payload_of(run_class - 1)


def where_of(base: int, aside: int) -> int:
    """What vouches for the addresses of a run and of the second copy of what describes it."""
    both = base ^ aside
    both ^= both >> 32
    return ~(both ^ both >> 16) & 0xFFFF


def handed_site(word: int) -> int | None:
    """The site at which another thread released a node, by its word in `handed`; None when none did."""
    return word & _SITE if word & _HANDED else None
