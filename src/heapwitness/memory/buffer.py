"""Memory that is already here: one buffer, or the segments of a record."""

import bisect
from collections.abc import Iterable
from typing import TYPE_CHECKING, Protocol

from heapwitness.memory.protocol import READ_LIMIT, Unreadable

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer


class Sliceable(Protocol):
    """Bytes of which slices are bytes."""

    def __len__(self) -> int: ...

    def __getitem__(self, place: slice, /) -> bytes: ...


class BufferMemory:
    """The bytes of `data` (not copied, so its owner's changes are seen) at address `base`.

    Source: whatever made the buffer; what pools in it look like is in docs/format.md.
    """

    def __init__(self, base: int, data: "ReadableBuffer") -> None:
        self._base = base
        self._view = memoryview(data).cast("B")

    def read(self, address: int, length: int) -> bytes:
        """`length` bytes from `address` on, all of them; else `Unreadable`. See `Memory.read`."""
        start = address - self._base
        if start < 0 or length < 0 or length > READ_LIMIT or start + length > len(self._view):
            raise Unreadable(address, length)
        return bytes(self._view[start : start + length])


class SegmentsMemory:
    """Several stretches of bytes; a read may run from one into the next where they touch.

    Where stretches overlap, the one given later holds: it is the newer copy.

    Source: whatever made the stretches; what pools in them look like is in docs/format.md.
    """

    def __init__(self, segments: Iterable[tuple[int, Sliceable]]) -> None:
        starts: list[int] = []
        parts: list[Sliceable] = []
        for start, data in segments:
            if data:
                _lay_over(starts, parts, start, data)
        self._starts = starts
        self._parts = parts

    def read(self, address: int, length: int) -> bytes:
        """`length` bytes from `address` on, all of them; else `Unreadable`. See `Memory.read`."""
        if address < 0 or length < 0 or length > READ_LIMIT:
            raise Unreadable(address, length)
        found: list[bytes] = []
        at, end = address, address + length
        position = bisect.bisect_right(self._starts, at) - 1
        while at < end:
            if position < 0 or position >= len(self._starts):
                raise Unreadable(address, length)
            start, data = self._starts[position], self._parts[position]
            if not start <= at < start + len(data):
                raise Unreadable(address, length)
            found.append(data[at - start : end - start])
            at += len(found[-1])
            position += 1
        return b"".join(found)


def _lay_over(starts: list[int], parts: list[Sliceable], start: int, data: Sliceable) -> None:
    """Put a stretch among sorted ones that don't overlap, cutting away what it covers."""
    end = start + len(data)
    first = bisect.bisect_left(starts, start)
    if first and starts[first - 1] + len(parts[first - 1]) > start:
        first -= 1
    last = bisect.bisect_left(starts, end)
    new = [(start, data)]
    if first < last:
        if starts[first] < start:
            new.insert(0, (starts[first], parts[first][: start - starts[first]]))
        tail = starts[last - 1] + len(parts[last - 1])
        if tail > end:
            new.append((end, parts[last - 1][end - starts[last - 1] :]))
    starts[first:last] = [one for one, _ in new]
    parts[first:last] = [one for _, one in new]
