"""Intel HEX: ":" length address type data checksum, with types for the upper half of the address."""

import re
from collections.abc import Iterator

from heapwitness.liteos.image.hexadecimal import Patcher, Record, chunks, joined, unhex
from heapwitness.liteos.image.model import BadImage, Image, Patches

_DATA, _END, _SEGMENT, _SEGMENT_START, _LINEAR, _LINEAR_START = range(6)
_FIRST = re.compile(r":[0-9A-Fa-f]{10,522}\s")


def is_first_line(text: str) -> bool:
    """Whether a text begins as such a file does."""
    return bool(_FIRST.match(text))


def parse(text: str) -> Image:
    """Read a whole file.

    Raises:
        BadImage: a line is broken, the end is missing, or two lines give the same address.
    """
    lines = text.splitlines(keepends=True)
    records = list(_records(lines))

    def rewrite(patches: Patches) -> bytes:
        patcher = Patcher(patches)
        out = list(lines)
        for record in records:
            data = patcher.data(record)
            if data is not None:
                line = lines[record.line - 1]
                raw = bytearray.fromhex(line[1:].strip())
                raw[4:-1] = data
                raw[-1] = -sum(raw[:-1]) & 0xFF
                ending = line[len(line.rstrip("\r\n")) :]
                out[record.line - 1] = f":{_cased(raw.hex(), line)}{ending}"
        return "".join(out).encode("ascii")

    return Image("intel-hex", joined(chunks(records)), rewrite)


def _cased(digits: str, like: str) -> str:
    return digits if any(letter in like for letter in "abcdef") else digits.upper()


def _records(lines: list[str]) -> Iterator[Record]:
    upper = 0
    for number, line in enumerate(lines, 1):
        line = line.strip()
        if not line:
            continue
        if not line.startswith(":"):
            raise BadImage(f"line {number} is broken: it does not begin with a colon. Copy the dump again.")
        raw = unhex(line[1:], number)
        if len(raw) < 5 or len(raw) != raw[0] + 5:
            raise BadImage(f"line {number} is cut short: its length does not fit. Copy the dump again.")
        if sum(raw) & 0xFF:
            raise BadImage(f"line {number} is damaged: its checksum does not fit. Copy the dump again.")
        kind, data = raw[3], raw[4:-1]
        if kind == _DATA:
            yield Record(number, upper + int.from_bytes(raw[1:3], "big"), data, 9)
        elif kind == _END:
            return
        elif kind in (_SEGMENT, _LINEAR) and len(data) == 2:
            upper = int.from_bytes(data, "big") << (4 if kind == _SEGMENT else 16)
        elif kind not in (_SEGMENT_START, _LINEAR_START):
            raise BadImage(f"line {number} has a record of type {kind}, which Intel HEX does not know.")
    raise BadImage("the end record is missing: the dump is cut short. Copy it again.")
