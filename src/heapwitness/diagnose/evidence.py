"""Which bytes around some nodes something vouches for, what they should be, and what they are.

Vouched for are: both copies of a header where one of them holds, slack, poison, links, and the control
block by its copy. Of a header whose two copies are lost, the words that the neighbours still know are
vouched for; its other bytes are damaged as a whole, though not each of them need be.
"""

import bisect
from collections.abc import Sequence
from itertools import product
from typing import Literal, NamedTuple

from heapwitness.diagnose.pattern import first_difference, leads_on
from heapwitness.findings.model import Copy
from heapwitness.heap import NodeArea, PoolNode, WalkedPool
from heapwitness.heap.index import Shape
from heapwitness.layout import witness
from heapwitness.layout.witness import NodeHeader, State
from heapwitness.memory import Unreadable

_POISON_CHUNK = 4096
_POISON_LIMIT = 64 << 20
_BEHIND_GUESSED = 6
"""Bytes of a header behind the second one of its `meta`: no overflow goes so far whose header can be found."""
_LED_UP = 16
"""Bytes before a header, of the payload that an overflow came through, that show what was written."""

_POISON_IN_DETAIL = 32
"""Chunks of damaged poison that are looked at byte by byte; of others only where the damage begins and ends."""


class Span(NamedTuple):
    """Neighbouring bytes of one kind; `at` in bytes from the pool's start.

    `expected` has the length of `actual`; where `known` is 0 its bytes mean nothing. `of` is the node
    (offset in granules) whose header, links, slack or poison it is; a backup is of the node it backs up.
    """

    at: int
    actual: bytes
    expected: bytes
    known: bytes
    copy: Copy
    of: int

    @property
    def end(self) -> int:
        return self.at + len(self.actual)


class Run(NamedTuple):
    """Bytes from `start` to before `stop`: as they should be, wrong, or part of something that is lost."""

    start: int
    stop: int
    state: Literal["good", "bad", "lost"]


class Evidence:
    """Spans and runs in order of address, and the headers that were recovered from two damaged copies.

    `unknown` has the stretches, in bytes, in which several nodes in a row are lost.
    """

    def __init__(self, pool: NodeArea) -> None:
        self.pool = pool
        self.spans: list[Span] = []
        self.runs: list[Run] = []
        self.recovered: dict[int, NodeHeader] = {}
        self.unknown: list[tuple[int, int]] = []
        self._run_starts: list[int] = []
        self._span_starts: list[int] = []

    def add(self, at: int, expected: bytes, copy: Copy, of: int, known: bytes | None = None) -> None:
        """Compare bytes of the pool with what they should be; nothing is added where they cannot be read."""
        try:
            actual = self.pool.peek(at, len(expected))
        except Unreadable:
            return
        span = Span(at, actual, expected, known or b"\1" * len(expected), copy, of)
        self.spans.append(span)
        start = at
        state: Literal["good", "bad", "lost"] | None = None
        for number, (have, want, vouched) in enumerate(zip(actual, expected, span.known, strict=True), at):
            now: Literal["good", "bad", "lost"] = "lost" if not vouched else "good" if have == want else "bad"
            if now != state:
                if state is not None:
                    self.runs.append(Run(start, number, state))
                start, state = number, now
        if state is not None:
            self.runs.append(Run(start, span.end, state))

    def add_run(self, start: int, stop: int, state: Literal["good", "bad"]) -> None:
        """Bytes that were compared already."""
        if start < stop:
            self.runs.append(Run(start, stop, state))

    def finish(self) -> None:
        """Put the runs and spans in order; called once, when all is added."""
        self.runs.sort()
        self.spans.sort()
        self._run_starts = [run.start for run in self.runs]
        self._span_starts = [span.at for span in self.spans]

    def run_at(self, at: int) -> Run | None:
        """The run that holds a byte; None where nothing vouches for it."""
        position = bisect.bisect_right(self._run_starts, at) - 1
        return self.runs[position] if position >= 0 and at < self.runs[position].stop else None

    def spans_in(self, start: int, stop: int) -> list[Span]:
        """The spans that have bytes from `start` to before `stop`."""
        first = max(0, bisect.bisect_right(self._span_starts, start) - 1)
        found = self.spans[first : bisect.bisect_left(self._span_starts, stop)]
        return found[1:] if found and found[0].end <= start else found


