"""The target's memory: a writable buffer that stands at an address, read and written as little-endian words."""

import struct
from typing import TYPE_CHECKING

from heapwitness.liteos.errors import BadPool, KernelDied

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

_U32 = struct.Struct("<I")
_U64 = struct.Struct("<Q")


class Ram:
    """Words, pointers and bytes by target address.

    Every access is bounded; one outside of the buffer raises KernelDied, because there the target
    has something that nobody knows, or nothing.
    """

    __slots__ = ("_last_u32", "_last_word", "_word", "address", "pointer", "size", "view")

    def __init__(self, buffer: "ReadableBuffer", address: int, pointer: int) -> None:
        """Stand `buffer` at `address`; `pointer` is the size of a pointer in bytes, 4 or 8.

        Raises:
            BadPool: the buffer cannot be written, is not contiguous, or does not fit at the address.
        """
        try:
            view = memoryview(buffer).cast("B")
        except TypeError as error:
            raise BadPool("A pool needs a contiguous buffer, such as a bytearray.") from error
        if view.readonly:
            raise BadPool("A pool needs a writable buffer: copy the bytes into a bytearray.")
        if not 0 <= address <= (1 << 8 * pointer) - len(view):
            raise BadPool(f"A buffer of {len(view)} bytes does not fit at address {address:#x} of the target.")
        self.view = view
        self.address = address
        self.size = len(view)
        self.pointer = pointer
        self._word = _U32 if pointer == 4 else _U64
        self._last_u32 = self.size - 4
        self._last_word = self.size - pointer

    def u16(self, address: int) -> int:
        """The 16-bit word at an address."""
        at = self.offset(address, 2)
        return int.from_bytes(self.view[at : at + 2], "little")

    def set_u16(self, address: int, value: int) -> None:
        """Store a 16-bit word, cut to its width as the target does."""
        at = self.offset(address, 2)
        self.view[at : at + 2] = (value & 0xFFFF).to_bytes(2, "little")

    def u32(self, address: int) -> int:
        """The 32-bit word at an address."""
        at = address - self.address
        if not 0 <= at <= self._last_u32:
            raise fault(address)
        value: int = _U32.unpack_from(self.view, at)[0]
        return value

    def set_u32(self, address: int, value: int) -> None:
        """Store a 32-bit word, cut to its width as the target does."""
        at = address - self.address
        if not 0 <= at <= self._last_u32:
            raise fault(address)
        _U32.pack_into(self.view, at, value & 0xFFFFFFFF)

    def word(self, address: int) -> int:
        """The pointer-sized word at an address."""
        at = address - self.address
        if not 0 <= at <= self._last_word:
            raise fault(address)
        value: int = self._word.unpack_from(self.view, at)[0]
        return value

    def set_word(self, address: int, value: int) -> None:
        """Store a pointer-sized word."""
        at = address - self.address
        if not 0 <= at <= self._last_word:
            raise fault(address)
        self._word.pack_into(self.view, at, value)

    def offset(self, address: int, length: int) -> int:
        """Where `length` bytes at an address lie in `view`."""
        at = address - self.address
        if not 0 <= at <= self.size - length:
            raise fault(address)
        return at

    def move(self, source: int, destination: int, length: int) -> None:
        """Copy bytes."""
        start, end = self.offset(source, length), self.offset(destination, length)
        self.view[end : end + length] = bytes(self.view[start : start + length])

    def zero(self, address: int, length: int) -> None:
        """Clear bytes."""
        at = self.offset(address, length)
        self.view[at : at + length] = bytes(length)


def fault(address: int) -> KernelDied:
    """The error of an access that leaves the buffer."""
    return KernelDied(f"The kernel would access {address:#x}, which lies outside of the pool's buffer.")
