"""What Intel HEX and S-records have in common: lines of hexadecimal digits with a length and a checksum.

Lines are taken one at a time and their bytes joined at once: a small packed file may hold a hundred million lines.
"""

import binascii
import re
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from heapwitness.liteos.image.errors import BadImage
from heapwitness.liteos.image.model import Image, ImageFormat, Patches, Segment
from heapwitness.liteos.image.store import PART, ByteSource, SourceStretch

LINES_LIMIT = 1 << 22
"""Lines of a file."""

STRETCHES_LIMIT = 1 << 16
"""Stretches of addresses in which its bytes lie."""

LINE_LIMIT = 600
"""Bytes of one."""


class Line(NamedTuple):
    """A line without blanks and ends around it: its number, and where it begins in the file."""

    number: int
    offset: int
    text: bytes


class Record(NamedTuple):
    """A line that holds bytes of the target, and their address; `raw` is the line's bytes, checksum and all."""

    line: Line
    address: int
    data: bytes
    raw: bytes


class RecordFormat(NamedTuple):
    """One of the formats: its name, its first line, its records, and a record's line with other bytes."""

    name: ImageFormat
    first: re.Pattern[bytes]
    records: Callable[[ByteSource], Iterator[Record]]
    line: Callable[[Record, bytes], bytes]

    def begins(self, data: ByteSource) -> bool:
        """Whether a file begins as one of this format does."""
        return bool(self.first.match(data[:LINE_LIMIT]))

    def parse(self, data: ByteSource) -> Image:
        """Read a whole file.

        Raises:
            BadImage: a line is broken, the end is missing, there are too many lines, or two give the same address.
        """

        def rewrite(patches: Patches) -> bytes:
            return rewritten(data, self.records(data), patches, self.line)

        return Image(self.name, joined(chunks(self.records(data))), rewrite)


def is_text(data: ByteSource) -> bool:
    """Whether a file may be one of lines of hexadecimal digits."""
    if data[:1] not in (b":", b"S"):
        return False
    return all(data[at : at + PART].isascii() for at in range(0, len(data), PART))


def lines(data: ByteSource) -> Iterator[Line]:
    """The lines that are not blank.

    Raises:
        BadImage: a line is too long, or there are too many.
    """
    end = b"\n" if b"\n" in data[: 2 * LINE_LIMIT] else b"\r"
    for number, (offset, line) in enumerate(_split(data, end), 1):
        if len(line) > LINE_LIMIT:
            raise BadImage(f"line {number} is broken: it is too long. Copy the dump again.")
        if number > LINES_LIMIT:
            raise BadImage(f"it has more than {LINES_LIMIT:,} lines: give the part of it that matters.")
        text = line.strip()
        if text:
            yield Line(number, offset if line[:1] == text[:1] else offset + line.index(text), text)


def _split(data: ByteSource, end: bytes) -> Iterator[tuple[int, bytes]]:
    """Lines and where they begin, read in parts; one that is longer than a line can be ends it."""
    rest = b""
    for at in range(0, len(data), PART):
        part, offset, start = rest + data[at : at + PART], at - len(rest), 0
        while (stop := part.find(end, start)) >= 0:
            yield offset + start, part[start:stop]
            start = stop + 1
        rest = part[start:]
        if len(rest) > LINE_LIMIT:
            yield offset + start, rest
            return
    if rest:
        yield len(data) - len(rest), rest


def unhex(digits: bytes, line: int) -> bytes:
    """The bytes of a line's digits."""
    try:
        return binascii.unhexlify(digits)
    except ValueError as error:
        raise BadImage(f"line {line} is broken: it is not all hexadecimal digits. Copy the dump again.") from error


def chunks(records: Iterable[Record]) -> list[tuple[int, bytearray]]:
    """Addresses and bytes of records, those that follow each other joined.

    Raises:
        BadImage: they lie all over the place.
    """
    found: list[tuple[int, bytearray]] = []
    end = -1
    for record in records:
        if not record.data:
            continue
        if found and record.address == end:
            found[-1][1].extend(record.data)
        elif len(found) == STRETCHES_LIMIT:
            raise BadImage(f"its bytes lie in more than {STRETCHES_LIMIT:,} places: give the part that matters.")
        else:
            found.append((record.address, bytearray(record.data)))
        end = record.address + len(record.data)
    return found


def rewritten(
    data: ByteSource, records: Iterable[Record], patches: Patches, line: Callable[[Record, bytes], bytes]
) -> bytes:
    """A file with bytes of the target changed; `line` makes a record's line with other bytes."""
    patcher = _Patcher(patches)
    out: list[bytes] = []
    done = 0
    for record in records:
        new = patcher.data(record)
        if new is not None:
            out += [data[done : record.line.offset], line(record, new)]
            done = record.line.offset + len(record.line.text)
    out.append(data[done:])
    return b"".join(out)


def cased(digits: str, like: bytes) -> bytes:
    """Digits in lower or upper case, as a line has them."""
    return (digits if any(letter in like for letter in b"abcdef") else digits.upper()).encode("ascii")


class _Patcher:
    """Bytes to be changed, asked record by record."""

    def __init__(self, patches: Patches) -> None:
        self._bytes = {address + at: byte for address, new in patches for at, byte in enumerate(new)}

    def data(self, record: Record) -> bytes | None:
        """A record's bytes after the change; None where nothing in it changes."""
        span = range(record.address, record.address + len(record.data))
        if not any(address in self._bytes for address in span):
            return None
        return bytes(self._bytes.get(address, old) for address, old in zip(span, record.data, strict=True))


def joined(chunks: Iterable[tuple[int, bytes | bytearray]]) -> tuple[Segment, ...]:
    """Segments of chunks of bytes, neighbours joined.

    Raises:
        BadImage: two chunks overlap.
    """
    groups: list[tuple[int, list[bytes | bytearray]]] = []
    end = -1
    for address, data in sorted(chunks, key=lambda chunk: chunk[0]):
        if not data:
            continue
        if groups and address < end:
            raise BadImage(f"The image has bytes for {address:#x} twice, so it cannot be told which ones were there.")
        if groups and address == end:
            groups[-1][1].append(data)
        else:
            groups.append((address, [data]))
        end = address + len(data)
    return tuple(Segment(address, SourceStretch(b"".join(parts))) for address, parts in groups)
