"""What every source of bytes promises."""

from typing import Protocol

from heapwitness.errors import HeapwitnessError

READ_LIMIT = 64 << 20
"""The most bytes that one read gives: a forged length must not cost memory."""

_PAGE = 4096


class Unreadable(HeapwitnessError):
    """Not all of the bytes that were asked for are there."""

    def __init__(self, address: int, length: int, why: str = "") -> None:
        super().__init__(f"{length} bytes at {address:#x} cannot be read{': ' if why else ''}{why}.")
        self.address = address
        self.length = length


class Memory(Protocol):
    """Bytes by address."""

    def read(self, address: int, length: int) -> bytes:
        """`length` bytes from `address` on.

        Raises:
            Unreadable: not all of them are there, or more than READ_LIMIT were asked for.
        """
        ...


def read_up_to(memory: Memory, address: int, length: int) -> bytes:
    """As many of `length` bytes from `address` on as there are, to the page; empty when none."""
    try:
        return memory.read(address, length)
    except Unreadable:
        pass
    parts: list[bytes] = []
    end = address + length
    # Doubling steps, halved where they fail: few reads, and none beyond the first page that is missing.
    step = _PAGE
    while address < end:
        stop = min(end, (address + step) // _PAGE * _PAGE)
        try:
            parts.append(memory.read(address, stop - address))
        except Unreadable:
            if step == _PAGE:
                break
            step = _PAGE
            continue
        address = stop
        step *= 2
    return b"".join(parts)
