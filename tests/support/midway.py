"""Every store of an operation on a pool, and the pool's bytes as they are between two of them."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import ClassVar

from heapwitness.liteos import Pool
from heapwitness.liteos.kernel.ram import Ram

Store = tuple[int, bytes]


class RecordedRam(Ram):
    """A target's memory that keeps a list of its stores; what is copied or cleared is stored word by word."""

    __slots__ = ()
    stores: ClassVar[list[Store]] = []

    def set_u16(self, address: int, value: int) -> None:
        super().set_u16(address, value)
        self._keep(address, 2)

    def set_u32(self, address: int, value: int) -> None:
        super().set_u32(address, value)
        self._keep(address, 4)

    def set_word(self, address: int, value: int) -> None:
        super().set_word(address, value)
        self._keep(address, self.pointer)

    def move(self, source: int, destination: int, length: int) -> None:
        super().move(source, destination, length)
        self._keep_words(destination, length)

    def zero(self, address: int, length: int) -> None:
        super().zero(address, length)
        self._keep_words(address, length)

    def _keep_words(self, address: int, length: int) -> None:
        end = address + length
        while address < end:
            size = self.pointer if address % self.pointer == 0 and end - address >= self.pointer else 4
            self._keep(address, size)
            address += size

    def _keep(self, address: int, length: int) -> None:
        at = address - self.address
        RecordedRam.stores.append((at, bytes(self.view[at : at + length])))


@dataclass
class Recorded:
    """The bytes before an operation, and its stores: offset in the pool and what was stored."""

    before: bytes
    stores: list[Store]

    def midway(self) -> Iterator[bytes]:
        """The pool's bytes before the first store, and after each."""
        data = bytearray(self.before)
        yield bytes(data)
        for at, stored in self.stores:
            data[at : at + len(stored)] = stored
            yield bytes(data)


def record(buffer: bytearray, pool: Pool, operation: Callable[[], object]) -> Recorded:
    """Do an operation, and keep all of its stores into the heap's own bytes."""
    before = bytes(buffer)
    RecordedRam.stores.clear()
    pool.memory.__class__ = RecordedRam
    try:
        operation()
    finally:
        pool.memory.__class__ = Ram
    return Recorded(before, list(RecordedRam.stores))
