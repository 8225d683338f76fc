"""Files from outside, read and unpacked within bounds."""

import gzip
import stat
import zlib
from collections.abc import Callable, Iterator
from os import PathLike
from pathlib import Path
from typing import BinaryIO, cast

from heapwitness.liteos.image import store
from heapwitness.liteos.image.errors import BadImage
from heapwitness.liteos.image.store import ByteSource, File, Held
from heapwitness.named import reading

_GZIP = b"\x1f\x8b"


def read(path: str | PathLike[str], limit: int) -> ByteSource:
    """A file's bytes, those of a large one where they are.

    Raises:
        BadImage: it cannot be read or has more than `limit` bytes.
    """

    def too_large() -> BadImage:
        return BadImage(f"{path} is larger than {limit >> 20} MiB: give the part of it that matters.")

    def parts() -> Iterator[bytes]:
        with reading(path) as file:
            yield from _bounded(file, limit, too_large)

    try:
        status = Path(path).stat()
        if stat.S_ISREG(status.st_mode) and status.st_size > store.IN_MEMORY:
            if status.st_size > limit:
                raise too_large()
            return File(Path(path))
        return store.hold(parts)
    except IsADirectoryError as error:
        raise BadImage(f"{path} is a directory: give a file.") from error
    except OSError as error:
        raise BadImage(f"{path} cannot be read: {error.strerror}.") from error
    except ValueError as error:
        raise BadImage(f"{str(path)!r} is no name of a file.") from error


def is_packed(data: ByteSource) -> bool:
    """Whether bytes begin as gzip does."""
    return data[: len(_GZIP)] == _GZIP


def unpacked(data: ByteSource, name: str, limit: int) -> Held:
    """What gzip holds, bounded: unpacking stops at the limit, so that a small file cannot fill the memory.

    Raises:
        BadImage: the stream is cut short, broken, or holds more than `limit` bytes; `name` says where.
    """

    def too_large() -> BadImage:
        return BadImage(f"{name} unpacks to more than {limit >> 20} MiB: give the part that matters.")

    def parts() -> Iterator[bytes]:
        with gzip.GzipFile(fileobj=cast(BinaryIO, _Reader(data))) as file:
            yield from _bounded(file, limit, too_large)

    try:
        return store.hold(parts)
    except EOFError as error:
        raise BadImage(f"{name} is cut short: its gzip stream does not end. Copy it again.") from error
    except (OSError, zlib.error) as error:
        raise BadImage(f"{name} is damaged: its gzip stream cannot be unpacked ({error}).") from error


class _Reader:
    """Bytes of a source, as gzip reads a file."""

    def __init__(self, data: ByteSource) -> None:
        self._data = data
        self._at = 0

    def read(self, size: int) -> bytes:
        """The next bytes."""
        part = self._data[self._at : self._at + size]
        self._at += len(part)
        return part


def _bounded(file: BinaryIO | gzip.GzipFile, limit: int, too_large: Callable[[], BadImage]) -> Iterator[bytes]:
    size = 0
    while part := file.read(store.PART):
        size += len(part)
        if size > limit:
            raise too_large()
        yield part


def packed(data: bytes) -> bytes:
    """Bytes as gzip; the same bytes give the same file."""
    return gzip.compress(data, mtime=0)
