"""What a firmware's ELF file must be like before a reader that believes its numbers is given it."""

import struct
from typing import BinaryIO

from heapwitness.errors import HeapwitnessError
from heapwitness.symbols.headers import SECTIONS_LIMIT, BadElf, Headers

NAME_LIMIT = 64 << 10
"""Bytes of one name in a table of names."""

UNPACKED_LIMIT = 256 << 20
"""Bytes of all compressed sections, unpacked."""

_TABLE_OF_NAMES = 3
_PART = 1 << 20


def check(stream: BinaryIO, path: object) -> None:
    """Refuse a file whose reading would take the time or memory of many.

    Raises:
        HeapwitnessError: it has too many sections, names that do not end, or sections that unpack to too much.
        ValueError: it is no ELF file.
    """
    headers = Headers(stream)
    if headers.count_sections() > SECTIONS_LIMIT:
        raise HeapwitnessError(f"{path} says that it has more sections than any firmware: give the linked firmware.")
    try:
        tables = [section for section in headers.sections() if section.kind == _TABLE_OF_NAMES]
        unpacked = headers.unpacked()
    except struct.error as error:
        raise BadElf from error
    if unpacked > UNPACKED_LIMIT:
        raise HeapwitnessError(
            f"{path} has sections that unpack to more than {UNPACKED_LIMIT >> 20} MiB: give the linked firmware, "
            "its debug information not compressed."
        )
    for table in tables:
        if not _has_short_names(headers, table.offset, table.size):
            raise HeapwitnessError(f"{path} has names of more than {NAME_LIMIT:,} bytes: give the linked firmware.")


def _has_short_names(headers: Headers, offset: int, size: int) -> bool:
    since_end = 0
    for at in range(0, size, _PART):
        part = headers.bytes_at(offset + at, min(_PART, size - at))
        place = -since_end - 1
        while len(part) - place > NAME_LIMIT:
            # The last end within reach: so a part takes a few looks, however many names it has.
            end = part.rfind(b"\0", max(place + 1, 0), place + 1 + NAME_LIMIT)
            if end < 0:
                return False
            place = end
        since_end = len(part) - 1 - place
        if len(part) < min(_PART, size - at):
            return True
    return True
