"""What all memory with nodes has in common, seen from outside: a pool, or runs of nodes of one size.

Offsets of nodes are in granules, `read` takes bytes; both count from the area's start. A view is made for one look at
an area: what it has read it does not read again.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import ClassVar, NamedTuple

from heapwitness.layout.witness import NodeHeader, pattern_at, poison
from heapwitness.memory import Memory, Unreadable

_CHUNK = 64 << 10
_LEAST = 256
_SEARCH_BUDGET = 64 << 20
_RECOVERY_BUDGET = 8


class PoolNode(NamedTuple):
    """One step of a walk. `offset` and `keeper` (the node that keeps the backup) are in granules.

    `header` is the one to believe. Where both copies are lost (`lost`), it is made up: in a pool it reaches to
    the next node that holds, and whatever was there in between is not known.
    """

    offset: int
    keeper: int
    header: NodeHeader
    own: NodeHeader
    kept: NodeHeader
    own_holds: bool
    kept_holds: bool
    lost: bool

    @property
    def next(self) -> int:
        """Offset of the node behind this one."""
        return self.offset + self.header.size

    @property
    def intact(self) -> bool:
        return self.own_holds and self.kept_holds


class NodeArea(ABC):
    """Memory with nodes, whose size and key are vouched for.

    Attributes:
        base: address of the area.
        log2: of the granule.
        size, first, end, min_node: in granules; `first` and `end` are offsets of nodes.
        search_budget: how many bytes may still be searched for nodes behind damage.
        recovery_budget: how many lost headers may still be pieced together; one takes up to 0.1 s.
    """

    header_bytes: ClassVar[int]
    """Of one copy of a header."""
    kept_at: ClassVar[int]
    """Where in a node the backup of the next header lies."""
    overhead: ClassVar[int]
    """Of a node: where its payload begins."""
    links_bytes: ClassVar[int] = 16
    merges: ClassVar[bool]
    """Whether free neighbours become one node, and leave tombstones."""
    hands_over_links: ClassVar[bool]
    """Whether a thread that releases another one's node writes links into it."""
    is_last: ClassVar[bool]
    """Whether nothing but an overflow writes to the memory behind it."""

    shift: int = 0
    """What an event's offset is in the area of its pool or run."""

    def __init__(self, memory: Memory, base: int, log2: int, size: int, first: int, end: int, min_node: int) -> None:
        self.memory = memory
        self.base = base
        self.log2 = log2
        self.size = size
        self.first = first
        self.end = end
        self.min_node = min_node
        self.search_budget = _SEARCH_BUDGET
        self.recovery_budget = _RECOVERY_BUDGET
        self._chunk = b""
        self._chunk_at = 0
        self._ahead = _CHUNK
        self._hits = 3

    @property
    def length(self) -> int:
        """The area's size in bytes."""
        return self.size << self.log2

    def read(self, at: int, length: int) -> bytes:
        """`length` bytes from byte `at` of the area on.

        Raises:
            Unreadable: they are not all inside of the area, or not all there.
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
            raise Unreadable(self.base + at, length, "outside of the heap's memory")
        return self.memory.read(self.base + at, length)

    def start(self, node: int) -> int:
        """Where a node's payload begins, in bytes from the area's start."""
        return (node << self.log2) + self.overhead

    def payload(self, node: int) -> int:
        """The address of a node's payload."""
        return self.base + self.start(node)

    def end_of(self, node: int, header: NodeHeader) -> int:
        """The end of what was requested of a node with this header, in bytes from the area's start."""
        return ((node + header.size) << self.log2) - self.slack(node, header)

    def requested(self, node: int, header: NodeHeader) -> int:
        """The requested size in bytes of a node with this header."""
        return (header.size << self.log2) - self.overhead - self.slack(node, header)

    # --- headers

    @abstractmethod
    def own(self, node: int) -> NodeHeader:
        """A node's own header as it is stored. Raises Unreadable."""

    @abstractmethod
    def kept(self, node: int) -> NodeHeader:
        """The backup of the next node's header that `node` keeps, as it is stored. Raises Unreadable."""

    @abstractmethod
    def pack(self, header: NodeHeader) -> bytes:
        """A header as it is stored."""

    @abstractmethod
    def slack(self, node: int, header: NodeHeader) -> int:
        """Bytes between what was requested of a node with this header, and the node's end."""

    def is_slack_known(self, node: int, header: NodeHeader) -> bool:
        """Whether what tells how much of that there is can be believed as the header can."""
        return True

    @abstractmethod
    def keeper(self, node: int, header: NodeHeader) -> int:
        """The node that keeps this node's backup."""

    @abstractmethod
    def stands(self, node: int, header: NodeHeader) -> bool:
        """The header holds and is one that a node at this place can have, whatever is around it."""

    @abstractmethod
    def is_bound(self, node: int) -> bool:
        """Whether a node has no block: the end node, or what a run begins and ends with."""

    def may_be_victim(self, node: int) -> bool:
        """Whether a node means something to a reader who is told that its header was hit."""
        return True

    @abstractmethod
    def backed_by_end(self, node: int) -> int | None:
        """Of an end node: the node whose backup it keeps; None for other nodes."""

    @abstractmethod
    def told_header(self, node: int) -> NodeHeader | None:
        """The header of a node whose backup an end node keeps, as far as it is known without that."""

    @abstractmethod
    def known_words(self, *, size: bool, prev_size: bool) -> bytes:
        """Of a header whose two copies are lost: 1 for each byte that is known when these sizes are, else 0."""

    @abstractmethod
    def low_bits(self, node: int, header: NodeHeader, bits: int) -> Iterator[int]:
        """The low `bits` of `meta`, of which the header has none, with which its check holds."""

    def with_check(self, node: int, header: NodeHeader) -> NodeHeader | None:
        """The header with the check that holds, where most of that is left; None where too little is, or it is not
        looked for."""
        return None

    # --- nodes

    @abstractmethod
    def walk(self, start: int | None = None, known: int = -1) -> Iterator[PoolNode]:
        """The nodes in order of address, from one that stands or the first on.

        Args:
            known: a node said to stand behind damage.

        Raises:
            Unreadable: the memory ends before the area does.
        """

    @abstractmethod
    def standing(self, node: int) -> bool:
        """Whether a node stands at this offset by its own header alone."""

    @abstractmethod
    def begin_before(self, node: int) -> int | None:
        """Where to begin a walk to see what is before damage whose last good node is this one; None for the first node,
        from which all have to be passed."""

    def node_before(self, node: int) -> int:
        """The last block's node before an end node, where that is known by its place; else the node itself."""
        return node

    def at(self, byte: int) -> int | None:
        """The node that holds a byte, where that is known by its place alone; else None."""
        return None

    # --- what is in a payload

    @abstractmethod
    def pattern(self, node: int) -> bytes:
        """The eight bytes of a node's slack."""

    def poison(self, node: int) -> bytes:
        """The eight bytes of a node's poison."""
        return poison(self.pattern(node))

    @abstractmethod
    def links_before(self, node: int, header: NodeHeader) -> tuple[bytes, bytes] | None:
        """What the links of a released node were before something was written over them, and 1 for each byte of that
        which is known; None when nothing can be told."""

    @abstractmethod
    def is_poisoned(self, links: bytes) -> bool:
        """Whether a cached node with these links was filled with poison."""

    @abstractmethod
    def handed(self, node: int, header: NodeHeader) -> int | None:
        """The site at which another thread released a used node that waits for its owner; None for no such node.

        Raises:
            Unreadable: where that stands is not there.
        """

    def handed_once(self, node: int) -> int | None:
        """The same from what is left where it stood; nothing vouches for it."""
        return None

    def waited(self, node: int, header: NodeHeader) -> bool:
        """Whether what is left in a used node's payload shows that another thread had released it."""
        return False

    def links_over_slack(self, header: NodeHeader) -> bool:
        """Whether the links of a node of this size lie where its slack is."""
        return False

    def poison_range(self, node: int, header: NodeHeader) -> tuple[int, int]:
        """First and past-the-last byte of a cached node's poison, from the area's start."""
        start = self.start(node) + self.links_bytes
        return start, max(start, (node + header.size) << self.log2)

    def slack_pattern(self, node: int, header: NodeHeader) -> tuple[int, bytes]:
        """Where a node's slack begins, in bytes from the area's start, and what it should hold."""
        start = self.end_of(node, header)
        return start, pattern_at(self.pattern(node), start - self.start(node), self.slack(node, header))

    def poison_holds(self, node: int, header: NodeHeader) -> bool:
        """Whether all of a cached node's poison is as it was written."""
        start, end = self.poison_range(node, header)
        # Poison begins at payload byte 16, so the pattern is not turned.
        expected = self.poison(node) * (_CHUNK // 8)
        return all(
            self.read(at, min(_CHUNK, end - at)) == expected[: min(_CHUNK, end - at)]
            for at in range(start, end, _CHUNK)
        )

    @abstractmethod
    def links_behind(self, at: int, word: int, value: int) -> int | None:
        """The released node of whose links the word at byte `at` is one, and made this value; None for none.

        Raises:
            Unreadable: what is around there is not there.
        """

    # --- what is around the nodes

    def tail(self, node: int) -> tuple[int, bytes] | None:
        """Where the bytes begin behind an end node that are watched, and what they should be."""
        return None

    def key_at(self, at: int) -> int | None:
        """The byte of the key that lies at a byte of the area, where one does; no report gives it away."""
        return None

    def follows_others(self, node: int) -> bool:
        """Whether what lies right before a node is other memory with nodes, or may be: it is what a run begins with."""
        return False

    def last_before(self, node: int) -> PoolNode | None:
        """The node of the block that ends right before what a run begins with; None where none is known to."""
        return None

    @property
    def first_byte(self) -> int:
        """Where the nodes begin, in bytes; what is before that is another run's, or a control block."""
        return self.first << self.log2

    @property
    def control_end(self) -> int:
        """The end of the control block, in bytes; 0 for none."""
        return 0

    @property
    def copy_start(self) -> int:
        """Where its copy begins; the area's end for none."""
        return self.length
