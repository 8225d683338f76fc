"""What Intel HEX and S-records have in common: lines of hexadecimal digits with a length and a checksum."""

import binascii
from collections.abc import Iterable

import msgspec

from heapwitness.liteos.image.model import BadImage, Patches, Segment
from heapwitness.liteos.image.store import Source, Stretch

_LONGEST_LINE = 525


class Record(msgspec.Struct, frozen=True):
    """A line that holds bytes of the target: its number in the file, their address, where they are in the line."""

    line: int
    address: int
    data: bytes
    column: int


def text_of(data: Source) -> str | None:
    """The text of a file that may be one of lines of hexadecimal digits; None when it cannot be."""
    # A large raw image that begins like such a file is not copied to learn that it is none.
    if data[:1] not in (b":", b"S") or not data[:_LONGEST_LINE].isascii():
        return None
    try:
        return data[:].decode("ascii")
    except UnicodeDecodeError:
        return None


def unhex(digits: str, line: int) -> bytes:
    """The bytes of a line's digits."""
    try:
        return binascii.unhexlify(digits)
    except ValueError as error:
        raise BadImage(f"line {line} is broken: it is not all hexadecimal digits. Copy the dump again.") from error


def chunks(records: Iterable[Record]) -> list[tuple[int, bytes]]:
    """Addresses and bytes of records, those that follow each other joined."""
    found: list[tuple[int, list[bytes]]] = []
    end = -1
    for record in records:
        if found and record.address == end:
            found[-1][1].append(record.data)
        else:
            found.append((record.address, [record.data]))
        end = record.address + len(record.data)
    return [(address, b"".join(parts)) for address, parts in found]


class Patcher:
    """Bytes to be changed, asked record by record."""

    def __init__(self, patches: Patches) -> None:
        self._bytes = {address + at: byte for address, new in patches for at, byte in enumerate(new)}

    def data(self, record: Record) -> bytes | None:
        """A record's bytes after the change; None where nothing in it changes."""
        span = range(record.address, record.address + len(record.data))
        if not any(address in self._bytes for address in span):
            return None
        return bytes(self._bytes.get(address, old) for address, old in zip(span, record.data, strict=True))


def joined(chunks: Iterable[tuple[int, bytes]]) -> tuple[Segment, ...]:
    """Segments of chunks of bytes, neighbours joined.

    Raises:
        BadImage: two chunks overlap.
    """
    groups: list[tuple[int, list[bytes]]] = []
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
    return tuple(Segment(address, Stretch(b"".join(parts))) for address, parts in groups)
