"""`witness/1`: pool, node, header, links and what vouches for them (docs/format.md, "pool").

Only meaning, no reading: everything here takes numbers or bytes and gives numbers, bytes or frozen
records. All words are little endian; offsets and sizes called so are in granules from the pool's start.
"""

import struct
from collections.abc import Iterator
from enum import IntEnum
from functools import lru_cache
from typing import NamedTuple, Self

MAGIC = 0x31505748
VERSION = 2
"""In 1, which was never released, the two headers in a node lay the other way round."""

# Bytes, whatever the granule.
CONTROL = 320
WITNESSED = 32
HEADER = 16
KEPT = 16
"""Where in a node the backup of the next header lies, behind the node's own."""
OVERHEAD = 32
MIN_NODE = 48
END = 64

BINS = 64
GRANULE_LOG2 = (3, 4)
POOL_LIMIT = 1 << 31
"""A pool has fewer granules than this."""

FLAG_STALE = 1
SITE_QUARANTINE = 0xFFFFFF
LINK_KEY = 0x6B6E694C
CACHED_PARENT = 0xFFFFFFFF
POISONED = (0x13A7C5B9, 0xB1D38FA5)
"""`left` and `right` of a poisoned node."""
POISONED_BEFORE = 0x93A7C5B9
"""The first of them in pools of engines that had no runs, whose poison was the pattern of slack itself."""
PENDING_PARENT = 0xFFFFFFFE

HEADER_WORDS = struct.Struct("<4I")
CONTROL_WORDS = struct.Struct("<80I")
FIXED_WORDS = struct.Struct("<8I")

_U32 = 0xFFFFFFFF
_U64 = 0xFFFFFFFFFFFFFFFF

Secret = tuple[int, int, int, int]


class State(IntEnum):
    """What a node is; its value is stored in two bits of `meta`."""

    FREE = 0
    USED = 1
    CACHED = 2
    END = 3


class Origin(IntEnum):
    """By which family a block was allocated; its value is stored in two bits of `meta`."""

    MALLOC = 0
    NEW = 1
    NEW_ARRAY = 2
    ALIGNED = 3


class Domain(IntEnum):
    """By which of Python's and NumPy's allocators a block came, or was released; its site's record has the value."""

    NONE = 0
    RAW = 1
    MEMORY = 2
    OBJECTS = 3
    ARRAYS = 4


_STATES = tuple(State)
_ORIGINS = tuple(Origin)


class NodeHeader(NamedTuple):
    """One copy of a node's header as it is stored; nothing is verified."""

    size: int
    prev_size: int
    meta: int
    check: int

    @property
    def slack(self) -> int:
        """Bytes between the end of what was requested and the node's end."""
        return self.meta & 15

    @property
    def state(self) -> State:
        return _STATES[self.meta >> 4 & 3]

    @property
    def origin(self) -> Origin:
        return _ORIGINS[self.meta >> 6 & 3]

    @property
    def site(self) -> int:
        """Number of the site that allocated the node or, when it is free or cached, released it."""
        return self.meta >> 8

    @property
    def quarantined(self) -> bool:
        return self.state is State.USED and self.site == SITE_QUARANTINE

    def pack(self) -> bytes:
        return HEADER_WORDS.pack(*self)

    @classmethod
    def unpack(cls, data: bytes | memoryview) -> Self:
        """From exactly 16 bytes."""
        return cls(*HEADER_WORDS.unpack(data))


class Links(NamedTuple):
    """The first 16 payload bytes of a node that is free, cached, or used and pending (released by
    another thread than its owner: `left` is the next pending node, `right` the site of the release)."""

    left: int
    right: int
    parent: int
    check: int

    def pack(self) -> bytes:
        return HEADER_WORDS.pack(*self)

    @classmethod
    def unpack(cls, data: bytes | memoryview) -> Self:
        """From exactly 16 bytes."""
        return cls(*HEADER_WORDS.unpack(data))


class Fixed(NamedTuple):
    """The part of the control block that the end node keeps a copy of; `size` in granules."""

    magic: int
    shape: int
    size: int
    check: int
    secret: Secret

    @property
    def log2(self) -> int:
        """Log2 of the granule in bytes."""
        return self.shape >> 8 & 0xFF

    def holds(self) -> bool:
        """The check holds and the shape is one that this description knows."""
        return (
            self.magic == MAGIC
            and self.shape & 0xFFFF00FF == VERSION
            and self.log2 in GRANULE_LOG2
            and self.size < POOL_LIMIT
            and self.size << self.log2 >= CONTROL + MIN_NODE + END
            and self == self.sealed(self.magic, self.shape, self.size, self.secret)
        )

    @classmethod
    def sealed(cls, magic: int, shape: int, size: int, secret: Secret) -> Self:
        """With the check that holds."""
        s0, s1, s2, s3 = secret
        return cls(magic, shape, size, keyed(secret, magic, shape, size, s0 ^ s1 ^ s2 ^ s3), secret)

    def pack(self) -> bytes:
        return FIXED_WORDS.pack(self.magic, self.shape, self.size, self.check, *self.secret)

    @classmethod
    def unpack(cls, data: bytes | memoryview) -> Self:
        """From exactly 32 bytes."""
        magic, shape, size, check, s0, s1, s2, s3 = FIXED_WORDS.unpack(data)
        return cls(magic, shape, size, check, (s0, s1, s2, s3))


