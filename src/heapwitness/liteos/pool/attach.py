"""Where a pool may be made, and whether bytes hold one."""

from collections.abc import Iterable
from typing import Protocol

from heapwitness.liteos.errors import BadPool
from heapwitness.liteos.heap.ends import find_end
from heapwitness.liteos.heap.view import PoolView
from heapwitness.liteos.kernel.mechanism import aligned
from heapwitness.liteos.kernel.ram import Ram
from heapwitness.liteos.layout.layout import Layout


class Placed(Protocol):
    """Something that occupies addresses."""

    @property
    def address(self) -> int:
        """Where it starts."""

    @property
    def size(self) -> int:
        """Its size in bytes."""


def init_size(layout: Layout, address: int, size: int) -> int:
    """The size in bytes that the kernel gives a pool made of `size` bytes at an address.

    Raises:
        BadPool: the address is null or the size too small.
    """
    if address == 0:
        raise BadPool("The kernel makes no pool at address 0: give the address at which the buffer stands.")
    if size < layout.min_pool_size:
        raise BadPool(f"A pool of {size} bytes is too small: this configuration needs {layout.min_pool_size}.")
    if size % layout.align or address % layout.align:
        return aligned(size, layout.align) - layout.align
    return size


def overlapping(address: int, size: int, pools: Iterable[Placed]) -> Placed | None:
    """The first known pool that the kernel takes a new one to overlap.

    The kernel does not notice a new pool that starts after a known one's start and ends before its end.
    """
    end = address + size
    for pool in pools:
        pool_end = pool.address + pool.size
        if address <= pool.address < end or address < pool_end <= end:
            return pool
    return None


def recorded_size(ram: Ram, layout: Layout) -> int:
    """The size of the pool that starts at a buffer's address, by its info, its first node and its end node.

    Raises:
        BadPool: the pool does not lie wholly in the buffer.
        NoPool: no pool with this layout starts there.
    """
    info = find_end(PoolView(bytes(ram.view), ram.address, layout))
    if not layout.min_pool_size <= info.size <= ram.size:
        raise BadPool(
            f"The pool at {ram.address:#x} has {info.size} bytes and the buffer {ram.size}: "
            "give all of it, or check address and configuration."
        )
    return info.size
