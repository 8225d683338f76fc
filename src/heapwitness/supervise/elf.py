"""What must be known of an ELF program before it is started: machine, dynamic linker, libraries, names.

Small and without imports of weight, because it runs before every program; symbols/ reads the rest.
"""

import os
import stat
import struct
from collections.abc import Mapping
from typing import BinaryIO, NamedTuple

_HEADER_LIMIT = 64
_SEGMENTS_LIMIT = 128
_SECTIONS_LIMIT = 4096
_TABLE_LIMIT = 256 << 20
"""Bytes of tables, or of constants, that are read of a file, whose sections may each be all of it."""
_PART = 4 << 20
_DYNAMIC_LIMIT = 4096
_NEEDED_LIMIT = 1024
_TEXT_LIMIT = 4096
_NAMES_LIMIT = 1 << 16

_EXEC, _DYN = 2, 3
_LOAD, _DYNAMIC, _INTERP = 1, 2, 3
_NULL, _NEEDED, _STRTAB, _STRSZ = 0, 1, 5, 10
_PROGBITS_SECTION, _SYMTAB_SECTION, _DYNSYM_SECTION = 1, 2, 11
_WRITABLE, _ALLOCATED, _RUN = 1, 2, 4
_UNDEFINED = 0
_FUNCTIONS = (2, 10)

_MACHINES = {
    3: "i386",
    8: "MIPS",
    20: "PowerPC",
    21: "PowerPC",
    22: "S/390",
    40: "ARM",
    62: "x86-64",
    183: "AArch64",
    243: "RISC-V",
    258: "LoongArch",
}


class DamagedElf(Exception):
    """The file is no ELF file, or contradicts itself."""


class BuildTarget(NamedTuple):
    """What a file was built for."""

    number: int
    bits: int
    little: bool

    def __str__(self) -> str:
        return f"{_MACHINES.get(self.number, f'machine {self.number}')} ({self.bits} bits)"


class Head(NamedTuple):
    """A file's machine, whether it can be started, its dynamic linker ("" for none) and needed libraries."""

    machine: BuildTarget
    program: bool
    interpreter: str
    needed: tuple[str, ...]


class _Words(NamedTuple):
    """The structures of one file's class and byte order."""

    header: struct.Struct
    segment: struct.Struct
    section: struct.Struct
    dynamic: struct.Struct
    symbol: struct.Struct
    wide: bool


def _words(ident: bytes) -> tuple[_Words, str]:
    if len(ident) < 16 or ident[:4] != b"\x7fELF" or ident[4] not in (1, 2) or ident[5] not in (1, 2):
        raise DamagedElf
    order = "<" if ident[5] == 1 else ">"
    if ident[4] == 2:
        shapes = ("HHIQQQIHHHHHH", "IIQQQQQQ", "IIQQQQIIQQ", "qQ", "IBBHQQ")
    else:
        shapes = ("HHIIIIIHHHHHH", "IIIIIIII", "IIIIIIIIII", "iI", "IIIBBH")
    header, segment, section, dynamic, symbol = (struct.Struct(order + shape) for shape in shapes)
    return _Words(header, segment, section, dynamic, symbol, ident[4] == 2), order


def read_head(path: str) -> Head:
    """Read what is said above.

    Raises:
        DamagedElf: no ELF file, or a damaged one.
        OSError: it cannot be read.
    """
    with _opened(path) as stream:
        start = stream.read(_HEADER_LIMIT)
        words, _ = _words(start)
        if len(start) < 16 + words.header.size:
            raise DamagedElf
        kind, number, _, _, first, _, _, _, entry, count, _, _, _ = words.header.unpack_from(start, 16)
        machine = BuildTarget(number, 64 if words.wide else 32, start[5] == 1)
        if count and entry != words.segment.size:
            raise DamagedElf
        segments = [_segment(words, one) for one in _table(stream, first, words.segment, min(count, _SEGMENTS_LIMIT))]
        interpreter = ""
        needed: tuple[str, ...] = ()
        for segment in segments:
            if segment.kind == _INTERP:
                interpreter = _text(_read(stream, segment.offset, min(segment.length, _TEXT_LIMIT)))
            elif segment.kind == _DYNAMIC:
                needed = _needed(stream, words, segments, segment)
        return Head(machine, kind in (_EXEC, _DYN) and bool(segments), interpreter, needed)


def defines(file: str | int, names: tuple[str, ...]) -> frozenset[str]:
    """Which of these functions a file defines itself, in the names that it exports or, unstripped, in all.

    Empty for what cannot be read. An open file's descriptor is closed.
    """
    try:
        with _opened(file) as stream:
            return _defined(stream, {name.encode(): name for name in names})
    except (DamagedElf, OSError, ValueError, struct.error):
        return frozenset()


def mentions(file: str | int, texts: Mapping[str, bytes]) -> frozenset[str]:
    """Of which of these texts, by their names, a file has the bytes among its constants.

    Empty for what cannot be read. An open file's descriptor is closed.
    """
    try:
        with _opened(file) as stream:
            return _mentioned(stream, texts)
    except (DamagedElf, OSError, ValueError, struct.error):
        return frozenset()


def _opened(file: str | int) -> BinaryIO:
    """Opened without waiting for anybody; what is no plain file is damaged."""
    if isinstance(file, str):
        file = os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    stream = open(file, "rb")  # noqa: SIM115
    if not stat.S_ISREG(os.fstat(file).st_mode):
        stream.close()
        raise DamagedElf
    return stream


