"""What every format is read into."""

from collections.abc import Callable, Iterable
from typing import Final, Literal, Protocol

import msgspec

from heapwitness.liteos.image.store import SourceStretch

SIZE_LIMIT: Final = 512 << 20
"""No image larger than this is read, nor what a compressed one holds."""

ImageFormat = Literal["raw", "intel-hex", "s-record", "elf"]


class Patch(Protocol):
    """Bytes to be changed at an address."""

    @property
    def address(self) -> int:
        """Of the first byte."""

    @property
    def new(self) -> bytes:
        """The bytes as they shall be."""


Patches = Iterable[tuple[int, bytes]]
Rewrite = Callable[[Patches], bytes]


class Segment(msgspec.Struct, frozen=True):
    """Bytes at an address of the target; slices of `data` are bytes."""

    address: int
    data: SourceStretch

    @property
    def stop(self) -> int:
        """The address behind the last byte."""
        return self.address + len(self.data)


class Image:
    """A dump's bytes by address.

    Attributes:
        format: what the file is; `compressed` tells whether gzip is around it.
        segments: in order of address, none touching or overlapping another.
        width: pointer width in bits where the file says it (ELF), else None.
        placed: False for a raw file whose address nobody gave: its one segment then starts at 0.
    """

    def __init__(
        self,
        format: ImageFormat,
        segments: tuple[Segment, ...],
        rewrite: Rewrite,
        *,
        compressed: bool = False,
        width: int | None = None,
        placed: bool = True,
    ) -> None:
        self.format = format
        self.compressed = compressed
        self.segments = segments
        self.width = width
        self.placed = placed
        self._rewrite = rewrite

    def segment_at(self, address: int) -> Segment | None:
        """The segment that holds the byte at an address."""
        return next((one for one in self.segments if one.address <= address < one.stop), None)

    def moved(self, base: int) -> "Image":
        """A raw image of which nobody knew the address, with its first byte at `base`."""
        assert self.format == "raw" and not self.placed
        start = self.segments[0].address

        def rewrite(patches: Patches) -> bytes:
            return self._rewrite([(address - base + start, new) for address, new in patches])

        segment = Segment(base, self.segments[0].data)
        return Image("raw", (segment,), rewrite, compressed=self.compressed, width=self.width)

    def patched(self, patches: Iterable[Patch]) -> bytes:
        """The file's bytes (not compressed) with some of the target's bytes changed."""
        return self._rewrite([(patch.address, patch.new) for patch in patches])
