"""What an engine remembers of a Python program's latest releases (docs/format.md, "Latest releases").

It lies in the target's own memory: addresses and numbers are taken for what they look like, no more.
"""

import struct

from heapwitness.layout.process import Process
from heapwitness.memory import Memory, Unreadable

RELEASES = 1 << 15
SITES = 1 << 14
SLOT_FACTOR, SLOT_SHIFT = 0x9E3779B1, 18
TYPE, STEP = 8, 16
"""Where in a block the first word lies that a site has, and how far apart they lie."""

HEADS = 3
NEXT_WORDS = struct.Struct("<Q")
LEARNT_WORDS = struct.Struct(f"<Q{HEADS}Q")

_NUMBER = (1 << 24) - 1
_PLACE_AT = 20
_U64 = (1 << 64) - 1


def slot(site: int) -> int:
    """Where what was learnt of a site stands."""
    return (site * SLOT_FACTOR & 0xFFFFFFFF) >> SLOT_SHIFT


class Past:
    """The latest releases of a process; none where it does not note them, or they cannot be read."""

    def __init__(self, memory: Memory, process: Process) -> None:
        self._memory = memory
        self._address = process.past
        self._sites: dict[int, list[int]] | None = None

    def sites(self, payload: int) -> tuple[int, ...]:
        """The sites at which blocks at an address were released, the last one first."""
        if self._sites is None:
            self._sites = self._read()
        return tuple(self._sites.get(payload << _PLACE_AT & _U64, ()))

    def heads(self, site: int) -> tuple[int, ...]:
        """What the first block that was released at a site held where an object may have its type."""
        if not self._address:
            return ()
        at = self._address + NEXT_WORDS.size + 8 * RELEASES + slot(site) * LEARNT_WORDS.size
        try:
            known, *words = LEARNT_WORDS.unpack(self._memory.read(at, LEARNT_WORDS.size))
        except Unreadable:
            return ()
        return tuple(words) if known == site else ()

    def _read(self) -> dict[int, list[int]]:
        found: dict[int, list[int]] = {}
        if not self._address:
            return found
        try:
            (after,) = NEXT_WORDS.unpack(self._memory.read(self._address, NEXT_WORDS.size))
            data = self._memory.read(self._address + NEXT_WORDS.size, 8 * RELEASES)
        except Unreadable:
            return found
        words = struct.unpack(f"<{RELEASES}Q", data)
        start = after % RELEASES
        for word in reversed((*words[start:], *words[:start])):
            if word:
                found.setdefault(word & ~_NUMBER, []).append(word & _NUMBER)
        return found
