"""`heapwitness.Pool`: the checked heap of `native/core` on any writable buffer.

    >>> with Pool(bytearray(4096)).alloc(1000, align=64) as block:
    ...     memoryview(block)[:5] = b"hello"

Beneath that a block is a node:

    >>> pool = Pool(bytearray(4096), granule_log2=3)
    >>> block = pool.allocate(24)
    >>> pool.payload(block)[:5] = b"hello"
    >>> pool.check()
    []

A node is named by its offset in granules from the pool's start, as everywhere in docs/format.md. What the
calls promise stands in `native/core/heapwitness/core.h`. Calls keep the interpreter's lock, so threads may share
a pool.
"""

import ctypes
import functools
import secrets
import sysconfig
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Protocol, Self

from heapwitness.errors import HeapwitnessError
from heapwitness.heap.check import Fault
from heapwitness.layout import witness
from heapwitness.layout.events import Outcome, Reason
from heapwitness.layout.witness import Origin, Secret, State
from heapwitness.native import library

_ALIGNMENT = 16


class _Status(IntEnum):
    OK = 0
    NOMEM = 1
    DAMAGED = 2
    REFUSED = 3


@dataclass(frozen=True, slots=True)
class Node:
    """A node by its own header: sizes in granules, `requested` and `slack` in bytes."""

    offset: int
    size: int
    prev_size: int
    state: State
    origin: Origin
    site: int
    slack: int
    requested: int


_DAMAGED = {
    Reason.DAMAGE: "a header",
    Reason.SLACK: "what lies behind a block",
    Reason.LINKS: "a free node",
    Reason.POISON: "a released block",
    Reason.CONTROL: "the control block",
}


class Damaged(HeapwitnessError):
    """An operation met damage and changed no header. `check` tells all of it, `repair` mends it."""

    def __init__(self, fault: Fault) -> None:
        what = _DAMAGED.get(fault.reason, "the heap")
        super().__init__(f"{what} is damaged at node {fault.node}: see check(), then repair().")
        self.fault = fault


class NoSuchNode(HeapwitnessError):
    """The offset is not one of a node in a state that the operation is for; nothing was changed."""


class _Fault(ctypes.Structure):
    _fields_ = tuple((name, ctypes.c_uint32) for name in ("reason", "node", "low", "high"))


class _Outcome(ctypes.Structure):
    _fields_ = tuple((name, ctypes.c_uint64) for name in Outcome._fields)


class _Header(ctypes.Structure):
    _fields_ = tuple((name, ctypes.c_uint32) for name in ("size", "prev_size", "meta", "check"))


class PoolBlock(Protocol):
    """A block of a pool: what it holds by the buffer protocol, and a context at whose end it is released.

    It keeps the pool's buffer, and goes back when nobody has it any more. A view of it that is used after the release
    writes into a released block (docs/python.md).
    """

    @property
    def address(self) -> int:
        """Its address in this process."""
        ...

    @property
    def node(self) -> int:
        """Its node, for `Pool.node`; 0 when it was released."""
        ...

    def release(self) -> None:
        """Give it back; nothing when that was done.

        Raises:
            Damaged: as `Pool.release`; the block stays.
        """
        ...

    def __enter__(self) -> Self:
        """The block itself."""
        ...

    def __exit__(self, *exception: object) -> None:
        """Release it."""
        ...

    def __len__(self) -> int:
        """Its size in bytes."""
        ...

    def __buffer__(self, flags: int, /) -> memoryview:
        """Its bytes, writable."""
        ...


@dataclass(frozen=True, slots=True)
class PoolStats:
    """What a pool has: bytes that its blocks in use asked for, that its free nodes can give, and that the largest of
    these can; and how many nodes of each kind (docs/python.md)."""

    used: int
    used_nodes: int
    free: int
    free_nodes: int
    largest_free: int


