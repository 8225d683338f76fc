"""From runs of wrong bytes to extents: which of them one write made, and how far it went."""

from collections.abc import Iterator
from itertools import pairwise
from typing import NamedTuple

from heapwitness.diagnose.evidence import Evidence, Run
from heapwitness.diagnose.pattern import LIMIT, follow, is_continued, may_change, nonzero_end, part_of_word
from heapwitness.memory import Unreadable, read_up_to

JOIN = 15
"""So many bytes in a row may be right within one damage: written with the value that they had, or skipped."""

_HEAVY = 8
CHANCE = 3
"""So many bytes next to a gap may have been written with the value that they had."""

_TAIL = 64
_MANY = 4
"""So many damages in a row, each of which leads up to a payload behind which the next one begins, are one: it went over
several blocks. So are fewer, where blocks are lost between them."""


class Extent(NamedTuple):
    """Damaged bytes from `start` to before `stop`, from the pool's start.

    `certain` is the end of what is vouched for; from there to `stop` the bytes continue what was
    written. `exact` is False when the damage may have gone on unseen. `parts` is how many damages it was put together
    from, for no other reason than that they lead up to small stretches which nothing vouches for. `adjoins`: the
    damage before it leads up to such a stretch, and this one begins right behind that; `leads_on`: so does another one
    behind this.
    """

    start: int
    certain: int
    stop: int
    exact: bool
    parts: int = 1
    adjoins: bool = False
    leads_on: bool = False


def extents(evidence: Evidence) -> Iterator[Extent]:
    """The separate damages in the evidence, in order of address."""
    row: list[Extent] = []
    for extent in _separate(evidence):
        if not extent.adjoins:
            yield from _one_or_several(evidence, row)
            row = []
        row.append(extent)
    yield from _one_or_several(evidence, row)


def _one_or_several(evidence: Evidence, row: list[Extent]) -> list[Extent]:
    parts = len(row)
    if parts < _MANY and not any(_is_unknown(evidence, one.certain, other.start) for one, other in pairwise(row)):
        return row
    last = row[-1]
    return [Extent(row[0].start, last.certain, last.stop, last.exact, parts, row[0].adjoins, last.leads_on)]


def _is_unknown(evidence: Evidence, start: int, stop: int) -> bool:
    """Whether bytes lie where several nodes in a row are lost."""
    return any(low <= start and stop <= high for low, high in evidence.unknown)


def _separate(evidence: Evidence) -> Iterator[Extent]:
    adjoins = False
    group: list[Run] = []
    right = last_stop = 0
    for number, run in enumerate(evidence.runs):
        if group and run.start > last_stop and not _goes_on(evidence, group, run):
            closed = _close(evidence, group, adjoins)
            adjoins = _leads_up(evidence, group, last_stop, number, right)
            yield closed._replace(leads_on=adjoins)
            group = []
        last_stop = max(last_stop, run.stop)
        if run.state == "good":
            right += run.stop - run.start
            continue
        if group and right > JOIN:
            yield _close(evidence, group, adjoins)
            group, adjoins = [], False
        group.append(run)
        right = 0
    if group:
        yield _close(evidence, group, adjoins)


def _goes_on(evidence: Evidence, group: list[Run], following: Run) -> bool:
    """Whether one damage covers the bytes before run `following` that nothing vouches for: they continue what was
    written, or all of them and what is on either side is one repeated word, or zero."""
    begin, certain, end = group[0].start, _certain(group), group[-1].stop
    # Of a lost header the last bytes may have been written, too; what goes on from there tells.
    return any(_goes_on_from(evidence, begin, last, following) for last in dict.fromkeys((certain, end)))


def _goes_on_from(evidence: Evidence, begin: int, last: int, following: Run) -> bool:
    reach = _reach(evidence, last, begin, following.start - last)
    if reach is not None and reach >= following.start:
        return True
    if following.state == "good":
        return False
    data = _bytes(evidence, max(begin, last - _TAIL), last)
    between = _bytes(evidence, last, min(following.stop, last + LIMIT))
    # The first bytes of a lost header need not be damaged.
    goes_on = is_continued(between, data[-_HEAVY:]) or not any((*data, *between))
    return len(data) >= _HEAVY and bool(between) and goes_on


