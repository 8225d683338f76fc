"""What every source of bytes promises."""

from typing import Protocol

from heapwitness.errors import HeapwitnessError

READ_LIMIT = 64 << 20
"""The most bytes that one read gives: a forged length must not cost memory."""

_STEP = 4096
_LARGEST_STEP = 8 << 20


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
    """As many of `length` bytes from `address` on as there are without a gap; empty when none."""
    try:
        return memory.read(address, length)
    except Unreadable:
        pass
    parts: list[bytes] = []
    end = address + length
    # Doubling steps while they can be read, halved ones where not: few reads to any end.
    step, growing = _STEP, True
    while step and address < end:
        try:
            parts.append(memory.read(address, min(step, end - address)))
        except Unreadable:
            growing = False
        else:
            address += step
            if growing:
                step = min(2 * step, _LARGEST_STEP)
                continue
        step //= 2
    return b"".join(parts)
