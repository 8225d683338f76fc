"""Opens a dump, whatever it is."""

from os import PathLike

from heapwitness.liteos.image import elf, files, hexadecimal
from heapwitness.liteos.image.errors import BadImage
from heapwitness.liteos.image.intelhex import INTEL_HEX
from heapwitness.liteos.image.model import SIZE_LIMIT, Image, Patches, Segment
from heapwitness.liteos.image.srecord import S_RECORD
from heapwitness.liteos.image.store import ByteSource, SourceStretch


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

    Source: docs/liteos.md has the formats.
    """
    return parse(files.read(path, limit), str(path), base, limit)


def parse(data: ByteSource, name: str, base: int | None = None, limit: int = SIZE_LIMIT) -> Image:
    """As `load`, of bytes that are here already; `name` is for messages."""
    compressed = files.is_packed(data)
    if compressed:
        data = files.unpacked(data, name, limit)
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


def _image(data: ByteSource, base: int | None) -> Image:
    if elf.is_elf(data):
        return elf.parse(data)
    if hexadecimal.is_text(data):
        for text in (INTEL_HEX, S_RECORD):
            if text.begins(data):
                return text.parse(data)
    start = base or 0
    if start < 0 or start + len(data) > 1 << 64:
        raise BadImage(f"{len(data)} bytes don't fit at {start:#x}: give another --base.")

    def rewrite(patches: Patches) -> bytes:
        out = bytearray(data[:])
        for address, new in patches:
            out[address - start : address - start + len(new)] = new
        return bytes(out)

    return Image("raw", (Segment(start, SourceStretch(data)),), rewrite, placed=base is not None)
