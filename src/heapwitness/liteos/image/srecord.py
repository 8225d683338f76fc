"""Motorola S-records: "S" type, length, address of 2 to 4 bytes, data, checksum."""

import re
from collections.abc import Iterator

from heapwitness.liteos.image.hexadecimal import Patcher, Record, chunks, joined, unhex
from heapwitness.liteos.image.model import BadImage, Image, Patches

_ADDRESS_BYTES = {"1": 2, "2": 3, "3": 4}
_FIRST = re.compile(r"S[0-9][0-9A-Fa-f]{6,512}\s")


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
                raw = bytearray.fromhex(line[2:].strip())
                raw[record.column : -1] = data
                raw[-1] = ~sum(raw[:-1]) & 0xFF
                digits = raw.hex()
                ending = line[len(line.rstrip("\r\n")) :]
                cased = digits if any(letter in line for letter in "abcdef") else digits.upper()
                out[record.line - 1] = f"{line.lstrip()[:2]}{cased}{ending}"
        return "".join(out).encode("ascii")

    return Image("s-record", joined(chunks(records)), rewrite)


def _records(lines: list[str]) -> Iterator[Record]:
    for number, line in enumerate(lines, 1):
        line = line.strip()
        if not line:
            continue
        kind = line[1:2]
        if not line.startswith("S") or not kind.isdigit():
            raise BadImage(f"line {number} is broken: it is no S-record. Copy the dump again.")
        raw = unhex(line[2:], number)
        if len(raw) < 3 or len(raw) != raw[0] + 1:
            raise BadImage(f"line {number} is cut short: its length does not fit. Copy the dump again.")
        if sum(raw) & 0xFF != 0xFF:
            raise BadImage(f"line {number} is damaged: its checksum does not fit. Copy the dump again.")
        if kind in _ADDRESS_BYTES:
            size = _ADDRESS_BYTES[kind]
            if len(raw) < size + 2:
                raise BadImage(f"line {number} is cut short: it has no whole address. Copy the dump again.")
            yield Record(number, int.from_bytes(raw[1 : 1 + size], "big"), raw[1 + size : -1], 1 + size)
        elif kind in "789":
            return
    raise BadImage("the end record is missing: the dump is cut short. Copy it again.")
