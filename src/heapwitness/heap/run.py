"""One run of nodes of one size, seen from outside: what describes it, and its nodes by arithmetic.

What describes a run lies apart from its nodes, in two copies. Where these do not agree, or make no sense, that one is
believed for which most of its headers stand; and none can lead out of the run.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from heapwitness.heap.pool import LostPool
from heapwitness.layout import runs
from heapwitness.layout.process import Region, RegionKind
from heapwitness.layout.runs import AsideWords, RunKey, RunShape, RunWords
from heapwitness.layout.witness import NodeHeader, Origin, State, meta
from heapwitness.memory import Memory, Unreadable

QUARANTINED = meta(0, State.USED, Origin.MALLOC, 0xFFFFFF)


@dataclass(frozen=True, slots=True)
class RunView:
    """A run whose shape is vouched for by the headers that it begins and ends with.

    Attributes:
        base: its address.
        words, aside: what describes it, as it is stored; None where that cannot be read.
        handed: address of its array of nodes that other threads released; 0 for none, or where it is not known.
    """

    memory: Memory
    base: int
    key: RunKey
    shape: RunShape
    words: RunWords | None
    aside: AsideWords | None
    described_at: int
    handed: int = 0

    @property
    def is_described(self) -> bool:
        """Whether both copies of what describes it are there and as they should be."""
        words, aside, shape = self.words, self.aside, self.shape
        return (
            words is not None
            and aside is not None
            and _shape_of(words) == shape == _shape_of(aside)
            and (words.base, words.stride, words.capacity) == (self.base, shape.stride, shape.capacity)
            and self.is_bound_to_copy
            and not any(aside.zero)
        )

    @property
    def is_bound_to_copy(self) -> bool:
        """Whether what describes it says where it lies, and where the second copy does."""
        words = self.words
        return words is not None and words.where == runs.where_of(words.base, words.aside)

    @property
    def is_small(self) -> bool:
        """Whether its slack stands in the headers."""
        return self.shape.run_class < runs.SMALL

    def place(self, node: int) -> int:
        """What stands for a node's address in what is keyed."""
        return runs.place_of(self.key, self.shape.salt, self.base + (node << runs.GRANULE_LOG2))

    def is_bound(self, node: int) -> bool:
        """The sentinel, or the END."""
        return node in (0, self.shape.end)

    def next(self, node: int) -> int:
        """The header behind a node's; behind the END there is none."""
        return runs.FIRST if node == 0 else node + self.shape.granules

    def keeper(self, node: int) -> int:
        """The node that keeps this one's backup."""
        if node == 0:
            return self.shape.end
        return 0 if node == runs.FIRST else node - self.shape.granules

    def sizes(self, node: int) -> tuple[int, int]:
        """Of a node and of the one before, in granules; an END's goes to the run's end, and before the sentinel
        there is nothing."""
        granules = self.shape.granules
        size = 1 if node == 0 else runs.GRANULES - node if node == self.shape.end else granules
        return size, 0 if node == 0 else 1 if node == runs.FIRST else granules

    def header(self, node: int, data: bytes) -> NodeHeader:
        """A header of this node's, as it is stored."""
        return runs.unpack_header(data, *self.sizes(node))

    def bound_header(self, node: int) -> NodeHeader:
        """The header of the sentinel or the END, which is known from its place."""
        return runs.sealed(self.key, self.place(node), runs.END_META, *self.sizes(node))

    def holds(self, node: int, header: NodeHeader) -> bool:
        """The check holds, and it is a header that a node can have there."""
        if self.is_bound(node):
            return header == self.bound_header(node)
        return (
            self.shape.is_node(node)
            and header.state is not State.END
            and header.check == runs.keyed(self.key, self.place(node), header.meta)
            and (header.size, header.prev_size) == self.sizes(node)
        )

    def slack(self, node: int, header: NodeHeader) -> int | None:
        """Bytes behind what was requested; None where what tells of it is lost or not there."""
        if self.is_bound(node) or header.quarantined:
            return 0
        if self.is_small:
            return header.slack
        if self.aside is None:
            return None
        entry = self.aside.slack[self.shape.number(node) % runs.MIDS]
        return runs.entry_slack(self.place(node), header.slack, entry, self.shape.run_class)

    def handed_site(self, node: int) -> int | None:
        """The site at which another thread released a node; None for no such one. Raises Unreadable."""
        if not self.handed:
            return None
        at = self.handed + self.shape.number(node) * runs.HANDED_WORDS.size
        return runs.handed_site(*runs.HANDED_WORDS.unpack(self.memory.read(at, runs.HANDED_WORDS.size)))