@functools.cache
def _make_blocks() -> Callable[[int, int, object, object], Any]:
    if sysconfig.get_config_var("Py_GIL_DISABLED"):
        raise HeapwitnessError("Pool.alloc needs a Python with the GIL; Pool.allocate and Pool.payload do without.")
    function = ctypes.PyDLL(str(library("blocks"))).heapwitness_blocks
    function.restype = ctypes.py_object
    function.argtypes = [ctypes.c_void_p, ctypes.c_uint, ctypes.py_object, ctypes.py_object]
    return function


def _failed(status: int, node: int, *words: int) -> None:
    """Raise what an operation on a block came to."""
    if status == _Status.NOMEM:
        raise MemoryError("no free node of the pool fits")
    Pool._settle(status, _Fault(*words), node)


@functools.cache
def _core() -> ctypes.PyDLL:
    core = ctypes.PyDLL(str(library("core")))
    pool, size, u32, fault = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_uint32, ctypes.POINTER(_Fault)
    header, boolean = ctypes.POINTER(_Header), ctypes.c_bool
    signatures: dict[str, tuple[Any, tuple[Any, ...]]] = {
        "hw_pool_init": (pool, (pool, size, ctypes.c_uint, u32 * 4)),
        "hw_pool_extend": (ctypes.c_int, (pool, size, fault)),
        "hw_allocate": (u32, (pool, size, size, ctypes.c_uint, u32, fault)),
        "hw_take": (u32, (pool, size, size, fault)),
        "hw_cut": (ctypes.c_int, (pool, u32, size, ctypes.c_uint, u32, fault)),
        "hw_release": (ctypes.c_int, (pool, u32, u32, fault)),
        "hw_release_run": (ctypes.c_int, (pool, ctypes.POINTER(u32), ctypes.c_uint, fault)),
        "hw_resize": (ctypes.c_int, (pool, u32, size, u32, fault)),
        "hw_cache": (ctypes.c_int, (pool, u32, u32, boolean, fault)),
        "hw_uncache": (ctypes.c_int, (pool, u32, size, ctypes.c_uint, u32, fault)),
        "hw_verify": (ctypes.c_int, (pool, u32, fault)),
        "hw_check": (ctypes.c_uint, (pool, size, ctypes.c_uint, fault, ctypes.c_uint)),
        "hw_sound": (boolean, (pool, size, ctypes.c_uint)),
        "hw_sound_part": (boolean, (pool, size, ctypes.c_uint, ctypes.POINTER(ctypes.c_uint32))),
        "hw_repair": (boolean, (pool, size, ctypes.c_uint, ctypes.POINTER(_Outcome))),
        "hw_locate": (u32, (pool, size)),
        "hw_next": (u32, (pool, u32)),
        "hw_header_at": (boolean, (pool, u32, header)),
        "hw_tombstone_at": (boolean, (pool, u32, header)),
    }
    for name, (result, arguments) in signatures.items():
        function = getattr(core, name)
        function.restype, function.argtypes = result, arguments
    return core