def _leads_up(evidence: Evidence, group: list[Run], gap: int, number: int, right: int) -> bool:
    """Whether damage of some length leads up to the bytes from `gap` to run `number`, and there is more right behind
    them."""
    if right > CHANCE or gap - group[0].start < _HEAVY:
        return False
    following = evidence.runs[number]
    ahead = evidence.runs[number : number + 2]
    return any(run.state != "good" and run.start - following.start <= CHANCE for run in ahead)


def _bytes(evidence: Evidence, start: int, stop: int) -> bytes:
    try:
        return evidence.pool.peek(start, stop - start)
    except Unreadable:
        return b""


def _reach(evidence: Evidence, end: int, begin: int, limit: int = LIMIT) -> int | None:
    """How far the bytes from `end` on continue those before it, of which `begin` was the first to be
    written; None when what was written has no pattern."""
    pool = evidence.pool
    try:
        found = follow(pool.memory, pool.base + end, _written(evidence, end, begin), limit)
    except Unreadable:
        return None
    return None if found is None else found - pool.base


def _written(evidence: Evidence, end: int, begin: int) -> bytes:
    """The last bytes before `end` of what was written from `begin` on."""
    start = max(begin, end - _TAIL)
    return evidence.pool.peek(start, end - start)


def _certain(group: list[Run]) -> int:
    """The end of the last byte that is surely wrong; of a damage without any such byte, its end."""
    return next((run.stop for run in reversed(group) if run.state == "bad"), group[-1].stop)


def _close(evidence: Evidence, group: list[Run], adjoins: bool) -> Extent:
    pool = evidence.pool
    start, certain, end = group[0].start, _certain(group), group[-1].stop
    certain = _over_chance(evidence, start, certain)
    reach = _reach(evidence, certain, start)
    if reach is None and pool.is_last and certain >= pool.length:
        # The engine keeps memory behind every pool that nothing but an overflow writes to.
        reach = nonzero_end(pool.memory, pool.base + certain) - pool.base
    if reach is not None:
        stop = max(certain, _without_right_bytes(evidence, reach))
        written = _written(evidence, certain, start)
        whole = max(certain, stop - part_of_word(pool.base + certain, written, pool.base + stop))
        # A record ends somewhere; what was written may not have.
        exact = whole == stop and bool(read_up_to(pool.memory, pool.base + stop, 1))
        exact = exact and not (stop > end and may_change(pool.base + certain, written))
        return Extent(start, certain, whole, exact, 1, adjoins)
    # Without a pattern, the rest of a lost header counts; and what lies behind may be damaged unseen.
    return Extent(start, certain, max(certain, end), certain == end and _is_right_behind(evidence, end), 1, adjoins)


def _over_chance(evidence: Evidence, start: int, certain: int) -> int:
    """The end of what is vouched for, behind a few bytes that are right, where what was written goes on over them and
    beyond: they were written with the value that they had."""
    run = evidence.run_at(certain)
    if run is None or run.state != "good" or run.stop - certain > CHANCE or evidence.run_at(run.stop) is not None:
        return certain
    reach = _reach(evidence, run.stop, start)
    return run.stop if reach is not None and reach > run.stop else certain


def _is_right_behind(evidence: Evidence, end: int) -> bool:
    """Whether bytes behind damage are as they should be: more than one, which may be so by chance."""
    return all((run := evidence.run_at(at)) is not None and run.state == "good" for at in (end, end + 1))


def _without_right_bytes(evidence: Evidence, stop: int) -> int:
    """Bytes at the end that something vouches for and that are right are no damage."""
    while (run := evidence.run_at(stop - 1)) is not None and run.state == "good":
        stop = run.start
    return stop
