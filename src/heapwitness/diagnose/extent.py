"""From runs of wrong bytes to extents: which of them one write made, and how far it went."""

from collections.abc import Iterator
from typing import NamedTuple

from heapwitness.diagnose.evidence import Evidence, Run
from heapwitness.diagnose.pattern import LIMIT, follow, nonzero_end
from heapwitness.memory import Unreadable, read_up_to

JOIN = 15
"""So many bytes in a row may be right within one damage: written with the value that they had, or skipped."""

_HEAVY = 8
_CHANCE = 3
"""So many bytes next to a gap may have been written with the value that they had."""

_TAIL = 64


class Extent(NamedTuple):
    """Damaged bytes from `start` to before `stop`, from the pool's start.

    `certain` is the end of what is vouched for; from there to `stop` the bytes continue what was
    written. `exact` is False when the damage may have gone on unseen.
    """

    start: int
    certain: int
    stop: int
    exact: bool


def extents(evidence: Evidence) -> Iterator[Extent]:
    """The separate damages in the evidence, in order of address."""
    group: list[Run] = []
    right = last_stop = 0
    for number, run in enumerate(evidence.runs):
        if group and run.start > last_stop and not _goes_on(evidence, group, last_stop, number, right):
            yield _close(evidence, group)
            group = []
        last_stop = max(last_stop, run.stop)
        if run.state == "good":
            right += run.stop - run.start
            continue
        if group and right > JOIN:
            yield _close(evidence, group)
            group = []
        group.append(run)
        right = 0
    if group:
        yield _close(evidence, group)


def _goes_on(evidence: Evidence, group: list[Run], gap: int, number: int, right: int) -> bool:
    """Whether one damage covers the bytes from `gap` to run `number` that nothing vouches for.

    It does when damage of some length leads up to them and there is more right behind them, or when
    they continue what was written.
    """
    following = evidence.runs[number]
    if right <= _CHANCE and gap - group[0].start >= _HEAVY:
        ahead = evidence.runs[number : number + 2]
        if any(run.state != "good" and run.start - following.start <= _CHANCE for run in ahead):
            return True
    certain = _certain(group)
    reach = _reach(evidence, certain, group[0].start, following.start - certain)
    return reach is not None and reach >= following.start


def _reach(evidence: Evidence, end: int, begin: int, limit: int = LIMIT) -> int | None:
    """How far the bytes from `end` on continue those before it, of which `begin` was the first to be
    written; None when what was written has no pattern."""
    pool = evidence.pool
    start = max(begin, end - _TAIL)
    try:
        found = follow(pool.memory, pool.base + end, pool.peek(start, end - start), limit)
    except Unreadable:
        return None
    return None if found is None else found - pool.base


def _certain(group: list[Run]) -> int:
    """The end of the last byte that is surely wrong; of a damage without any such byte, its end."""
    return next((run.stop for run in reversed(group) if run.state == "bad"), group[-1].stop)


def _close(evidence: Evidence, group: list[Run]) -> Extent:
    pool = evidence.pool
    start, certain, end = group[0].start, _certain(group), group[-1].stop
    reach = _reach(evidence, certain, start)
    if reach is None and certain >= pool.length:
        # The engine keeps memory behind every pool that nothing but an overflow writes to.
        reach = nonzero_end(pool.memory, pool.base + certain) - pool.base
    if reach is not None:
        stop = max(certain, _without_right_bytes(evidence, reach))
        # A record ends somewhere; what was written may not have.
        return Extent(start, certain, stop, bool(read_up_to(pool.memory, pool.base + stop, 1)))
    # Without a pattern, the rest of a lost header counts; and what lies behind may be damaged unseen.
    return Extent(start, certain, max(certain, end), certain == end and _is_right_behind(evidence, end))


def _is_right_behind(evidence: Evidence, end: int) -> bool:
    """Whether bytes behind damage are as they should be: more than one, which may be so by chance."""
    return all((run := evidence.run_at(at)) is not None and run.state == "good" for at in (end, end + 1))


def _without_right_bytes(evidence: Evidence, stop: int) -> int:
    """Bytes at the end that something vouches for and that are right are no damage."""
    while (run := evidence.run_at(stop - 1)) is not None and run.state == "good":
        stop = run.start
    return stop