def gather(pool: NodeArea, nodes: Sequence[PoolNode], shape: Shape | None = None, waiting: int = 0) -> Evidence:
    """The evidence on nodes that follow each other; the last of them only vouches for those before.

    Args:
        shape: given when the control block is in question; then it is compared with it.
        waiting: a used node that is known to have been released by another thread, whatever its links say.
    """
    evidence = Evidence(pool)
    if isinstance(pool, WalkedPool) and nodes and nodes[0].offset == pool.first and shape is not None:
        _control(evidence, pool, shape)
    previous: PoolNode | None = None
    for number, node in enumerate(nodes):
        following = nodes[number + 1] if number + 1 < len(nodes) else None
        after = nodes[number + 2] if number + 2 < len(nodes) else None
        if following is None and not pool.is_bound(node.offset):
            _own(evidence, node, previous, None)
            break
        _kept(evidence, node, following, after)
        _own(evidence, node, previous, following)
        if node.lost:
            if following is not None and following.lost:
                evidence.unknown.append((node.offset << pool.log2, following.offset << pool.log2))
            elif following is not None and following.keeper != node.offset:
                evidence.unknown.append((node.offset << pool.log2, following.keeper << pool.log2))
                _last_lost(evidence, following)
        else:
            _payload(evidence, node, node.offset == waiting)
        previous = node
    evidence.finish()
    return evidence


def _control(evidence: Evidence, pool: WalkedPool, shape: Shape) -> None:
    evidence.add(0, pool.trusted.pack(), "control", 0)
    try:
        stored = witness.CONTROL_WORDS.unpack(pool.peek(0, witness.CONTROL))
    except Unreadable:
        return
    # Other bits beside it were written by nobody but the damage, and then this one may have been, too.
    flags = witness.FLAG_STALE if stored[9] == witness.FLAG_STALE else 0
    large, bitmap, bins = shape.large, (shape.bitmap & 0xFFFFFFFF, shape.bitmap >> 32), shape.bins
    if flags:
        # While the index is stale its roots say nothing.
        large, bitmap, bins = stored[8], stored[12:14], stored[14 : 14 + witness.BINS]
    words = (large, flags, shape.nodes, shape.used, *bitmap, *bins, 0, 0)
    evidence.add(witness.WITNESSED, witness.CONTROL_WORDS.pack(*stored[:8], *words)[32:], "control", 0)


def _kept(evidence: Evidence, node: PoolNode, following: PoolNode | None, after: PoolNode | None) -> None:
    """The backup that a node keeps: of the node behind it, in an end node of the first."""
    pool = evidence.pool
    at = (node.offset << pool.log2) + pool.kept_at
    backed = pool.backed_by_end(node.offset)
    if backed is not None:
        first = pool.told_header(backed)
        if first is not None:
            evidence.add(at, pool.pack(first), "backup", backed)
    elif following is None:
        return
    elif following.lost:
        header, known = _recover(evidence, following, node, after)
        evidence.add(at, pool.pack(header), "backup", following.offset, known)
    elif following.keeper == node.offset:
        evidence.add(at, pool.pack(following.header), "backup", following.offset)
    else:
        evidence.add(at, bytes(pool.header_bytes), "backup", 0, bytes(pool.header_bytes))


def _own(evidence: Evidence, node: PoolNode, previous: PoolNode | None, following: PoolNode | None) -> None:
    pool = evidence.pool
    at = node.offset << pool.log2
    if not node.lost:
        evidence.add(at, pool.pack(node.header), "header", node.offset)
        return
    header, known = _recover(evidence, node, previous, following)
    evidence.add(at, pool.pack(header), "header", node.offset, known)


def _last_lost(evidence: Evidence, following: PoolNode) -> None:
    """Of several lost nodes in a row the last is known by the node that follows."""
    pool = evidence.pool
    at = following.keeper << pool.log2
    evidence.add(at + pool.kept_at, pool.pack(following.header), "backup", following.offset)
    size = following.header.prev_size
    known = pool.known_words(size=True, prev_size=False)
    evidence.add(at, pool.pack(NodeHeader(size, 0, 0, 0)), "header", following.keeper, known)


def _recover(
    evidence: Evidence, node: PoolNode, previous: PoolNode | None, following: PoolNode | None
) -> tuple[NodeHeader, bytes | None]:
    """A header whose two copies are both damaged: whole from what is left of them, or the words that
    the neighbours know."""
    pool = evidence.pool
    if node.offset in evidence.recovered:
        return evidence.recovered[node.offset], None
    size = prev_size = 0
    is_back_known = node.offset == pool.first
    if following is not None and not following.lost and following.keeper == node.offset:
        size = following.header.prev_size
    if previous is not None and not previous.lost:
        prev_size, is_back_known = node.offset - previous.offset, True
    known = pool.known_words(size=bool(size), prev_size=is_back_known)
    sizes = {size} if size else {node.own.size, node.kept.size}
    backs = {prev_size} if is_back_known else {node.own.prev_size, node.kept.prev_size}
    if pool.recovery_budget > 0:
        pool.recovery_budget -= 1
        # Two bytes are tried only where the rest is sure: that is one search and not four.
        guessed = 0 if _is_overrun(pool, node) else 2 if len(sizes) == len(backs) == 1 else 1
        for one_size, one_back in product(sizes, backs):
            found = _pieced_together(pool, node, one_size, one_back, guessed)
            if found is not None:
                evidence.recovered[node.offset] = found
                return found, None
    return NodeHeader(size, prev_size, 0, 0), known


