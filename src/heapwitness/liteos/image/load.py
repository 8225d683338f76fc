"""Opens a dump, whatever it is."""

import gzip
import io
import zlib
from os import PathLike
from pathlib import Path

from heapwitness.liteos.image import elf, hexadecimal, intelhex, srecord
from heapwitness.liteos.image.model import SIZE_LIMIT, BadImage, Image, Patches, Segment

_GZIP = b"\x1f\x8b"
_CHUNK = 1 << 20


def load(path: str | PathLike[str], base: int | None = None, limit: int = SIZE_LIMIT) -> Image:
    """Read an image.

    Args:
        path: the file.
        base: address of a raw image's first byte; other formats have their own addresses, and it is an
            error to give one for them.
        limit: the most bytes that are read or unpacked.

    Raises:
        BadImage: the file cannot be read, is empty, larger than `limit`, cut short or broken, or is no
            little-endian target's.
    """
    return parse(_read(Path(path), limit), str(path), base, limit)


def parse(data: bytes, name: str, base: int | None = None, limit: int = SIZE_LIMIT) -> Image:
    """As `load`, of bytes that are here already; `name` is for messages."""
    compressed = data.startswith(_GZIP)
    if compressed:
        data = _unpack(data, name, limit)
    if not data:
        raise BadImage(f"{name} is empty: give a memory dump.")
    try:
        image = _image(data, base)
    except BadImage as error:
        raise BadImage(f"{name}: {error}") from error
    image.compressed = compressed
    if base is not None and image.format != "raw":
        raise BadImage(f"{name} has addresses of its own: leave --base out.")
    return image


def pack(data: bytes, *, compressed: bool) -> bytes:
    """What a file is to hold for an image's bytes; the same bytes give the same file."""
    return gzip.compress(data, mtime=0) if compressed else data


def _image(data: bytes, base: int | None) -> Image:
    if elf.is_elf(data):
        return elf.parse(data)
    text = hexadecimal.text_of(data)
    if text is not None:
        if intelhex.is_first_line(text):
            return intelhex.parse(text)
        if srecord.is_first_line(text):
            return srecord.parse(text)
    start = base or 0
    if start < 0 or start + len(data) > 1 << 64:
        raise BadImage(f"{len(data)} bytes don't fit at {start:#x}: give another --base.")

    def rewrite(patches: Patches) -> bytes:
        out = bytearray(data)
        for address, new in patches:
            out[address - start : address - start + len(new)] = new
        return bytes(out)

    return Image("raw", (Segment(start, memoryview(data)),), rewrite, placed=base is not None)


def _read(path: Path, limit: int) -> bytes:
    try:
        with path.open("rb") as file:
            parts: list[bytes] = []
            size = 0
            while part := file.read(_CHUNK):
                parts.append(part)
                size += len(part)
                if size > limit:
                    raise BadImage(f"{path} is larger than {limit >> 20} MiB: cut the pool's memory out of it.")
    except IsADirectoryError as error:
        raise BadImage(f"{path} is a directory: give a memory dump.") from error
    except OSError as error:
        raise BadImage(f"{path} cannot be read: {error.strerror}.") from error
    except ValueError as error:
        raise BadImage(f"{str(path)!r} is no name of a file.") from error
    return b"".join(parts)


def _unpack(data: bytes, name: str, limit: int) -> bytes:
    """What gzip holds, bounded: unpacking stops at the limit, so that a small file cannot fill the memory."""
    parts: list[bytes] = []
    size = 0
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(data)) as file:
            while part := file.read(_CHUNK):
                parts.append(part)
                size += len(part)
                if size > limit:
                    raise BadImage(f"{name} unpacks to more than {limit >> 20} MiB: cut the pool's memory out of it.")
    except EOFError as error:
        raise BadImage(f"{name} is cut short: its gzip stream does not end. Copy the dump again.") from error
    except (OSError, zlib.error) as error:
        raise BadImage(f"{name} is damaged: its gzip stream cannot be unpacked ({error}).") from error
    return b"".join(parts)
