"""ELF: the loadable segments of a core file or of a linked firmware, at their virtual addresses.

Only the headers that this needs are read here, by hand: bytes come from outside, and nothing that
they claim may cost more than the file's own size.
"""

import struct
from collections.abc import Iterator
from itertools import pairwise

from heapwitness.liteos.image.errors import BadImage
from heapwitness.liteos.image.model import Image, Patches, Segment
from heapwitness.liteos.image.store import ByteSource, SourceStretch, hold

_LOAD = 1
_HEADER_SIZE = 64
# By class, 32 and 64 bit. Of the file's header: place, entry size and number of the program headers.
_HEADER = {1: struct.Struct("<28xI10xHH"), 2: struct.Struct("<32xQ14xHH")}
# Of a program header: type, place in the file, virtual address, length in the file.
_PROGRAM = {1: struct.Struct("<III4xI"), 2: struct.Struct("<I4xQQ8xQ")}


def is_elf(data: ByteSource) -> bool:
    """Whether bytes begin as an ELF file does."""
    return data[:4] == b"\x7fELF"


def parse(data: ByteSource) -> Image:
    """Read a file's loadable segments, as far as their bytes are in the file.

    Raises:
        BadImage: the file is no little-endian ELF file, has no loadable bytes, or its segments overlap.
    """
    header = data[:_HEADER_SIZE]
    if len(header) < _HEADER_SIZE or header[4] not in _HEADER:
        raise BadImage("it begins as an ELF file but is none: the dump is cut short. Copy it again.")
    if header[5] != 1:
        raise BadImage("it is a big-endian ELF file, and the kernel's heap is little endian: give another dump.")
    places = sorted(_loadable(data))
    if not places:
        raise BadImage("it has no loadable segment with bytes in the file: give a core file or a linked image.")
    if sum(length for _, _, length in places) > len(data):
        raise BadImage("its segments share bytes of the file: give a dump of which every byte has one address.")
    view = SourceStretch(data)
    segments = tuple(_joined(view, list(_apart(view, places))))

    def rewrite(patches: Patches) -> bytes:
        out = bytearray(data[:])
        for address, new in patches:
            for start, offset, length in places:
                low, high = max(start, address), min(start + length, address + len(new))
                if low < high:
                    out[offset + low - start : offset + high - start] = new[low - address : high - address]
        return bytes(out)

    return Image("elf", segments, rewrite, width=32 * header[4])


def _loadable(data: ByteSource) -> Iterator[tuple[int, int, int]]:
    """Address, place in the file and length of each loadable segment, cut to what is in the file."""
    header = data[:_HEADER_SIZE]
    table, entry_size, count = _HEADER[header[4]].unpack_from(header)
    program = _PROGRAM[header[4]]
    for at in range(table, table + count * entry_size, max(entry_size, 1)):
        if entry_size < program.size or at + program.size > len(data):
            return
        kind, offset, address, length = program.unpack(data[at : at + program.size])
        length = min(length, max(len(data) - offset, 0))
        if kind == _LOAD and length:
            yield address, offset, length


def _apart(view: SourceStretch, places: list[tuple[int, int, int]]) -> Iterator[tuple[int, int, int]]:
    """The places without what an earlier one has already, as debuggers write aliased memory twice.

    Each byte is compared once, with the first place that has it.

    Raises:
        BadImage: two segments have different bytes for one address.
    """
    apart: list[tuple[int, int, int]] = []
    for address, offset, length in places:
        stop = end = address
        for start, at, size in reversed(apart):
            if start + size <= address:
                break
            end = max(end, start + size)
            low, stop = max(start, address), min(start + size, address + length)
            if (
                low < stop
                and view[at + low - start : at + stop - start] != view[offset + low - address : offset + stop - address]
            ):
                raise BadImage(f"it has different bytes for {low:#x} twice: give a dump that was taken in one go.")
        if end < address + length:
            apart.append((end, offset + end - address, address + length - end))
            yield apart[-1]


def _joined(view: SourceStretch, places: list[tuple[int, int, int]]) -> Iterator[Segment]:
    """Segments, joined where they touch: a pool may lie across two."""
    group: list[tuple[int, int, int]] = []
    for place in places:
        if group and group[-1][0] + group[-1][2] != place[0]:
            yield _segment(view, group)
            group = []
        group.append(place)
    yield _segment(view, group)


def _segment(view: SourceStretch, group: list[tuple[int, int, int]]) -> Segment:
    address, offset, _ = group[0]
    length = sum(size for _, _, size in group)
    if all(at + size == following for (_, at, size), (_, following, _) in pairwise(group)):
        return Segment(address, view.part(offset, offset + length))
    pieces = [view.part(at, at + size) for _, at, size in group]
    return Segment(address, SourceStretch(hold(lambda: (part for piece in pieces for part in piece.parts()))))