def _is_overrun(pool: NodeArea, node: PoolNode) -> bool:
    """Whether what was written over a header went on over its check, so that there is nothing to find it by."""
    at = node.offset << pool.log2
    try:
        guessed = pool.header_bytes - _BEHIND_GUESSED
        start = pool.peek(at - _LED_UP, _LED_UP + guessed)
        end = pool.peek(at + guessed, _BEHIND_GUESSED)
    except Unreadable:
        return False
    return leads_on(start, end)


def _pieced_together(pool: NodeArea, node: PoolNode, size: int, prev_size: int, guessed: int) -> NodeHeader | None:
    """The header with these sizes whose `meta` and `check` are what is left of the two copies.

    An overflow destroys a header from its first byte on: when it ended inside of `meta`, up to `guessed`
    low bytes of that are tried until the check agrees.
    """
    own, kept = node.own, node.kept
    for meta, check in product((own.meta, kept.meta), (own.check, kept.check)):
        header = NodeHeader(size, prev_size, meta, check)
        if pool.stands(node.offset, header):
            return header
    for copy in (own, kept):
        if (whole := pool.with_check(node.offset, copy)) is not None:
            return whole
    for bits in range(8, 8 * guessed + 1, 8):
        upper = NodeHeader(size, prev_size, own.meta >> bits << bits, own.check)
        for low in pool.low_bits(node.offset, upper, bits):
            header = upper._replace(meta=upper.meta | low)
            if pool.stands(node.offset, header):
                return header
    return None


def _payload(evidence: Evidence, node: PoolNode, waiting: bool) -> None:
    pool, header = evidence.pool, node.header
    start = pool.start(node.offset)
    try:
        match header.state:
            case State.USED if not header.quarantined:
                _used(evidence, node, start, waiting)
            case State.FREE | State.CACHED:
                _released(evidence, node, start)
            case State.END:
                _behind_end(evidence, node)
    except Unreadable:
        # A record may hold only part of a payload.
        return


def _used(evidence: Evidence, node: PoolNode, start: int, waiting: bool) -> None:
    pool, header = evidence.pool, node.header
    if pool.hands_over_links and pool.handed(node.offset, header) is not None:
        evidence.add_run(start, start + pool.links_bytes, "good")
        waiting = True
    elif waiting or pool.waited(node.offset, header):
        _links(evidence, node, start)
        waiting = True
    if pool.slack(node.offset, header) and not (waiting and pool.links_over_slack(header)):
        evidence.add(*pool.slack_pattern(node.offset, header), "slack", node.offset)


def _behind_end(evidence: Evidence, node: PoolNode) -> None:
    """What lies behind an end node: in a pool the copy of its control block, in a run what is left of that."""
    pool = evidence.pool
    if isinstance(pool, WalkedPool):
        evidence.add(pool.copy_start, pool.trusted.pack(), "control", node.offset)
    elif (tail := pool.tail(node.offset)) is not None:
        evidence.add(*tail, "slack", node.offset)


def _links(evidence: Evidence, node: PoolNode, start: int) -> bytes | None:
    """A released node's links, which lie at `start`; gives what they were, where that can be told."""
    told = evidence.pool.links_before(node.offset, node.header)
    if told is None:
        evidence.add(start, bytes(evidence.pool.links_bytes), "links", node.offset, bytes(evidence.pool.links_bytes))
        return None
    links, known = told
    evidence.add(start, links, "links", node.offset, known)
    return links


def _released(evidence: Evidence, node: PoolNode, start: int) -> None:
    pool = evidence.pool
    links = _links(evidence, node, start)
    if links is None or node.header.state is not State.CACHED or not pool.is_poisoned(links):
        return
    first, end = pool.poison_range(node.offset, node.header)
    expected = pool.poison(node.offset) * (_POISON_CHUNK // 8)
    in_detail = _POISON_IN_DETAIL
    for at in range(first, min(end, first + _POISON_LIMIT), _POISON_CHUNK):
        length = min(_POISON_CHUNK, end - at)
        actual = pool.read(at, length)
        if actual == expected[:length]:
            evidence.add_run(at, at + length, "good")
        elif in_detail > 0:
            in_detail -= 1
            evidence.add(at, expected[:length], "payload", node.offset)
        else:
            start = at + first_difference(actual, expected[:length])
            stop = at + length - first_difference(actual[::-1], expected[:length][::-1])
            evidence.add_run(at, start, "good")
            evidence.add_run(start, stop, "bad")
            evidence.add_run(stop, at + length, "good")
