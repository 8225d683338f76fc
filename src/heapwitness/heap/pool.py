"""A pool of nodes seen from outside: where it lies, its key, and its bytes in bounds.

Offsets of nodes are in granules, `read` takes bytes; both count from the pool's start. A view is made
for one look at a pool: what it has read it does not read again.
"""

from typing import Self

from heapwitness.errors import HeapwitnessError
from heapwitness.layout import witness
from heapwitness.layout.witness import Fixed, Links, NodeHeader
from heapwitness.memory import Memory, Unreadable

_CHUNK = 64 << 10
_LEAST = 256
_SEARCH_BUDGET = 64 << 20
_RECOVERY_BUDGET = 8


class LostPool(HeapwitnessError):
    """The control block and its copy are both lost, so nothing in the pool can be verified."""


class WalkedPool:
    """A pool whose size and key are vouched for by its control block or by the copy of it.

    Attributes:
        base: address of the pool.
        log2: of the granule.
        size, first, end, min_node: in granules; `first` and `end` are offsets of nodes.
        control, copy: the fixed part and its witness as they are stored; empty where unreadable.
        search_budget: how many bytes may still be searched for nodes behind damage.
        recovery_budget: how many lost headers may still be pieced together; one takes up to 0.1 s.
    """

    def __init__(self, memory: Memory, base: int, trusted: Fixed, control: bytes, copy: bytes) -> None:
        self.memory = memory
        self.base = base
        self.log2 = trusted.log2
        self.size = trusted.size
        self.secret = trusted.secret
        self.trusted = trusted
        self.control = control
        self.copy = copy
        self.first = witness.CONTROL >> self.log2
        self.end = self.size - (witness.END >> self.log2)
        self.min_node = witness.MIN_NODE >> self.log2
        self.search_budget = _SEARCH_BUDGET
        self.recovery_budget = _RECOVERY_BUDGET
        self._chunk = b""
        self._chunk_at = 0
        self._ahead = _CHUNK
        self._hits = 3

    @classmethod
    def open(cls, memory: Memory, base: int, size: int | None = None) -> Self:
        """The pool at `base`.

        Args:
            size: in bytes, where it is known from elsewhere; then the copy can stand for a lost
                control block, and a control block of another size is not believed.

        Raises:
            LostPool: no control block that verifies.
            Unreadable: neither the control block nor its copy can be read.
        """
        try:
            control = memory.read(base, witness.WITNESSED)
        except Unreadable:
            if size is None:
                raise
            control = b""
        fixed = Fixed.unpack(control) if control else None
        trusted = fixed if fixed and fixed.holds() and size in (None, fixed.size << fixed.log2) else None
        if trusted:
            size = trusted.size << trusted.log2
        copy = b""
        if size is not None and size >= witness.CONTROL + witness.MIN_NODE + witness.END:
            try:
                copy = memory.read(base + size - witness.WITNESSED, witness.WITNESSED)
            except Unreadable:
                copy = b""
        if trusted is None and copy:
            fixed = Fixed.unpack(copy)
            trusted = fixed if fixed.holds() and fixed.size << fixed.log2 == size else None
        if trusted is None:
            raise LostPool(
                f"the control block of the pool at {base:#x} and its copy are both lost: nothing in it can be verified."
            )
        return cls(memory, base, trusted, control, copy)

    @property
    def length(self) -> int:
        """The pool's size in bytes."""
        return self.size << self.log2

    def read(self, at: int, length: int) -> bytes:
        """`length` bytes from byte `at` of the pool on.

        Raises:
            Unreadable: they are not all inside of the pool, or not all there.
        """
        start = at - self._chunk_at
        if start >= 0 and start + length <= len(self._chunk):
            self._hits += 1
            return self._chunk[start : start + length]
        if length > _CHUNK or at < 0 or length < 0 or at + length > self.length:
            return self.peek(at, length)
        # Where nodes are larger than what is read ahead, that is of no use.
        self._ahead = min(_CHUNK, 4 * self._ahead) if self._hits > 2 else max(_LEAST, self._ahead // 4)
        self._hits = 0
        want = min(max(length, self._ahead), self.length - at)
        try:
            data = self.memory.read(self.base + at, want)
        except Unreadable:
            return self.memory.read(self.base + at, length)
        self._chunk, self._chunk_at = data, at
        return data[:length]

    def peek(self, at: int, length: int) -> bytes:
        """As `read`, for a place that is not the next one of a walk: nothing around it is read."""
        start = at - self._chunk_at
        if start >= 0 and start + length <= len(self._chunk):
            return self._chunk[start : start + length]
        if at < 0 or length < 0 or at + length > self.length:
            raise Unreadable(self.base + at, length, "outside of the pool")
        return self.memory.read(self.base + at, length)

    def own(self, node: int) -> NodeHeader:
        """A node's own header as it is stored. Raises Unreadable."""
        return NodeHeader.unpack(self.peek(node << self.log2, witness.HEADER))

    def kept(self, node: int) -> NodeHeader:
        """The backup of the next node's header that `node` keeps, as it is stored. Raises Unreadable."""
        return NodeHeader.unpack(self.peek((node << self.log2) + witness.KEPT, witness.HEADER))

    def links(self, node: int) -> Links:
        """The links at the start of a node's payload, as they are stored. Raises Unreadable."""
        return Links.unpack(self.peek((node << self.log2) + witness.OVERHEAD, witness.HEADER))

    def links_hold(self, node: int, links: Links) -> bool:
        """Whether the check of a node's links holds."""
        return witness.links_hold(self.secret, links, node)

    def payload(self, node: int) -> int:
        """The address of a node's payload."""
        return self.base + (node << self.log2) + witness.OVERHEAD

    def requested(self, header: NodeHeader) -> int:
        """The requested size in bytes of a node with this header."""
        return (header.size << self.log2) - witness.OVERHEAD - header.slack

    def keeper(self, node: int, header: NodeHeader) -> int:
        """The node that keeps this node's backup."""
        return node - header.prev_size if header.prev_size else self.end

    def holds(self, node: int, header: NodeHeader) -> bool:
        """The check holds, and the sizes stay inside of the pool."""
        size, prev_size, meta, check = header
        return (
            check == witness.keyed(self.secret, size, prev_size, meta, node)
            and size <= self.size - node
            and prev_size <= node
        )

    def stands(self, node: int, header: NodeHeader) -> bool:
        """The header holds and is one that a node at this place can have, whatever is around it."""
        size, prev_size, meta, _ = header
        if node == self.end:
            return prev_size >= self.min_node and meta >> 4 & 3 == witness.State.END and self.holds(node, header)
        behind = self.end - node - size
        return (
            self.first <= node < self.end
            and size >= self.min_node
            # What is left behind it is nothing, or room for a node.
            and (behind == 0 or behind >= self.min_node)
            and meta >> 4 & 3 != witness.State.END
            and (prev_size == 0) == (node == self.first)
            and self.holds(node, header)
        )
