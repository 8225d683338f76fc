"""Where the debugging information of a file lies when it is in another file.

The file itself says where (`.gnu_debuglink`, `.gnu_debugaltlink`), and may be made to say anything: what it names is
opened by the rules of `regular`, or not at all.
"""

import os
import struct
import zlib
from collections.abc import Iterator

from heapwitness.regular import open_regular
from heapwitness.symbols.elf import FILE_LIMIT, ElfFile
from heapwitness.symbols.headers import SECTIONS_LIMIT, Headers

DIRECTORY = "/usr/lib/debug"

UNPACKED_FREELY = 256 << 20
"""Bytes of a file's compressed sections, unpacked: of a large file more, but no more than debugging information is."""

_UNPACKED_TIMES = 16

_LINK = b".gnu_debuglink"
_LINK_LIMIT = 4096
_CHUNK = 1 << 20


def debug_files(elf: ElfFile) -> Iterator[tuple[str, int, bool]]:
    """Files that may hold the debugging information of a file: path, open descriptor, and whether it surely does.

    Who gets a descriptor closes it.
    """
    if elf.build_id:
        path = by_build_id(elf.build_id)
        file = _opened(path)
        if file is not None:
            yield path, file, False
    link = _link(elf)
    if link is None:
        return
    name, checksum = link
    directory = os.path.dirname(os.path.realpath(elf.path))
    for path in (
        os.path.join(directory, name),
        os.path.join(directory, ".debug", name),
        f"{DIRECTORY}{directory}/{name}",
    ):
        file = _opened(path)
        if file is None:
            continue
        if _checksum(file) == checksum:
            yield path, file, True
        else:
            os.close(file)


def supplementary_files(path: str, named: str, checksum: bytes) -> Iterator[tuple[str, int]]:
    """Files that may hold what several debug files share: path and open descriptor, to be closed by who gets it.

    Args:
        path: of the file that wants it.
        named: how that one calls it.
        checksum: its build id.
    """
    for one in (os.path.join(os.path.dirname(os.path.realpath(path)), named), by_build_id(checksum.hex())):
        file = _opened(one)
        if file is not None:
            yield one, file


def by_build_id(build_id: str) -> str:
    """Where a debug file lies by its build id, in hexadecimal."""
    return f"{DIRECTORY}/.build-id/{build_id[:2]}/{build_id[2:]}.debug"


def is_readable(file: int) -> bool:
    """Whether an open file is an ELF file that a reader can be given that believes what it says of its sections: their
    number, and what they are unpacked.
    """
    try:
        with open(os.dup(file), "rb") as stream:
            headers = Headers(stream)
            most = max(UNPACKED_FREELY, _UNPACKED_TIMES * os.fstat(file).st_size)
            return headers.count_sections() <= SECTIONS_LIMIT and headers.unpacked() <= most
    except (OSError, ValueError, struct.error):
        return False


def _opened(path: str) -> int | None:
    try:
        file = open_regular(path, FILE_LIMIT)
    except OSError:
        return None
    if is_readable(file):
        return file
    os.close(file)
    return None


def _link(elf: ElfFile) -> tuple[str, int] | None:
    """The name that a file gives its debug file, and that one's checksum."""
    try:
        with open(elf.open(), "rb") as stream:
            headers = Headers(stream)
            section = headers.named(_LINK).get(_LINK)
            if section is None:
                return None
            data = headers.bytes_at(section.offset, min(section.size, _LINK_LIMIT))
            order = "<I" if headers.little else ">I"
    except (OSError, ValueError, struct.error):
        return None
    end = data.find(b"\0")
    at = (end + 4) & ~3
    # A name, and no path: it stands beside the file.
    if end <= 0 or b"/" in data[:end] or at + 4 > len(data):
        return None
    return os.fsdecode(data[:end]), int(struct.unpack_from(order, data, at)[0])


def _checksum(file: int) -> int:
    found, at = 0, 0
    while part := os.pread(file, _CHUNK, at):
        found = zlib.crc32(part, found)
        at += len(part)
    return found
