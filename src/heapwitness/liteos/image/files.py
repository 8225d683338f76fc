"""Files from outside, read and unpacked within bounds."""

import gzip
import io
import zlib
from os import PathLike
from pathlib import Path

from heapwitness.liteos.image.model import BadImage

_GZIP = b"\x1f\x8b"
_CHUNK = 1 << 20


def read(path: str | PathLike[str], limit: int) -> bytes:
    """A file's bytes.

    Raises:
        BadImage: it cannot be read or has more than `limit` bytes.
    """
    try:
        with Path(path).open("rb") as file:
            parts: list[bytes] = []
            size = 0
            while part := file.read(_CHUNK):
                parts.append(part)
                size += len(part)
                if size > limit:
                    raise BadImage(f"{path} is larger than {limit >> 20} MiB: give the part of it that matters.")
    except IsADirectoryError as error:
        raise BadImage(f"{path} is a directory: give a file.") from error
    except OSError as error:
        raise BadImage(f"{path} cannot be read: {error.strerror}.") from error
    except ValueError as error:
        raise BadImage(f"{str(path)!r} is no name of a file.") from error
    return b"".join(parts)


def is_packed(data: bytes) -> bool:
    """Whether bytes begin as gzip does."""
    return data.startswith(_GZIP)


def unpacked(data: bytes, name: str, limit: int) -> bytes:
    """What gzip holds, bounded: unpacking stops at the limit, so that a small file cannot fill the memory.

    Raises:
        BadImage: the stream is cut short, broken, or holds more than `limit` bytes; `name` says where.
    """
    parts: list[bytes] = []
    size = 0
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(data)) as file:
            while part := file.read(_CHUNK):
                parts.append(part)
                size += len(part)
                if size > limit:
                    raise BadImage(f"{name} unpacks to more than {limit >> 20} MiB: give the part that matters.")
    except EOFError as error:
        raise BadImage(f"{name} is cut short: its gzip stream does not end. Copy it again.") from error
    except (OSError, zlib.error) as error:
        raise BadImage(f"{name} is damaged: its gzip stream cannot be unpacked ({error}).") from error
    return b"".join(parts)


def packed(data: bytes) -> bytes:
    """Bytes as gzip; the same bytes give the same file."""
    return gzip.compress(data, mtime=0)
