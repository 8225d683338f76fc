"""What is needed of an ELF file without its debugging information: segments, build id, exported names."""

import bisect
import os
import struct
from dataclasses import dataclass

from heapwitness.regular import Identity, open_regular
from heapwitness.symbols.headers import Headers, ProgramHeader
from heapwitness.symbols.maps import Mapping

FILE_LIMIT = 2 << 30
"""Bytes of a file that is read for names."""

# A forged or broken file must not make us read it whole.
_NOTES_LIMIT = 1 << 16
_SYMBOLS_LIMIT = 16 << 20
_NAMES_LIMIT = 64 << 20
_NAME_LIMIT = 16 << 10
_BUILD_ID_NOTE = 3
_LOAD, _NOTE = 1, 4
_EXECUTABLE = 1
_EXPORTED = 11
_WRITABLE = 2
_OBJECT = 1
_FUNCTION = 2
_INDIRECT_FUNCTION = 10
_EXTENDED_NUMBER = 0xFFF0
_PAGE_LIMIT = 1 << 16


@dataclass(frozen=True, slots=True)
class LoadedSegment:
    """A loaded segment: file offset, address in the file and length in memory, all in bytes."""

    offset: int
    address: int
    length: int
    executable: bool
    writable: bool = False


@dataclass(frozen=True, slots=True)
class ElfFile:
    """A file's loaded segments, in order of address, and its build id in hexadecimal.

    `identity` is what it was in the mapping that led here.
    """

    path: str
    segments: tuple[LoadedSegment, ...]
    build_id: str | None
    identity: Identity | None = None

    def open(self) -> int:
        """The file once more, for reading; its descriptor.

        Raises:
            OSError: it is no plain file any more, or another one.
        """
        return open_regular(self.path, FILE_LIMIT, self.identity)

    def shift(self, mapping: Mapping) -> int:
        """How far a mapping's addresses are from the file's own, in bytes."""
        for segment in self.segments:
            # The loader maps whole pages around a segment; two segments may share a page of the file.
            first = segment.offset - _PAGE_LIMIT < mapping.offset < segment.offset + segment.length
            if first and segment.executable == mapping.executable:
                return mapping.start - mapping.offset + segment.offset - segment.address
        return mapping.start - mapping.offset


def read_elf(path: str, identity: Identity | None = None, until: float | None = None) -> ElfFile | None:
    """Read a file's segments and build id; None when it is no readable ELF file with segments.

    Args:
        path: the file.
        identity: what it must be.
        until: seconds since 1970 after which it must not have been changed.
    """
    try:
        with open(open_regular(path, FILE_LIMIT, identity), "rb") as stream:
            if until is not None and os.fstat(stream.fileno()).st_ctime > until:
                return None
            headers = Headers(stream)
            found = list(headers.segments())
            segments = [
                LoadedSegment(
                    *(one.offset, one.address, one.memory_size),
                    executable=bool(one.flags & _EXECUTABLE),
                    writable=bool(one.flags & _WRITABLE),
                )
                for one in found
                if one.kind == _LOAD
            ]
            notes = (_build_id_in(headers, one) for one in found if one.kind == _NOTE)
            build_id = next((one for one in notes if one is not None), None)
    except (OSError, ValueError, struct.error):
        return None
    if not segments:
        return None
    return ElfFile(path, tuple(sorted(segments, key=lambda one: one.address)), build_id, identity)


def _build_id_in(headers: Headers, segment: ProgramHeader) -> str | None:
    return _build_id(headers.bytes_at(segment.offset, min(segment.file_size, _NOTES_LIMIT)))


def printable(name: str) -> str:
    """A file's or symbol's name as text that can be written anywhere, whatever bytes it has; cut when very long."""
    return name[:_NAME_LIMIT].encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def _build_id(notes: bytes) -> str | None:
    position = 0
    while position + 12 <= len(notes):
        name_size, size, kind = struct.unpack_from("<III", notes, position)
        start = position + 12 + (name_size + 3 & ~3)
        if kind == _BUILD_ID_NOTE and notes[position + 12 : position + 16] == b"GNU\0" and 0 < size <= 64:
            return notes[start : start + size].hex()
        position = start + (size + 3 & ~3)
    return None


class ExportedNames:
    """The functions and variables that a 64-bit ELF file exports: what remains of a stripped one."""

    def __init__(self, elf: ElfFile) -> None:
        self._strings = b""
        self._starts: list[int] = []
        # Names as places in the table of strings: they may overlap there, and be millions of the same.
        self._symbols: list[tuple[int, int, int]] = []
        try:
            self._read(elf)
        except (OSError, ValueError, struct.error):
            self._starts, self._symbols = [], []

    def _read(self, elf: ElfFile) -> None:
        with open(elf.open(), "rb") as stream:
            headers = Headers(stream)
            sections = list(headers.sections())
            section = next((one for one in sections if one.kind == _EXPORTED), None)
            if section is None or not headers.wide or section.size > _SYMBOLS_LIMIT or section.link >= len(sections):
                return
            names = sections[section.link]
            if names.size > _NAMES_LIMIT:
                return
            entries = headers.bytes_at(section.offset, section.size)
            self._strings = headers.bytes_at(names.offset, names.size)
        shape = struct.Struct("<IBBHQQ" if headers.little else ">IBBHQQ")
        for name, info, _, index, value, size in shape.iter_unpack(entries[: len(entries) // 24 * 24]):
            if info & 15 in (_OBJECT, _FUNCTION, _INDIRECT_FUNCTION) and 0 < index < _EXTENDED_NUMBER:
                self._symbols.append((value, size, name))
        self._symbols.sort()
        self._starts = [start for start, _, _ in self._symbols]

    def find(self, address: int) -> tuple[str, int] | None:
        """The name that holds the file's address, and how many bytes into it the address is; or None."""
        position = bisect.bisect_right(self._starts, address) - 1
        if position < 0:
            return None
        start, size, name = self._symbols[position]
        if address >= start + max(size, 1):
            return None
        end = self._strings.find(b"\0", name, name + _NAME_LIMIT)
        found = self._strings[name : end if end >= 0 else name + _NAME_LIMIT]
        return found.decode("utf-8", "replace"), address - start
