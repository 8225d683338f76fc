"""Intel HEX: ":" length address type data checksum, with types for the upper half of the address."""

import re
from collections.abc import Iterator

from heapwitness.liteos.image.errors import BadImage
from heapwitness.liteos.image.hexadecimal import Record, RecordFormat, cased, lines, unhex
from heapwitness.liteos.image.store import ByteSource

_DATA, _END, _SEGMENT, _SEGMENT_START, _LINEAR, _LINEAR_START = range(6)
_FIRST = re.compile(rb":[0-9A-Fa-f]{10,522}\s")


def _line(record: Record, new: bytes) -> bytes:
    raw = bytearray(record.raw)
    raw[4:-1] = new
    raw[-1] = -sum(raw[:-1]) & 0xFF
    return b":" + cased(raw.hex(), record.line.text)


def _records(data: ByteSource) -> Iterator[Record]:
    upper = 0
    for line in lines(data):
        number = line.number
        if not line.text.startswith(b":"):
            raise BadImage(f"line {number} is broken: it does not begin with a colon. Copy the dump again.")
        raw = unhex(line.text[1:], number)
        if len(raw) < 5 or len(raw) != raw[0] + 5:
            raise BadImage(f"line {number} is cut short: its length does not fit. Copy the dump again.")
        if sum(raw) & 0xFF:
            raise BadImage(f"line {number} is damaged: its checksum does not fit. Copy the dump again.")
        kind, found = raw[3], raw[4:-1]
        if kind == _DATA:
            yield Record(line, upper + int.from_bytes(raw[1:3], "big"), found, raw)
        elif kind == _END:
            return
        elif kind in (_SEGMENT, _LINEAR) and len(found) == 2:
            upper = int.from_bytes(found, "big") << (4 if kind == _SEGMENT else 16)
        elif kind not in (_SEGMENT_START, _LINEAR_START):
            raise BadImage(f"line {number} has a record of type {kind}, which Intel HEX does not know.")
    raise BadImage("the end record is missing: the dump is cut short. Copy it again.")


INTEL_HEX = RecordFormat("intel-hex", _FIRST, _records, _line)