def open_run(memory: Memory, base: int, described_at: int, key: RunKey, handed: int = 0) -> RunView:
    """The run at an address.

    Args:
        described_at: address of its `hw_run`.
        handed: address of its array of nodes that other threads released, 0 for none.

    Raises:
        LostPool: nothing describes it for which its nodes stand.
    """
    words = _read_words(memory, described_at)
    aside = _read_aside(memory, words.aside) if words is not None else None
    shapes = [_shape_of(one) for one in (words, aside) if one is not None]
    if base % runs.BYTES == 0 and (words is None or words.stride):
        views = [RunView(memory, base, key, one, words, aside, described_at, handed) for one in _variants(shapes)]
        if views and views[0].is_described:
            return views[0]
        # Where the two copies do not agree, the headers tell.
        best = max(((_balance(view), view) for view in views), key=lambda pair: pair[0], default=None)
        if best is not None and best[0] > 0:
            return best[1]
    raise LostPool(
        f"what describes the blocks at {base:#x}, and the copy of it, are both lost: nothing can be verified."
    )


def runs_of(memory: Memory, region: Region, numbers: Iterable[int] | None = None) -> Iterable[RunView]:
    """The runs of a region that are in use and can be read."""
    for number in range(region.runs) if numbers is None else numbers:
        view = run_of(memory, region, number)
        if view is not None:
            yield view


def run_of(memory: Memory, region: Region, number: int) -> RunView | None:
    """A run of a region by its number; None for one that is not in use, or cannot be read."""
    if region.kind is not RegionKind.RUNS or region.key is None or not 0 <= number < region.runs:
        return None
    handed = region.handed + number * runs.HANDED_BYTES if region.handed else 0
    try:
        base = region.base + number * runs.BYTES
        return open_run(memory, base, region.run_table(number), region.key, handed)
    except (LostPool, Unreadable):
        return None


def _read_words(memory: Memory, address: int) -> RunWords | None:
    try:
        return RunWords.unpack(memory.read(address, runs.RUN_WORDS.size))
    except Unreadable:
        return None


def _read_aside(memory: Memory, address: int) -> AsideWords | None:
    try:
        return AsideWords.unpack(memory.read(address, runs.ASIDE_WORDS.size))
    except Unreadable:
        return None


def _shape_of(words: RunWords | AsideWords) -> RunShape:
    return RunShape(words.salt, words.run_class, words.formatted)


def _variants(shapes: list[RunShape]) -> list[RunShape]:
    """Possible shapes, the stored ones first; each word may be right in one copy alone."""
    mixed = (
        RunShape(salt.salt, kind.run_class, nodes.formatted) for nodes in shapes for kind in shapes for salt in shapes
    )
    return [one for one in dict.fromkeys(mixed) if one.is_possible]


def _balance(view: RunView) -> int:
    """How many headers more have a copy that holds than have none."""
    nodes = [0, *range(runs.FIRST, view.shape.end + 1, view.shape.granules)]
    try:
        data = view.memory.read(view.base, runs.BYTES)
    except Unreadable:
        return 0
    return sum(1 if _holds_in(view, node, data) else -1 for node in nodes)


def _holds_in(view: RunView, node: int, data: bytes) -> bool:
    places = (node << runs.GRANULE_LOG2, (view.keeper(node) << runs.GRANULE_LOG2) + runs.KEPT)
    return any(view.holds(node, view.header(node, data[at : at + runs.HEADER])) for at in places)
