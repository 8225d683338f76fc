"""Motorola S-records: "S" type, length, address of 2 to 4 bytes, data, checksum."""

import re
from collections.abc import Iterator

from heapwitness.liteos.image.errors import BadImage
from heapwitness.liteos.image.hexadecimal import Record, RecordFormat, cased, lines, unhex
from heapwitness.liteos.image.store import ByteSource

_ADDRESS_BYTES = {b"1": 2, b"2": 3, b"3": 4}
_FIRST = re.compile(rb"S[0-9][0-9A-Fa-f]{6,512}\s")


def _line(record: Record, new: bytes) -> bytes:
    raw = bytearray(record.raw)
    raw[-1 - len(new) : -1] = new
    raw[-1] = ~sum(raw[:-1]) & 0xFF
    return record.line.text[:2] + cased(raw.hex(), record.line.text)


def _records(data: ByteSource) -> Iterator[Record]:
    for line in lines(data):
        number, kind = line.number, line.text[1:2]
        if not line.text.startswith(b"S") or not kind.isdigit():
            raise BadImage(f"line {number} is broken: it is no S-record. Copy the dump again.")
        raw = unhex(line.text[2:], number)
        if len(raw) < 3 or len(raw) != raw[0] + 1:
            raise BadImage(f"line {number} is cut short: its length does not fit. Copy the dump again.")
        if sum(raw) & 0xFF != 0xFF:
            raise BadImage(f"line {number} is damaged: its checksum does not fit. Copy the dump again.")
        if kind in _ADDRESS_BYTES:
            size = _ADDRESS_BYTES[kind]
            if len(raw) < size + 2:
                raise BadImage(f"line {number} is cut short: it has no whole address. Copy the dump again.")
            yield Record(line, int.from_bytes(raw[1 : 1 + size], "big"), raw[1 + size : -1], raw)
        elif kind in b"789":
            return
    raise BadImage("the end record is missing: the dump is cut short. Copy it again.")


S_RECORD = RecordFormat("s-record", _FIRST, _records, _line)
