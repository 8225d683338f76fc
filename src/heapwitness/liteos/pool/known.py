"""The pools that a kernel knows (LOSCFG_MEM_MUL_POOL): those made in the same memory, as long as they are in use.

Pools are in the same memory when their buffers are parts of one object and stand at addresses that fit:
then they are one target's, and the kernel would refuse one that overlaps another.
"""

import ctypes
import weakref
from typing import Protocol

from heapwitness.liteos.kernel.ram import Ram


class KnownPool(Protocol):
    """A pool with its place on the target."""

    @property
    def address(self) -> int:
        """Where it starts."""

    @property
    def size(self) -> int:
        """Its size in bytes."""

    @property
    def memory(self) -> Ram:
        """The memory that it was made in."""


class KnownPools:
    """The pools made in this process that are still in use, oldest first."""

    def __init__(self) -> None:
        self._pools: list[weakref.ref[KnownPool]] = []

    def add(self, pool: KnownPool) -> None:
        """Know a pool until it is forgotten or nobody uses it any more."""
        self._pools.append(weakref.ref(pool))

    def forget(self, pool: KnownPool) -> bool:
        """Know a pool no more (LOS_MemDeInit); False where it was not known."""
        left = [one for one in self._pools if one() is not pool]
        found = len(left) < len(self._pools)
        self._pools = left
        return found

    def beside(self, ram: Ram) -> list[KnownPool]:
        """The known pools in the same memory."""
        self._pools = [one for one in self._pools if one() is not None]
        pools = [pool for one in self._pools if (pool := one()) is not None]
        return [pool for pool in pools if _same_memory(pool.memory, ram)]


def _same_memory(one: Ram, other: Ram) -> bool:
    start, other_start = _place(one), _place(other)
    if start - one.address != other_start - other.address:
        return False
    shared = start < other_start + other.size and other_start < start + one.size
    return shared or one.view.obj is other.view.obj


def _place(ram: Ram) -> int:
    """Where a buffer lies in this process."""
    return ctypes.addressof(ctypes.c_char.from_buffer(ram.view))