class Pool:
    """A pool of `witness/1` in a buffer that stays the caller's.

    The buffer (bytearray, mmap, numpy array, anything writable and contiguous) must not be moved or
    closed while the pool is in use; Python keeps it from being resized.

    Args:
        buffer: holds the pool from its first address on that is a multiple of 16.
        granule_log2: 4 for the 64-bit layout, 3 for the 32-bit layout.
        size: bytes to use at first, all of the buffer if None; `extend` takes more.
        secret: the key of checks, four 32-bit words; random if None.

    Raises:
        HeapwitnessError: the buffer is too small, too large, read-only or not contiguous.

    Source: docs/format.md, "Pool".
    """

    def __init__(
        self,
        buffer: Any,
        *,
        granule_log2: int = 4,
        size: int | None = None,
        secret: Secret | None = None,
    ) -> None:
        self._take(buffer, granule_log2)
        wanted = len(self._room) if size is None else size
        self._bytes = self._fitting(wanted)
        words = secret if secret is not None else tuple(secrets.randbits(32) for _ in range(4))
        key = (ctypes.c_uint32 * 4)(*words)
        if not _core().hw_pool_init(self._address, self._bytes, granule_log2, key):
            least = witness.CONTROL + witness.MIN_NODE + witness.END
            raise HeapwitnessError(
                f"a pool takes at least {least} bytes and fewer than 2**31 granules, not {wanted} bytes."
            )

    @classmethod
    def attach(cls, buffer: Any, *, granule_log2: int = 4, size: int | None = None) -> Self:
        """The pool that is in a buffer already, damaged or not; it is not read or changed by this.

        Args:
            buffer: begins with the pool, at an address that is a multiple of 16.
            size: of the pool in bytes, that of the buffer if None.

        Raises:
            HeapwitnessError: no pool of that size can be there.
        """
        pool = cls.__new__(cls)
        pool._take(buffer, granule_log2)
        if pool.start:
            raise HeapwitnessError("the buffer's address is no multiple of 16: copy the pool into another buffer.")
        pool._bytes = pool._fitting(len(pool._room) if size is None else size)
        if pool._bytes < witness.CONTROL + witness.MIN_NODE + witness.END:
            raise HeapwitnessError(f"no pool fits into {pool._bytes} bytes.")
        return pool

    def _take(self, buffer: Any, granule_log2: int) -> None:
        if granule_log2 not in witness.GRANULE_LOG2:
            raise HeapwitnessError(f"granule_log2 is 3 or 4, not {granule_log2}.")
        try:
            room = memoryview(buffer).cast("B")
            anchor = (ctypes.c_char * len(room)).from_buffer(room)
        except (TypeError, ValueError, BufferError) as error:
            raise HeapwitnessError(f"a pool needs a writable, contiguous buffer: {error}.") from error
        address = ctypes.addressof(anchor)
        self.start = -address % _ALIGNMENT
        """Where in the buffer the pool begins, in bytes."""
        self.granule_log2 = granule_log2
        self._anchor = anchor
        self._address = address + self.start
        self._room = room[self.start :]

    def _fitting(self, size: int) -> int:
        if not 0 <= size <= len(self._room):
            raise HeapwitnessError(f"the buffer has {len(self._room)} bytes for the pool, not {size}.")
        return size & ~(_ALIGNMENT - 1)

    @property
    def memory(self) -> memoryview:
        """The pool's bytes; writing there is what damage is made of."""
        return self._room[: self._bytes]

    @property
    def address(self) -> int:
        """Where the pool lies in this process."""
        return self._address

    @property
    def size(self) -> int:
        """The pool's size in bytes, control block and end node included."""
        return self._bytes

    @property
    def first(self) -> int:
        """Offset of the first node."""
        return witness.CONTROL >> self.granule_log2

    @property
    def end(self) -> int:
        """Offset of the end node."""
        return (self._bytes - witness.END) >> self.granule_log2

    def allocate(self, size: int, *, align: int = 1, origin: Origin = Origin.MALLOC, site: int = 0) -> int | None:
        """Take a block of `size` bytes whose payload's address is a multiple of `align`, a power of two.

        Returns:
            the node, or None when no free node fits.

        Raises:
            Damaged: what had to be changed did not verify.
        """
        if align < 1 or align & (align - 1):
            raise ValueError(f"align is a power of two, not {align}")
        fault = _Fault()
        node = _core().hw_allocate(self._address, self._size(size), align, origin, site, fault)
        if node == 0 and fault.reason:
            raise Damaged(_fault(fault))
        return node or None

    def alloc(self, size: int, align: int = 1) -> PoolBlock:
        """Take a block as an object: for `with`, and for all that takes buffers (memoryview, NumPy, ctypes, cffi).

            with pool.alloc(1000, align=64) as block:
                numpy.frombuffer(block, dtype="f8")[:] = 1.5

        Args:
            size: in bytes.
            align: what its address is to be a multiple of, a power of two.

        Raises:
            MemoryError: no free node fits.
            Damaged: what had to be changed did not verify.
            HeapwitnessError: this Python has no GIL.
        """
        blocks = _make_blocks()(self._address, self.granule_log2, self._anchor, _failed)
        # From now on without the way through here.
        object.__setattr__(self, "alloc", blocks.alloc)
        block: PoolBlock = blocks.alloc(size, align)
        return block

    def stats(self) -> PoolStats:
        """What the pool has, in bytes; for a pool without faults."""
        used: list[int] = []
        free: list[int] = []
        for node in self.nodes():
            (free if node.state is State.FREE else used).append(node.requested)
        return PoolStats(sum(used), len(used), sum(free), len(free), max(free, default=0))

    def image(self) -> bytes:
        """A copy of the pool's bytes, as `heapwitness.examine` and `attach` take them."""
        return bytes(self.memory)

    def take(self, least: int, most: int) -> int | None:
        """Take the smallest free node with room for `least` bytes as a cached one: all of it, or its
        beginning where it has room for many more than `most`.

        Returns:
            the node, or None when no free node has that room.

        Raises:
            Damaged: what had to be changed did not verify.
        """
        fault = _Fault()
        node = _core().hw_take(self._address, self._size(least), self._size(most), fault)
        if node == 0 and fault.reason:
            raise Damaged(_fault(fault))
        return node or None

    def cut(self, node: int, size: int, *, origin: Origin = Origin.MALLOC, site: int = 0) -> bool:
        """Make a used node of `size` bytes of a cached one's first part; the rest goes on as a cached node.

        Returns:
            False when there would be no room for such a rest.

        Raises:
            Damaged, NoSuchNode: as `release`.
        """
        return self._done("hw_cut", node, self._size(size), origin, site)

    def release(self, node: int, *, site: int = 0) -> None:
        """Give a used or cached node back.

        Raises:
            Damaged: it, a neighbour, or its slack, links or poison did not verify.
            NoSuchNode: it is free already, or no node.
        """
        self._done("hw_release", node, site)

    def release_run(self, nodes: Sequence[int]) -> None:
        """Give cached nodes back that lie side by side, in order of address.

        Raises:
            Damaged: as `release`; no node was released.
            NoSuchNode: one is not cached, or does not lie behind the one before it.
        """
        run = (ctypes.c_uint32 * len(nodes))(*(self._node(node) for node in nodes))
        fault = _Fault()
        self._settle(_core().hw_release_run(self._address, run, len(nodes), fault), fault, nodes)

    def resize(self, node: int, size: int, *, site: int = 0) -> bool:
        """Change a used node's requested size in place; False when there is no room for that.

        Raises:
            Damaged, NoSuchNode: as `release`.
        """
        return self._done("hw_resize", node, self._size(size), site)

    def cache(self, node: int, *, poison: bool = False, site: int = 0) -> None:
        """Make a used node a cached one; with `poison` its payload is filled with the pattern.

        Raises:
            Damaged, NoSuchNode: as `release`.
        """
        self._done("hw_cache", node, site, poison)

    def uncache(self, node: int, size: int, *, origin: Origin = Origin.MALLOC, site: int = 0) -> bool:
        """Make a cached node a used one of `size` bytes; False when that does not need its size.

        Raises:
            Damaged, NoSuchNode: as `release`.
        """
        return self._done("hw_uncache", node, self._size(size), origin, site)

    def verify(self, node: int) -> Fault | None:
        """What is wrong with a node, its neighbours' headers, or its own slack, links or poison."""
        fault = _Fault()
        if _core().hw_verify(self._address, self._node(node), fault) == _Status.OK:
            return None
        return _fault(fault)

    def check(self, most: int = 4096) -> list[Fault]:
        """All that is wrong in the pool, in order of address, the control block first; at most `most`.

        When the control block's fixed part is damaged, the rest is looked at through its copy.
        """
        faults = (_Fault * most)()
        count = _core().hw_check(self._address, self._bytes, self.granule_log2, faults, most)
        return [_fault(fault) for fault in faults[:count]]

    def sound(self) -> bool:
        """Whether `check` would find nothing; faster where that is so."""
        return bool(_core().hw_sound(self._address, self._bytes, self.granule_log2))

    def sound_from(self, node: int) -> int | None:
        """Check a part of the pool, from a node on (0: the first one).

        Returns:
            the node to go on with, 0 behind the last; None where something is not as it should be.
        """
        at = ctypes.c_uint32(node)
        sound = _core().hw_sound_part(self._address, self._bytes, self.granule_log2, ctypes.byref(at))
        return at.value if sound else None

    def repair(self) -> Outcome:
        """Restore every damaged copy from its witness; quarantine what lost both.

        Raises:
            HeapwitnessError: the control block and its copy are both lost; nothing can be verified.
        """
        outcome = _Outcome()
        if not _core().hw_repair(self._address, self._bytes, self.granule_log2, outcome):
            raise HeapwitnessError("the pool's control block and its copy are both lost: it cannot be repaired.")
        return Outcome(**{name: getattr(outcome, name) for name in Outcome._fields})

    def extend(self, size: int) -> bool:
        """Let the pool grow to `size` bytes of its buffer; False when that is too little more.

        Raises:
            Damaged: what had to be changed did not verify.
            HeapwitnessError: the buffer is smaller.
        """
        size = self._fitting(size)
        fault = _Fault()
        status = _core().hw_pool_extend(self._address, size, fault)
        done = self._settle(status, fault, self.end)
        if done:
            self._bytes = size
        return done

    def nodes(self) -> Iterator[Node]:
        """The nodes from the first on, without the end node; it stops before a damaged own header."""
        at = _core().hw_next(self._address, 0)
        while at and (node := self.node(at)):
            yield node
            at = _core().hw_next(self._address, at)

    def node(self, offset: int) -> Node | None:
        """The node that stands at `offset` by its own header's word."""
        return self._header("hw_header_at", offset)

    def tombstone(self, offset: int) -> Node | None:
        """What was at `offset` before it was merged into the node before, if that can still be seen."""
        return self._header("hw_tombstone_at", offset)

    def locate(self, byte: int) -> int | None:
        """The node whose extent holds a byte of the pool; for a pool without faults."""
        return _core().hw_locate(self._address, self._size(byte)) or None

    def payload(self, node: int) -> memoryview:
        """The requested bytes of a node, writable.

        Raises:
            NoSuchNode: no node stands there.
        """
        found = self.node(node)
        if found is None:
            raise NoSuchNode(f"no node stands at {node}.")
        begin = (node << self.granule_log2) + witness.OVERHEAD
        return self.memory[begin : begin + found.requested]

    def _header(self, name: str, offset: int) -> Node | None:
        header = _Header()
        if not getattr(_core(), name)(self._address, self._node(offset), header):
            return None
        words = witness.NodeHeader(header.size, header.prev_size, header.meta, header.check)
        requested = (words.size << self.granule_log2) - witness.OVERHEAD - words.slack
        return Node(offset, words.size, words.prev_size, words.state, words.origin, words.site, words.slack, requested)

    def _done(self, name: str, node: int, *arguments: int) -> bool:
        """Whether an operation on a node was done; False for HW_NOMEM."""
        fault = _Fault()
        status = getattr(_core(), name)(self._address, self._node(node), *arguments, fault)
        return self._settle(status, fault, node)

    @staticmethod
    def _settle(status: int, fault: _Fault, node: object) -> bool:
        if status == _Status.DAMAGED:
            raise Damaged(_fault(fault))
        if status == _Status.REFUSED:
            raise NoSuchNode(f"the node at {node} is not in a state for that.")
        return status == _Status.OK

    def _node(self, node: int) -> int:
        if not self.first <= node < self.end:
            raise NoSuchNode(f"nodes lie from {self.first} to {self.end}, not at {node}.")
        return node

    @staticmethod
    def _size(size: int) -> int:
        if not 0 <= size < 1 << ctypes.sizeof(ctypes.c_size_t) * 8:
            raise ValueError(f"a size in bytes cannot be {size}")
        return size


def _fault(fault: _Fault) -> Fault:
    return Fault(Reason(fault.reason), fault.node, fault.low, fault.high)
