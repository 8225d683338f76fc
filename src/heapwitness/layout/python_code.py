"""What an engine keeps of Python's code objects, and which line an instruction is of (docs/format.md, "Python").

It comes from the target's memory: lengths are bounded, and what makes no sense is not there.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass

CODE_WORDS = struct.Struct("<IBBBBHHI")
CODE_LIMIT = 128 << 10
"""Bytes of one record."""

_CODECS = {1: "latin-1", 2: "utf-16-le", 4: "utf-32-le"}
_NO_LOCATION, _LONG, _NO_COLUMN, _ONE_LINE = 15, 14, 13, 10


@dataclass(frozen=True, slots=True)
class PythonCode:
    """A code object: its file and qualified name as Python has them, and `lines`, its table of locations."""

    file: str
    function: str
    first_line: int
    lines: bytes

    def line(self, before: int) -> int | None:
        """The line of the instruction that has so many (of 2 bytes) before it; None for none."""
        for end, line in _locations(self.lines, self.first_line):
            if before < end:
                return line
        return None


def parse_code(data: bytes) -> PythonCode | None:
    """A record's words; None when they contradict themselves."""
    if len(data) < CODE_WORDS.size:
        return None
    first, _, file_kind, name_kind, _, file, name, lines = CODE_WORDS.unpack_from(data)
    at = CODE_WORDS.size
    if at + file + name + lines > len(data) or not {file_kind, name_kind} <= _CODECS.keys() or first >> 31:
        return None
    return PythonCode(
        file=data[at : at + file].decode(_CODECS[file_kind], "replace"),
        function=data[at + file : at + file + name].decode(_CODECS[name_kind], "replace"),
        first_line=first,
        lines=data[at + file + name : at + file + name + lines],
    )


def _locations(table: bytes, line: int) -> Iterator[tuple[int, int | None]]:
    """Where each run of instructions ends, and its line, from CPython's table of locations (3.11 and later)."""
    at = end = 0
    while at < len(table) and table[at] & 0x80:
        kind, length = table[at] >> 3 & 15, (table[at] & 7) + 1
        at += 1
        if kind in (_LONG, _NO_COLUMN):
            line += _signed(table, at)
        elif _ONE_LINE <= kind < _NO_COLUMN:
            line += kind - _ONE_LINE
        # Each entry begins with a byte whose highest bit is set; no other byte has it.
        while at < len(table) and not table[at] & 0x80:
            at += 1
        end += length
        yield end, line if kind != _NO_LOCATION and line > 0 else None


def _signed(table: bytes, at: int) -> int:
    """A number of 6 bits a byte, the sign in its lowest bit."""
    number = shift = 0
    while at < len(table) and not table[at] & 0x80 and shift < 36:
        number |= (table[at] & 63) << shift
        shift += 6
        at += 1
        if not table[at - 1] & 64:
            break
    return -(number >> 1) if number & 1 else number >> 1