class Index(NamedTuple):
    """The derived part of the control block: the roots of the trees of free nodes, and counters."""

    large: int
    flags: int
    nodes: int
    used: int
    bitmap: int
    bins: tuple[int, ...]
    reserved: tuple[int, ...]

    @property
    def roots(self) -> tuple[int, ...]:
        """Of every tree: those of the bins, then the one of larger nodes."""
        return (*self.bins, self.large)

    @property
    def stale(self) -> bool:
        return bool(self.flags & FLAG_STALE)

    @classmethod
    def unpack(cls, data: bytes | memoryview) -> Self:
        """From exactly the 320 bytes of a control block."""
        words = CONTROL_WORDS.unpack(data)
        large, flags, nodes, used, low, high = words[8:14]
        return cls(large, flags, nodes, used, low | high << 32, words[14 : 14 + BINS], words[14 + BINS :])


def meta(slack: int, state: State, origin: Origin, site: int) -> int:
    """The `meta` word of a header."""
    return slack | state << 4 | origin << 6 | site << 8


@lru_cache(maxsize=256)
def _factors(secret: Secret) -> tuple[int, int, int]:
    s0, s1, s2, s3 = secret
    of_sizes, of_meta = s1 << 32 | s0 | 1, s3 << 32 | s2 | 1
    return of_sizes, of_meta, of_sizes * of_meta & _U64


def keyed(secret: Secret, a: int, b: int, c: int, offset: int) -> int:
    """The keyed check of three words at an offset."""
    of_sizes, of_meta, of_offset = _factors(secret)
    return ((a | b << 32) * of_sizes + c * of_meta + (offset & _U32) * of_offset & _U64) >> 32


def low_bits(secret: Secret, header: NodeHeader, offset: int, bits: int) -> Iterator[int]:
    """The low `bits` of `meta`, of which the header has none, with which its check holds; tried as fast as can be."""
    of_sizes, of_meta, of_offset = _factors(secret)
    total = (header.size | header.prev_size << 32) * of_sizes + header.meta * of_meta + (offset & _U32) * of_offset
    beyond = total - (header.check << 32) & _U64
    for low in range(1 << bits):
        if beyond <= _U32:
            yield low
        beyond = beyond + of_meta & _U64


def priority(secret: Secret, offset: int) -> int:
    """A free node's priority in its treap; the greater is above."""
    x = keyed(secret, offset, 0, 0, 0) * 0x85EBCA6B & _U32
    return (x ^ x >> 15) * 0x9E3779B1 & _U32


def sealed(secret: Secret, size: int, prev_size: int, meta_word: int, offset: int) -> NodeHeader:
    """A header with the check that its node's offset asks for."""
    return NodeHeader(size, prev_size, meta_word, keyed(secret, size, prev_size, meta_word, offset))


def sealed_links(secret: Secret, left: int, right: int, parent: int, offset: int) -> Links:
    """Links with the check that their node's offset asks for."""
    return Links(left, right, parent, keyed(secret, left, right, parent, offset + LINK_KEY))


def links_hold(secret: Secret, links: Links, offset: int) -> bool:
    """Whether the links' check holds."""
    return links.check == keyed(secret, links.left, links.right, links.parent, offset + LINK_KEY)


def being_handed_over(secret: Secret, links: Links, offset: int) -> bool:
    """Whether another thread is writing a pending node's links there just now, over whatever there was."""
    return links.check == keyed(secret, _U32, _U32, PENDING_PARENT, offset + LINK_KEY)


def pattern(secret: Secret, offset: int) -> bytes:
    """The eight bytes of a node's slack and poison: payload byte q holds byte q modulo 8 of them."""
    x = (offset & _U32) * _factors(secret)[2] & _U64
    x ^= x >> 32
    return ((x & 0x1E1E1E1E1E1E1E1E) | 0x8181818181818181).to_bytes(8, "little")


def poison(pattern: bytes) -> bytes:
    """What a released node is filled with, by the pattern of its slack: its lower half is a positive number."""
    return bytes((*pattern[:3], pattern[3] & 0x7F, *pattern[4:]))


def pattern_at(eight: bytes, first: int, length: int) -> bytes:
    """`length` bytes of the pattern from payload byte `first` on."""
    turn = first % 8
    turned = eight[turn:] + eight[:turn]
    return (turned * (length // 8 + 1))[:length]
