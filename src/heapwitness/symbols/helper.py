"""The process in which files are read for names, and what is said between it and its owner.

Files that a program maps may be made to attack who reads them: to crash the readers, which are C and C++, or to cost
them time and memory. That must cost the names of these files, and nothing else.

A message is its length and its bytes. Asked is with three of them: one of REQUESTS, the mappings (empty where they are
those of the question before), the document. Answered with any number of OPENING and a path, told before work on that
file, and one of ANSWER or FAILED at the end.
"""

import os
import struct
import sys
from collections.abc import Callable
from typing import BinaryIO

import msgspec

from heapwitness.findings.model import Crash, Finding, HeapMap
from heapwitness.symbols.apart import confine
from heapwitness.symbols.debuginfo import Location
from heapwitness.symbols.elf import ElfFile
from heapwitness.symbols.maps import Mapping
from heapwitness.symbols.resolver import Resolver

REQUESTS: dict[bytes, type[Finding] | type[Crash] | type[HeapMap]] = {
    b"finding": Finding,
    b"crash": Crash,
    b"map": HeapMap,
}
"""What is asked for: the method of `Resolver`, and what it is given and gives."""

OPENING, ANSWER, FAILED = b"o", b"a", b"f"

MEMORY_LIMIT = 4 << 30
"""Bytes of address space: large files are mapped whole."""

MESSAGE_LIMIT = 64 << 20

_LENGTH = struct.Struct("<I")


def send(write: Callable[[bytes], object], data: bytes) -> None:
    """Send a message."""
    write(_LENGTH.pack(len(data)) + data)


def receive(read: Callable[[int], bytes]) -> bytes:
    """Take a message.

    Args:
        read: gives exactly so many bytes.

    Raises:
        ValueError: it is too long.
    """
    (length,) = _LENGTH.unpack(read(_LENGTH.size))
    if length > MESSAGE_LIMIT:
        raise ValueError("a message is too long")
    return read(length)


class _Announcing(Resolver):
    """Tells which file it works on, and leaves those alone that were given up."""

    def __init__(self, until: float | None, refused: frozenset[str], tell: Callable[[str], None]) -> None:
        super().__init__(until)
        self._refused = refused
        self._tell = tell

    def file(self, mapping: Mapping) -> ElfFile | None:
        if mapping.path in self._refused:
            return None
        self._tell(mapping.path)
        return super().file(mapping)

    def locations(self, mapping: Mapping, elf: ElfFile, address: int) -> tuple[Location, ...]:
        self._tell(mapping.path)
        return super().locations(mapping, elf, address)

    def symbol(self, mapping: Mapping, elf: ElfFile, address: int) -> tuple[str, int] | None:
        self._tell(mapping.path)
        return super().symbol(mapping, elf, address)


def serve(until: float | None, refused: list[str]) -> None:
    """Answer on stdin and stdout until the owner is gone."""
    confine(MEMORY_LIMIT)
    output = sys.stdout.buffer
    told: list[str] = []

    def tell(path: str) -> None:
        if told != [path]:
            told[:] = [path]
            send(output.write, OPENING + os.fsencode(path))
            output.flush()

    resolver = _Announcing(until, frozenset(refused), tell)
    maps = ""
    while True:
        try:
            kind, text, document = (receive(lambda length: _exactly(sys.stdin.buffer, length)) for _ in range(3))
        except EOFError:
            return
        maps = text.decode("utf-8", "surrogateescape") if text else maps
        told.clear()
        try:
            asked = msgspec.msgpack.decode(document, type=REQUESTS[kind])
            answer = ANSWER + msgspec.msgpack.encode(_named(resolver, asked, maps))
        except Exception:  # no names are an answer
            answer = FAILED
        send(output.write, answer)
        output.flush()


def _named(resolver: Resolver, asked: Finding | Crash | HeapMap, maps: str) -> Finding | Crash | HeapMap:
    if isinstance(asked, HeapMap):
        return resolver.heap_map(asked, maps)
    return resolver.crash(asked, maps) if isinstance(asked, Crash) else resolver.finding(asked, maps)


def _exactly(stream: BinaryIO, length: int) -> bytes:
    data = stream.read(length)
    if len(data) < length:
        raise EOFError
    return data
