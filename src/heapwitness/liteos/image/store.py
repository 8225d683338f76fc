"""Where a dump's bytes are held while they are looked at: small ones in memory, large ones in a file of our own.

The user's file is never mapped: when it is cut short meanwhile (a debugger that writes it anew), touching
the map would end the process by SIGBUS. It is copied in parts instead, into a temporary file without a
name that nobody else can change; that one is mapped, and its zero pages take no room.
"""

import mmap
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from typing import IO, TYPE_CHECKING, Final

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

Held = bytes | mmap.mmap
"""Bytes that can be sliced, searched and unpacked alike."""

IN_MEMORY: Final = 32 << 20
"""More bytes than this are held in a file."""

PART: Final = 1 << 20
PARTS_KEPT: Final = 16
"""After so many parts the pages of what was read are let go."""

_BEYOND = 64
_ZEROS = bytes(PART + _BEYOND)


def hold(parts: Callable[[], Iterable[bytes]]) -> Held:
    """The bytes of all parts, one behind the other.

    Args:
        parts: gives the parts, of any size; called once more where there is no room for a file, and the
            bytes are held in memory then. What it raises is passed on.
    """
    kept: list[bytes] = []
    size = 0
    coming = iter(parts())
    for part in coming:
        kept.append(part)
        size += len(part)
        if size > IN_MEMORY:
            try:
                return _in_a_file(chain(kept, coming))
            except _NoRoom:
                return b"".join(parts())
    return b"".join(kept)


def held(data: "ReadableBuffer") -> Held:
    """Bytes that nobody changes: these where they are such, else a copy."""
    return data if isinstance(data, Held) else bytes(data)


def cut(data: memoryview, start: int, stop: int) -> Held:
    """The bytes from `start` to `stop`, as `hold` holds them."""
    stop = min(stop, len(data))
    if stop - start <= IN_MEMORY:
        return bytes(data[start:stop])
    return hold(lambda: parts_of(data[start:stop]))


def parts_of(data: memoryview, beyond: int = 0) -> Iterator[bytes]:
    """The bytes in parts of PART, each with `beyond` bytes of the next one; a file's pages are let go behind them."""
    for at in range(0, len(data), PART):
        yield bytes(data[at : at + PART + beyond])
        if at % (PARTS_KEPT * PART) == 0:
            let_go(data)
    let_go(data)


def let_go(data: Held | memoryview) -> None:
    """Take the pages of bytes that a file holds out of this process's resident memory, until they are read again."""
    holder = data.obj if isinstance(data, memoryview) else data
    if isinstance(holder, mmap.mmap):
        holder.madvise(mmap.MADV_DONTNEED)


def is_zero(part: bytes) -> bool:
    """Whether bytes, not much more than PART, are all zero."""
    return part == _ZEROS[: len(part)]


class _NoRoom(Exception):
    """A temporary file cannot be made, written or mapped."""


def _in_a_file(parts: Iterable[bytes]) -> mmap.mmap:
    with _temporary() as file:
        size = 0
        for part in parts:
            for at in range(0, len(part), PART):
                piece = part[at : at + PART]
                if not is_zero(piece):
                    _write(file.fileno(), memoryview(piece), size)
                size += len(piece)
        try:
            file.truncate(size)
            # The map keeps the file.
            return mmap.mmap(file.fileno(), size, access=mmap.ACCESS_READ)
        except (OSError, ValueError) as error:
            raise _NoRoom from error


def _temporary() -> IO[bytes]:
    try:
        return tempfile.TemporaryFile(buffering=0)
    except OSError as error:
        raise _NoRoom from error


def _write(number: int, piece: memoryview, at: int) -> None:
    try:
        while piece:
            written = os.pwrite(number, piece, at)
            piece, at = piece[written:], at + written
    except OSError as error:
        raise _NoRoom from error
