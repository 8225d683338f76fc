"""A run and those right before and behind it as one area: what is written over a run's end goes on in the next.

Each run has GRANULES granules of it, so a node's offset in the area tells the run. The headers that a run begins and
ends with are nodes, too, without a block: the sentinel, and the END, which reaches to the run's end.
"""

from collections.abc import Iterator, Sequence

from heapwitness.heap.area import NodeArea, PoolNode
from heapwitness.heap.pool import LostPool
from heapwitness.heap.run import QUARANTINED, RunView, open_run, run_of
from heapwitness.heap.walked_pool import WalkedPool
from heapwitness.layout import runs
from heapwitness.layout.process import Process, Region, RegionKind, read_regions, region_at
from heapwitness.layout.runs import RunLinks
from heapwitness.layout.witness import NodeHeader, State, pattern_at
from heapwitness.memory import Memory, Unreadable

_LEFT_OF_CHECK = 3
"""So many bytes of a check that are left, in a row from one of its ends, show that a header is the one."""

_FIELD = 4096
"""Fields of objects are no farther from their start."""


class WalkedRuns(NodeArea):
    """Runs that lie one behind the other; `run` is the one that was asked for, `first` and `end` are its own.

    `is_alone`: no other run lies right before it, as far as can be known.
    """

    header_bytes = runs.HEADER
    kept_at = runs.KEPT
    overhead = runs.OVERHEAD
    links_bytes = runs.LINKS
    merges = False
    hands_over_links = False
    is_last = False

    def __init__(self, memory: Memory, views: Sequence[RunView], number: int, *, is_alone: bool = False) -> None:
        self.runs = tuple(views)
        self.run = views[number]
        self.shift = number * runs.GRANULES
        self.is_alone = is_alone
        super().__init__(
            memory,
            views[0].base,
            runs.GRANULE_LOG2,
            len(views) * runs.GRANULES,
            first=self.shift + runs.FIRST,
            end=self.shift + self.run.shape.end,
            min_node=self.run.shape.granules,
        )

    @classmethod
    def open(cls, memory: Memory, process: Process, base: int, described_at: int) -> "WalkedRuns":
        """The run at `base`, and those beside it as far as they can be read.

        Args:
            described_at: address of its `hw_run`.

        Raises:
            LostPool: nothing vouches for what describes it.
        """
        if process.key is None:
            raise LostPool(f"the process has no key for the blocks at {base:#x}: nothing can be verified.")
        region = region_at(read_regions(memory, process), base)
        if region is None or region.kind is not RegionKind.RUNS or (base - region.base) % runs.BYTES:
            return cls(memory, (open_run(memory, base, described_at, process.key),), 0)
        number = (base - region.base) >> runs.LOG2
        handed = region.handed + number * runs.HANDED_BYTES if region.handed else 0
        run = open_run(memory, base, described_at, process.key, handed)
        before, behind = run_of(memory, region, number - 1), run_of(memory, region, number + 1)
        views = [one for one in (before, run, behind) if one is not None]
        return cls(memory, views, views.index(run), is_alone=number == 0)

    @classmethod
    def at_address(cls, memory: Memory, region: Region, address: int) -> "WalkedRuns":
        """The one run of a region of runs that an address lies in.

        Raises:
            LostPool: it is not in use, or nothing vouches for what describes it.
        """
        run = run_of(memory, region, (address - region.base) >> runs.LOG2)
        if run is None:
            raise LostPool(f"there are no blocks at {address:#x} that can be verified.")
        return cls(memory, (run,), 0)

    def split(self, node: int) -> tuple[RunView, int]:
        """The run that holds a node, and the node's offset in that."""
        # Where an event leads out of its run nothing stands.
        number = min(node // runs.GRANULES, len(self.runs) - 1)
        return self.runs[number], node - number * runs.GRANULES

    def _shifted(self, node: int, local: int) -> int:
        return min(node // runs.GRANULES, len(self.runs) - 1) * runs.GRANULES + local

    # --- headers

    def own(self, node: int) -> NodeHeader:
        view, local = self.split(node)
        return view.header(local, self.peek(node << self.log2, self.header_bytes))

    def kept(self, node: int) -> NodeHeader:
        view, local = self.split(node)
        backed = 0 if local == view.shape.end else view.next(local)
        return view.header(backed, self.peek((node << self.log2) + self.kept_at, self.header_bytes))

    def pack(self, header: NodeHeader) -> bytes:
        return runs.pack_header(header)

    def slack(self, node: int, header: NodeHeader) -> int:
        view, local = self.split(node)
        slack = view.slack(local, header)
        return slack if slack is not None else self._left_of_slack(node, header)

    def is_slack_known(self, node: int, header: NodeHeader) -> bool:
        """Whether what tells a node's requested size is there, and its check holds."""
        view, local = self.split(node)
        return view.slack(local, header) is not None

    def _left_of_slack(self, node: int, header: NodeHeader) -> int:
        """Of a node whose entry is lost: so many bytes at its end hold its pattern, by steps of what
        its header has no room for."""
        view, _ = self.split(node)
        end, step, eight = (node + header.size) << self.log2, 16, self.pattern(node)
        slack, limit = header.slack, runs.slack_limit(view.shape.run_class)
        try:
            while slack + step < limit and self.peek(end - slack - step, step) == pattern_at(eight, -slack, step):
                slack += step
        except Unreadable:
            return slack
        return slack

    def stands(self, node: int, header: NodeHeader) -> bool:
        view, local = self.split(node)
        return view.holds(local, header)

    def keeper(self, node: int, header: NodeHeader) -> int:
        view, local = self.split(node)
        return self._shifted(node, view.keeper(local))

    def is_bound(self, node: int) -> bool:
        view, local = self.split(node)
        return view.is_bound(local)

    def may_be_victim(self, node: int) -> bool:
        return not self.is_bound(node)

    def backed_by_end(self, node: int) -> int | None:
        view, local = self.split(node)
        return self._shifted(node, 0) if local == view.shape.end else None

    def told_header(self, node: int) -> NodeHeader | None:
        view, local = self.split(node)
        return view.bound_header(local)

    def known_words(self, *, size: bool, prev_size: bool) -> bytes:
        return bytes(self.header_bytes)

    def low_bits(self, node: int, header: NodeHeader, bits: int) -> Iterator[int]:
        view, local = self.split(node)
        return runs.low_bits(view.key, view.place(local), header, bits)

    def with_check(self, node: int, header: NodeHeader) -> NodeHeader | None:
        view, local = self.split(node)
        if header.state is State.END:
            return None
        whole = header._replace(check=runs.keyed(view.key, view.place(local), header.meta))
        have, want = (one.check.to_bytes(4, "little") for one in (header, whole))
        left = have[:_LEFT_OF_CHECK] == want[:_LEFT_OF_CHECK] or have[-_LEFT_OF_CHECK:] == want[-_LEFT_OF_CHECK:]
        return whole if left else None

    # --- nodes

    def walk(self, start: int | None = None, known: int = -1) -> Iterator[PoolNode]:
        node = self.shift if start is None else start
        while node < self.size:
            step = self.look(node)
            yield step
            node = step.next

    def look(self, node: int) -> PoolNode:
        """What to believe of the node at a place where there is one. Raises Unreadable."""
        view, local = self.split(node)
        keeper = self._shifted(node, view.keeper(local))
        own = view.header(local, self.read(node << self.log2, self.header_bytes))
        kept = view.header(local, self.peek((keeper << self.log2) + self.kept_at, self.header_bytes))
        own_holds = view.holds(local, own)
        kept_holds = own == kept if own_holds else view.holds(local, kept)
        lost = not own_holds and not kept_holds
        header = own if own_holds else kept
        if lost:
            header = NodeHeader(*view.sizes(local), QUARANTINED, 0)
        if view.is_bound(local):
            header, lost = view.bound_header(local), False
        return PoolNode(node, keeper, header, own, kept, own_holds, kept_holds, lost)

    def standing(self, node: int) -> bool:
        try:
            return 0 <= node < self.size and self.stands(node, self.own(node))
        except Unreadable:
            return False

    def begin_before(self, node: int) -> int:
        # What was written over the end of the run before is of its last block.
        if node == self.end:
            return self.node_before(self.shift) if self.shift else self.shift
        return self.at(node << self.log2)

    def node_before(self, node: int) -> int:
        """The last block's node before one, for a run's first in the run before; the sentinel where there is none."""
        view, local = self.split(node)
        if local > runs.FIRST:
            return self._shifted(node, view.keeper(local))
        if node < runs.GRANULES:
            return node - local
        end = node - local - runs.GRANULES + self.runs[(node // runs.GRANULES) - 1].shape.end
        before, place = self.split(end)
        return self._shifted(end, before.keeper(place))

    def at(self, byte: int) -> int:
        granule = max(0, byte) >> self.log2
        view, local = self.split(granule)
        return self._shifted(granule, view.shape.locate(local << self.log2))

    # --- what is in a payload

    def pattern(self, node: int) -> bytes:
        view, local = self.split(node)
        return runs.pattern(view.place(local))

    def links(self, node: int) -> RunLinks:
        """The links at the start of a node's payload, as they are stored. Raises Unreadable."""
        return RunLinks.unpack(self.peek(self.start(node), self.links_bytes))

    def links_hold(self, node: int, header: NodeHeader, links: RunLinks) -> bool:
        """Whether a released node's links are as they were written."""
        view, local = self.split(node)
        return runs.links_hold(view.key, view.place(local), header.state, links)

    def links_before(self, node: int, header: NodeHeader) -> tuple[bytes, bytes] | None:
        view, local = self.split(node)
        place, known = view.place(local), b"\1" * self.links_bytes
        if header.state is State.CACHED:
            return runs.held_links(view.key, place).pack(), known
        if header.state is not State.FREE:
            return None
        following = self._next_before(node)
        if following is not None:
            return runs.free_links(view.key, place, following).pack(), known
        known = b"\0\0" + known[2:8] + b"\0" * 4 + known[12:]
        return runs.free_links(view.key, place, 0).pack(), known

    def _next_before(self, node: int) -> int | None:
        """What a free node named as the next one: by the word of its links that is left, else as the one that no other
        names."""
        view, local = self.split(node)
        place, stored = view.place(local), self.links(node)
        possible: tuple[int, ...] = (0, *range(runs.FIRST, view.shape.end, view.shape.granules))
        for one in possible:
            if runs.free_links(view.key, place, one).second == stored.second:
                return one
        unnamed = self._unnamed(node - local)
        if local in unnamed:
            return unnamed[local]
        is_whole = stored.first == runs.free_links(view.key, place, stored.next).first
        return stored.next if is_whole and stored.next in possible else None

    def _unnamed(self, run_start: int) -> dict[int, int]:
        """Of the one free node whose links are not whole: which one it named, by those that the others name."""
        view, _ = self.split(run_start)
        if view.words is None:
            return {}
        free: set[int] = set()
        broken: list[int] = []
        named = {view.words.head}
        try:
            for step in self.walk(run_start):
                if step.offset - run_start >= view.shape.end:
                    break
                if step.lost:
                    return {}
                if step.header.state is not State.FREE:
                    continue
                free.add(step.offset - run_start)
                links = self.links(step.offset)
                if self.links_hold(step.offset, step.header, links):
                    named.add(links.next)
                else:
                    broken.append(step.offset - run_start)
        except Unreadable:
            return {}
        left = free - named
        return {broken[0]: next(iter(left), 0)} if len(broken) == 1 and len(left) <= 1 else {}

    def is_poisoned(self, links: bytes) -> bool:
        return True

    def handed(self, node: int, header: NodeHeader) -> int | None:
        if header.state is not State.USED or header.quarantined:
            return None
        view, local = self.split(node)
        return view.handed_site(local)

    def _has_links(self, node: int) -> bool:
        """Whether a node holds links; what is in use may still hold those of before, which nobody initialised."""
        header, links = self.own(node), self.links(node)
        if not self.stands(node, header):
            return False
        view, local = self.split(node)
        states = (State.FREE, State.CACHED) if header.state is State.USED else (header.state,)
        return any(runs.links_hold(view.key, view.place(local), state, links) for state in states)

    def links_behind(self, at: int, word: int, value: int) -> int | None:
        for node in {self.at(at - self.overhead), self.at(at - self.overhead - 8)}:
            if self.is_bound(node) or at - self.start(node) not in (0, 8):
                continue
            if not self._has_links(node):
                continue
            # To a first word the offset of a field may have been added.
            if word == value or (at == self.start(node) and 0 <= value - word < _FIELD):
                return int(node)
        return None

    # --- what is around the nodes

    def tail(self, node: int) -> tuple[int, bytes] | None:
        view, local = self.split(node)
        start = self.start(node)
        stop = (node - local + runs.GRANULES) << self.log2
        if local != view.shape.end or view.shape.formatted < view.shape.capacity:
            return None
        return start, pattern_at(self.pattern(node), 0, stop - start)

    @property
    def first_byte(self) -> int:
        return self.shift << self.log2

    def follows_others(self, node: int) -> bool:
        return node % runs.GRANULES == 0 and not (node == 0 and self.is_alone)

    def last_before(self, node: int) -> PoolNode | None:
        before = self.node_before(node)
        shape = self.split(before)[0].shape
        if shape.formatted < shape.capacity:
            # Memory that nothing uses lies between, more than an overrun of that block would leave as it was.
            return None
        try:
            last = None if self.is_bound(before) else self.look(before)
        except Unreadable:
            return None
        return last if last is not None and not last.lost and not last.header.quarantined else None


def area_at(memory: Memory, region: Region, address: int) -> NodeArea:
    """The nodes around an address in a region: of its pool, or of one run.

    Raises:
        LostPool: nothing there can be verified.
        Unreadable: nothing there can be read.
    """
    if region.kind is RegionKind.RUNS:
        return WalkedRuns.at_address(memory, region, address)
    return WalkedPool.open(memory, region.base, region.size)
