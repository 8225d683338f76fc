"""What is needed of an ELF file without its debugging information: segments, build id, exported names."""

import bisect
import struct
from dataclasses import dataclass
from pathlib import Path

from elftools.elf.elffile import ELFFile

# A forged or broken file must not make us read it whole.
_SEGMENTS_LIMIT = 128
_NOTES_LIMIT = 1 << 16
_SYMBOLS_LIMIT = 64 << 20
_BUILD_ID_NOTE = 3
_EXECUTABLE = 1
_WRITABLE = 2
_OBJECT = 1
_FUNCTION = 2
_INDIRECT_FUNCTION = 10
_EXTENDED_NUMBER = 0xFFF0


@dataclass(frozen=True, slots=True)
class Segment:
    """A loaded segment: file offset, address in the file and length in memory, all in bytes."""

    offset: int
    address: int
    length: int
    executable: bool
    writable: bool = False


@dataclass(frozen=True, slots=True)
class ElfFile:
    """A file's loaded segments, in order of address, and its build id in hexadecimal."""

    path: str
    segments: tuple[Segment, ...]
    build_id: str | None


def read_elf(path: str) -> ElfFile | None:
    """Read a file's segments and build id; None when it is no readable ELF file with segments."""
    try:
        # Only a regular file: opening a named pipe would wait for ever.
        if not Path(path).is_file():
            return None
        with open(path, "rb") as stream:
            elf = ELFFile(stream)
            segments: list[Segment] = []
            build_id: str | None = None
            for number in range(min(elf.num_segments(), _SEGMENTS_LIMIT)):
                segment = elf.get_segment(number)
                if segment["p_type"] == "PT_LOAD":
                    header = segment.header
                    executable, writable = bool(header.p_flags & _EXECUTABLE), bool(header.p_flags & _WRITABLE)
                    segments.append(Segment(header.p_offset, header.p_vaddr, header.p_memsz, executable, writable))
                elif segment["p_type"] == "PT_NOTE" and build_id is None:
                    stream.seek(segment["p_offset"])
                    build_id = _build_id(stream.read(min(segment["p_filesz"], _NOTES_LIMIT)))
    except Exception:  # pyelftools raises what its parser happens to raise on a broken file
        return None
    if not segments:
        return None
    return ElfFile(path, tuple(sorted(segments, key=lambda one: one.address)), build_id)


def printable(name: str) -> str:
    """A file's or symbol's name as text that can be written anywhere, whatever bytes it has."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


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

    def __init__(self, path: str) -> None:
        self._symbols: list[tuple[int, int, bytes]] = []
        try:
            self._read(path)
        except Exception:  # as above
            self._symbols = []
        self._symbols.sort()
        self._starts = [start for start, _, _ in self._symbols]

    def _read(self, path: str) -> None:
        with open(path, "rb") as stream:
            elf = ELFFile(stream)
            section = elf.get_section_by_name(".dynsym")
            if section is None or elf.elfclass != 64 or section["sh_size"] > _SYMBOLS_LIMIT:
                return
            names = elf.get_section(section["sh_link"])
            if names["sh_size"] > _SYMBOLS_LIMIT:
                return
            stream.seek(section["sh_offset"])
            entries = stream.read(section["sh_size"] // 24 * 24)
            stream.seek(names["sh_offset"])
            strings = stream.read(names["sh_size"])
        for name, info, _, index, value, size in struct.iter_unpack("<IBBHQQ", entries[: len(entries) // 24 * 24]):
            if info & 15 in (_OBJECT, _FUNCTION, _INDIRECT_FUNCTION) and 0 < index < _EXTENDED_NUMBER:
                self._symbols.append((value, size, strings[name : strings.find(b"\0", name)]))

    def find(self, address: int) -> tuple[str, int] | None:
        """The name that holds the file's address, and how many bytes into it the address is; or None."""
        position = bisect.bisect_right(self._starts, address) - 1
        if position < 0:
            return None
        start, size, name = self._symbols[position]
        return (name.decode("utf-8", "replace"), address - start) if address < start + max(size, 1) else None