class _Segment(NamedTuple):
    kind: int
    offset: int
    address: int
    length: int


def _segment(words: _Words, fields: tuple[int, ...]) -> _Segment:
    if words.wide:
        kind, _, offset, address, _, length = fields[:6]
    else:
        kind, offset, address, _, length = fields[:5]
    return _Segment(kind, offset, address, length)


def _read(stream: BinaryIO, offset: int, length: int) -> bytes:
    """Exactly these bytes of the file."""
    data = _read_some(stream, offset, length)
    if len(data) < length:
        raise DamagedElf
    return data


def _read_some(stream: BinaryIO, offset: int, length: int) -> bytes:
    """As many of these bytes as the file has."""
    try:
        stream.seek(offset)
        return stream.read(length)
    except (OSError, OverflowError, ValueError) as error:
        raise DamagedElf from error


def _table(stream: BinaryIO, offset: int, shape: struct.Struct, count: int) -> list[tuple[int, ...]]:
    return list(shape.iter_unpack(_read(stream, offset, shape.size * count)))


def _text(data: bytes) -> str:
    return os.fsdecode(data.split(b"\0", 1)[0])


def _needed(stream: BinaryIO, words: _Words, segments: list[_Segment], dynamic: _Segment) -> tuple[str, ...]:
    entries = _table(stream, dynamic.offset, words.dynamic, min(dynamic.length // words.dynamic.size, _DYNAMIC_LIMIT))
    tags: dict[int, int] = {}
    offsets: list[int] = []
    for tag, value in entries:
        if tag == _NULL:
            break
        if tag == _NEEDED and len(offsets) < _NEEDED_LIMIT:
            offsets.append(value)
        tags[tag] = value
    table = tags.get(_STRTAB, 0)
    for segment in segments:
        if segment.kind == _LOAD and segment.address <= table < segment.address + segment.length:
            start = table - segment.address + segment.offset
            size = min(tags.get(_STRSZ, 0), segment.address + segment.length - table, _TABLE_LIMIT)
            names = _read(stream, start, size)
            return tuple(_text(names[at : at + _TEXT_LIMIT]) for at in offsets if at < len(names))
    return ()


def _sections(stream: BinaryIO) -> tuple[_Words, list[tuple[int, ...]]]:
    start = stream.read(_HEADER_LIMIT)
    words, _ = _words(start)
    _, _, _, _, _, first, _, _, _, _, entry, count, _ = words.header.unpack_from(start, 16)
    if not count or entry != words.section.size:
        return words, []
    return words, _table(stream, first, words.section, min(count, _SECTIONS_LIMIT))


# Nothing is mapped from here on: a file may be cut short meanwhile.
def _mentioned(stream: BinaryIO, texts: Mapping[str, bytes]) -> frozenset[str]:
    _, sections = _sections(stream)
    found: set[str] = set()
    left = _TABLE_LIMIT
    for section in sections:
        if section[1] == _PROGBITS_SECTION and section[2] & (_ALLOCATED | _WRITABLE | _RUN) == _ALLOCATED:
            size = min(section[5], left)
            left -= size
            found |= _among(stream, section[4], size, texts)
    return frozenset(found)


def _among(stream: BinaryIO, offset: int, size: int, texts: Mapping[str, bytes]) -> set[str]:
    """Which texts are among bytes of the file, as many of these as there are."""
    found: set[str] = set()
    overlap = max(map(len, texts.values()))
    before, end = b"", offset + size
    while part := _read_some(stream, offset, min(end - offset, _PART)):
        data = before + part
        found |= {name for name, text in texts.items() if text in data}
        before, offset = part[-overlap:], offset + len(part)
    return found


def _defined(stream: BinaryIO, wanted: dict[bytes, str]) -> frozenset[str]:
    words, sections = _sections(stream)
    found: set[str] = set()
    left = _TABLE_LIMIT
    for section in sections:
        if section[1] not in (_SYMTAB_SECTION, _DYNSYM_SECTION) or section[6] >= len(sections):
            continue
        names = sections[section[6]]
        left -= names[5] + section[5]
        if left < 0:
            break
        at = _names_at(_read_some(stream, names[4], names[5]), wanted)
        if at:
            found |= _functions_at(_read_some(stream, section[4], section[5]), words, at)
    return frozenset(found)


def _names_at(table: bytes, wanted: dict[bytes, str]) -> dict[int, str]:
    """Where in a table of names the wanted ones stand; linkers let a name be the tail of another."""
    found: dict[int, str] = {}
    for name, text in wanted.items():
        at = table.find(name + b"\0")
        while at >= 0 and len(found) < _NAMES_LIMIT:
            found[at] = text
            at = table.find(name + b"\0", at + 1)
    return found


def _functions_at(table: bytes, words: _Words, names: dict[int, str]) -> set[str]:
    shape = words.symbol
    found: set[str] = set()
    for fields in shape.iter_unpack(table[: len(table) // shape.size * shape.size]):
        if fields[0] in names:
            info, index = (fields[1], fields[3]) if words.wide else (fields[3], fields[5])
            if index != _UNDEFINED and info & 15 in _FUNCTIONS:
                found.add(names[fields[0]])
    return found
