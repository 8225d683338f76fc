"""Program headers and section headers of an ELF file that may be made to attack its reader.

Nothing that the file claims costs more than the limits here, whatever it says of numbers and sizes.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

SEGMENTS_LIMIT = 128
SECTIONS_LIMIT = 1 << 16

_IDENT = 16
_CHUNK = 1 << 18

# By class, 32 and 64 bits: the rest of the file's header, a program header, a section header.
_HEADERS = {1: "HHIIIIIHHHHHH", 2: "HHIQQQIHHHHHH"}
_SEGMENTS = {1: "IIIIIIII", 2: "IIQQQQQQ"}
_SECTIONS = {1: "IIIIIIIIII", 2: "IIQQQQIIQQ"}

# What begins a compressed section: how, and its length unpacked.
_COMPRESSED = 1 << 11
_PACKED = {1: "II", 2: "I4xQ"}
_OLD_NAME = b".zdebug"
_OLD = struct.Struct(">4sQ")


class BadElf(ValueError):
    """The file is no ELF file, or contradicts itself."""


@dataclass(frozen=True, slots=True)
class ProgramHeader:
    """A segment: its kind and flags, and offset, address, and lengths in the file and in memory, in bytes."""

    kind: int
    flags: int
    offset: int
    address: int
    file_size: int
    memory_size: int


@dataclass(frozen=True, slots=True)
class SectionHeader:
    """A section: where its name is in the table of names, its kind, address, offset, size, and what it links to.

    `packed`: its bytes are compressed.
    """

    name: int
    kind: int
    address: int
    offset: int
    size: int
    link: int
    packed: bool = False


class Headers:
    """The headers of an open file, which must stay open.

    Attributes:
        wide: the file is of 64 bits.
        little: and little endian.

    Raises:
        BadElf: it is no ELF file.
    """

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        stream.seek(0)
        start = stream.read(64)
        if len(start) < _IDENT or start[:4] != b"\x7fELF" or start[4] not in (1, 2) or start[5] not in (1, 2):
            raise BadElf
        self.wide, self.little = start[4] == 2, start[5] == 1
        self._order, self._class = "<" if self.little else ">", start[4]
        header = struct.Struct(self._order + _HEADERS[self._class])
        if len(start) < _IDENT + header.size:
            raise BadElf
        fields = header.unpack_from(start, _IDENT)
        self._segments_at, self._sections_at = fields[4], fields[5]
        self._segment_size, self._segments = fields[8], fields[9]
        self._section_size, self._sections, self._names = map(int, fields[10:])

    def segments(self) -> Iterator[ProgramHeader]:
        """The program headers, the first SEGMENTS_LIMIT of them."""
        shape = struct.Struct(self._order + _SEGMENTS[self._class])
        if self._segment_size != shape.size:
            return
        for fields in self._table(shape, self._segments_at, min(self._segments, SEGMENTS_LIMIT)):
            if self.wide:
                kind, flags, offset, address, _, file_size, memory_size, _ = fields
            else:
                kind, offset, address, _, file_size, memory_size, flags, _ = fields
            yield ProgramHeader(kind, flags, offset, address, file_size, memory_size)

    def sections(self) -> Iterator[SectionHeader]:
        """The section headers, the first SECTIONS_LIMIT of them."""
        shape = struct.Struct(self._order + _SECTIONS[self._class])
        if self._section_size != shape.size or not self._sections_at:
            return
        count = min(self._sections or SECTIONS_LIMIT, SECTIONS_LIMIT)
        for number, fields in enumerate(self._table(shape, self._sections_at, count)):
            name, kind, flags, address, offset, size, link, *_ = fields
            if number == 0 and not self._sections:
                # More than fit into the header's field are counted in the first section.
                count = size
            if number and number >= count:
                return
            yield SectionHeader(name, kind, address, offset, size, link, bool(flags & _COMPRESSED))

    def count_sections(self) -> int:
        """How many sections the file says that it has."""
        if self._sections or not self._sections_at:
            return self._sections
        first = next(self.sections(), None)
        return first.size if first is not None else 0

    def named(self, *names: bytes) -> dict[bytes, SectionHeader]:
        """The first section of each of these names, where there is one."""
        sections = list(self.sections())
        if self._names >= len(sections):
            return {}
        table = sections[self._names]
        longest = max(map(len, names)) + 1
        found: dict[bytes, SectionHeader] = {}
        for section in sections:
            if section.name < table.size:
                name = self.bytes_at(table.offset + section.name, longest).split(b"\0", 1)[0]
                if name in names:
                    found.setdefault(name, section)
        return found

    def unpacked(self) -> int:
        """Bytes that all compressed sections say to be, unpacked."""
        sections = list(self.sections())
        shape = struct.Struct(self._order + _PACKED[self._class])
        names = sections[self._names] if self._names < len(sections) else None
        total = 0
        for section in sections:
            start = self.bytes_at(section.offset, max(shape.size, _OLD.size)) if section.packed or names else b""
            if section.packed and len(start) >= shape.size:
                total += shape.unpack_from(start)[1]
            elif names and start[:4] == b"ZLIB" and len(start) >= _OLD.size:
                name = self.bytes_at(names.offset + section.name, len(_OLD_NAME))
                total += _OLD.unpack_from(start)[1] if name == _OLD_NAME else 0
        return total

    def bytes_at(self, offset: int, length: int) -> bytes:
        """As many of the file's bytes as there are; the caller bounds the length."""
        try:
            self._stream.seek(offset)
            return self._stream.read(length)
        except (OverflowError, ValueError):
            return b""

    def _table(self, shape: struct.Struct, offset: int, count: int) -> Iterator[tuple[int, ...]]:
        step = _CHUNK // shape.size
        while count > 0:
            data = self.bytes_at(offset, min(step, count) * shape.size)
            whole = len(data) // shape.size
            yield from shape.iter_unpack(data[: whole * shape.size])
            if whole < step:
                return
            offset, count = offset + whole * shape.size, count - whole
