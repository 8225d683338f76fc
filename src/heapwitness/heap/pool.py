"""A pool of nodes seen from outside: where it lies, its key, and its bytes in bounds."""

from collections.abc import Iterator
from typing import Self

from heapwitness.errors import HeapwitnessError
from heapwitness.heap.area import NodeArea
from heapwitness.layout import witness
from heapwitness.layout.witness import Fixed, Links, NodeHeader
from heapwitness.memory import Memory, Unreadable

_KEY = 16
_CHECK = 4
"""Bytes of the links behind the word that tells of them."""
_POISONED_BEFORE = witness.POISONED_BEFORE.to_bytes(4, "little")


class LostPool(HeapwitnessError):
    """The control block and its copy are both lost, so nothing in the pool can be verified."""


class SeenPool(NodeArea):
    """A pool whose size and key are vouched for by its control block or by the copy of it; `WalkedPool` is one whose
    nodes can be walked, too.

    Attributes:
        control, copy: the fixed part and its witness as they are stored; empty where unreadable.
    """

    header_bytes = witness.HEADER
    kept_at = witness.KEPT
    overhead = witness.OVERHEAD
    merges = True
    hands_over_links = True
    is_last = True

    def __init__(self, memory: Memory, base: int, trusted: Fixed, control: bytes, copy: bytes) -> None:
        log2, size = trusted.log2, trusted.size
        super().__init__(
            memory,
            base,
            log2,
            size,
            first=witness.CONTROL >> log2,
            end=size - (witness.END >> log2),
            min_node=witness.MIN_NODE >> log2,
        )
        self.secret = trusted.secret
        self.trusted = trusted
        self.control = control
        self.copy = copy

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

    def own(self, node: int) -> NodeHeader:
        return NodeHeader.unpack(self.peek(node << self.log2, witness.HEADER))

    def kept(self, node: int) -> NodeHeader:
        return NodeHeader.unpack(self.peek((node << self.log2) + witness.KEPT, witness.HEADER))

    def links(self, node: int) -> Links:
        """The links at the start of a node's payload, as they are stored. Raises Unreadable."""
        return Links.unpack(self.peek((node << self.log2) + witness.OVERHEAD, witness.HEADER))

    def links_hold(self, node: int, links: Links) -> bool:
        """Whether the check of a node's links holds."""
        return witness.links_hold(self.secret, links, node)

    def pack(self, header: NodeHeader) -> bytes:
        return header.pack()

    def slack(self, node: int, header: NodeHeader) -> int:
        return header.slack

    def keeper(self, node: int, header: NodeHeader) -> int:
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

    def is_bound(self, node: int) -> bool:
        return node == self.end

    def backed_by_end(self, node: int) -> int | None:
        return self.first if node == self.end else None

    def told_header(self, node: int) -> NodeHeader | None:
        try:
            own = self.own(node)
        except Unreadable:
            return None
        return own if self.stands(node, own) else None

    def known_words(self, *, size: bool, prev_size: bool) -> bytes:
        return bytes([size] * 4 + [prev_size] * 4) + bytes(8)

    def low_bits(self, node: int, header: NodeHeader, bits: int) -> Iterator[int]:
        return witness.low_bits(self.secret, header, node, bits)

    def standing(self, node: int) -> bool:
        try:
            return self.first <= node <= self.end and self.stands(node, self.own(node))
        except Unreadable:
            return False

    def begin_before(self, node: int) -> int | None:
        return node if node != self.end and self.standing(node) else None

    def pattern(self, node: int) -> bytes:
        return witness.pattern(self.secret, node)

    def poison(self, node: int) -> bytes:
        try:
            left = self.peek(self.start(node), 4)
        except Unreadable:
            left = b""
        return self.pattern(node) if left == _POISONED_BEFORE else super().poison(node)

    def is_poisoned(self, links: bytes) -> bool:
        return any(links[:4])

    def handed_once(self, node: int) -> int | None:
        links = self.links(node)
        return links.right if links.parent == witness.PENDING_PARENT else None

    def waited(self, node: int, header: NodeHeader) -> bool:
        if not self.links_over_slack(header) or header.slack <= _CHECK:
            return False  # there it is the program's data, which may be anything
        # The last byte of that word is enough: no slack has such a one, and a write from the front leaves it for last.
        # But it may be the fill of an overflow into slack, which shows in the check behind it.
        links = self.links(node)
        slack = self.pattern(node)[4:]
        filled = all(have in (0xFF, want) for have, want in zip(links.check.to_bytes(4, "little"), slack, strict=True))
        return links.parent >> 24 == 0xFF and links.parent != witness.CACHED_PARENT and not filled

    def links_over_slack(self, header: NodeHeader) -> bool:
        return header.size == self.min_node

    def links_behind(self, at: int, word: int, value: int) -> int | None:
        node, rest = divmod(at - 8 - witness.OVERHEAD, 1 << self.log2)
        if word != value or rest or not self.first <= node < self.end:
            return None
        return node if self.links_hold(node, self.links(node)) else None

    def key_at(self, at: int) -> int | None:
        for stop in (witness.WITNESSED, self.length):
            if stop - _KEY <= at < stop:
                return self.trusted.pack()[at - stop + witness.WITNESSED]
        return None

    @property
    def control_end(self) -> int:
        return witness.CONTROL

    @property
    def copy_start(self) -> int:
        return self.length - witness.WITNESSED
