"""Where a dump's bytes are while they are looked at: small ones in memory, a large file's in the file.

A large file is not mapped: when it is cut short meanwhile (a debugger that writes it anew), touching the map
would end the process by SIGBUS. It is read in parts, and a part that is no longer there is an error in a
sentence. What has no file of its own and is large (an unpacked dump, a large pool) is held in a temporary
file without a name, which nobody else can change; that one is mapped, and its zero pages take no room.
"""

import mmap
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import IO, TYPE_CHECKING, Final

from heapwitness.liteos.image.errors import BadImage

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

Held = bytes | mmap.mmap
"""Bytes that can be sliced, searched and unpacked alike."""

IN_MEMORY: Final = 32 << 20
"""More bytes than this are not held in memory."""

PART: Final = 1 << 20
PARTS_KEPT: Final = 16
"""After so many parts the pages of what was read are let go."""

_BEYOND = 64
_ZEROS = bytes(PART + _BEYOND)


class File:
    """A regular file's bytes, read where they are asked for; slices are bytes.

    Raises:
        OSError: it cannot be opened.
        BadImage: on a slice, when the file has become shorter since.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._number = -1
        self._number = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self._size = os.fstat(self._number).st_size

    def __del__(self) -> None:
        if self._number >= 0:
            os.close(self._number)

    def __len__(self) -> int:
        return self._size

    def __getitem__(self, place: slice) -> bytes:
        start, stop, _ = place.indices(self._size)
        parts: list[bytes] = []
        while start < stop:
            try:
                part = os.pread(self._number, stop - start, start)
            except OSError as error:
                raise BadImage(f"{self._path} cannot be read: {error.strerror}.") from error
            if not part:
                raise BadImage(f"{self._path} became shorter while it was read: give it when it is complete.")
            parts.append(part)
            start += len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)


ByteSource = Held | File


class SourceStretch:
    """Bytes of a source from one place to another, none copied; slices are bytes, `part` is a smaller stretch."""

    __slots__ = ("_source", "_start", "_stop")

    def __init__(self, source: ByteSource, start: int = 0, stop: int | None = None) -> None:
        self._source = source
        self._stop = len(source) if stop is None else min(stop, len(source))
        self._start = min(start, self._stop)

    def __len__(self) -> int:
        return self._stop - self._start

    def __getitem__(self, place: slice) -> bytes:
        start, stop, _ = place.indices(self._stop - self._start)
        return self._source[self._start + start : self._start + max(start, stop)]

    def __bytes__(self) -> bytes:
        return self[:]

    def part(self, start: int, stop: int | None = None) -> "SourceStretch":
        """The stretch from one offset to another, or to the end."""
        return SourceStretch(self._source, self._start + start, self._stop if stop is None else self._start + stop)

    def parts(self, beyond: int = 0) -> Iterator[bytes]:
        """The bytes in parts of PART, each with `beyond` bytes of the next one; what was read is let go behind them."""
        for number, at in enumerate(range(0, len(self), PART)):
            yield self[at : at + PART + beyond]
            if number % PARTS_KEPT == 0:
                let_go(self._source)
        let_go(self._source)


def stretch(data: "SourceStretch | ReadableBuffer") -> SourceStretch:
    """All of some bytes; those of a buffer that can change are copied."""
    return data if isinstance(data, SourceStretch) else SourceStretch(held(data))


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


def cut(data: SourceStretch, start: int, stop: int) -> Held:
    """The bytes from `start` to `stop`, as `hold` holds them."""
    part = data.part(start, stop)
    return part[:] if len(part) <= IN_MEMORY else hold(part.parts)


def let_go(data: ByteSource) -> None:
    """Take the pages of bytes that a file holds out of this process's resident memory, until they are read again."""
    if isinstance(data, mmap.mmap):
        data.madvise(mmap.MADV_DONTNEED)


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
