"""Which blocks near a damage may have been overrun, and what else the bytes may be.

Bytes between two blocks may have been written past the end of the one, before the start of the other, or by neither.
What tells is how close they come to either, and whether they look like what those blocks hold.
"""

from collections.abc import Sequence

from heapwitness.diagnose.blocks import Tenant, first_tenant, last_tenant
from heapwitness.diagnose.evidence import Evidence
from heapwitness.diagnose.extent import CHANCE, Extent
from heapwitness.diagnose.pattern import LEAST, reach_back
from heapwitness.diagnose.verdict import VerdictReading
from heapwitness.diagnose.where import last_of, start_of
from heapwitness.heap import NodeArea, PoolNode
from heapwitness.layout.witness import State
from heapwitness.memory import Unreadable

REACH = 32
"""A block that ends or begins at most so many bytes from damage is a suspect: four elements of eight bytes."""

WORD = 8
_FILL_LIMIT = 1 << 20
_SAMPLE = 64
_WIDTHS = (4, WORD)
_FILL_WIDTHS = (1, 2, 4, 8, 16)
_ADDRESS = 2
"""So many bytes of an address are zero."""
_DIFFERENT = 3
"""In so many of eight columns; fewer may be so by chance in a short sample."""
_HOLE = 4
"""So many right bytes in a row were left out; fewer may have been written with the value that they had."""


def ending_before(pool: NodeArea, nodes: Sequence[PoolNode], at: int) -> Tenant | None:
    """The block that ends at or before a byte in a header, a backup or slack, with nothing else in between."""
    position = _position(pool, nodes, at)
    if position is None:
        return None
    node = nodes[position]
    if at >= start_of(pool, node.offset):
        tenant = Tenant(node.offset, node.header)
        if pool.is_bound(node.offset):
            before = nodes[position - 1] if position else None
            return Tenant(before.offset, before.header) if before is not None and _has_block(pool, before) else None
        slack = not node.lost and node.header.state is State.USED and at >= tenant.end(pool)
        return tenant if slack else None
    if position == 0 or not _has_block(pool, nodes[position - 1]):
        return None
    return last_tenant(pool, nodes[position - 1].offset, nodes[position - 1].header)


def beginning_behind(pool: NodeArea, nodes: Sequence[PoolNode], at: int) -> Tenant | None:
    """The block that is the first to begin at or behind a byte."""
    for node in nodes:
        if pool.is_bound(node.offset):
            continue
        last = last_of(nodes, node) if node.lost else None
        if last is not None and start_of(pool, node.offset) < at <= start_of(pool, last.offset):
            return Tenant(last.offset, last.header)
        if start_of(pool, node.offset) >= at:
            if node.lost or node.header.quarantined:
                return None
            return first_tenant(pool, node.offset, node.header)
    return None


def near(pool: NodeArea, nodes: Sequence[PoolNode], extent: Extent) -> tuple[VerdictReading, ...]:
    """The readings of damage that touches no block: as a write past the one before it, or before the one behind it.

    The block before comes first, as an index is too large more often than it is negative; but not when it is not
    known for sure any more.
    """
    before, behind = ending_before(pool, nodes, extent.start), beginning_behind(pool, nodes, extent.stop)
    found: list[VerdictReading] = []
    if before is not None and extent.start - before.end(pool) <= REACH and pool.requested(*before) > 0:
        found.append(VerdictReading.overflow(pool, before))
    if behind is not None and start_of(pool, behind.offset) - extent.stop <= REACH:
        found.append(VerdictReading.underflow(pool, behind))
    return tuple(sorted(found, key=_is_guessed))


def is_all_that_was_left_out(evidence: Evidence, extent: Extent, before: Tenant) -> bool:
    """Whether damage that leads up to a block's start is no longer than what it leaves out behind the block before:
    then it may be an element of an array that ends there."""
    tail = _last_run(evidence, extent)
    return extent.stop - tail <= tail - before.end(evidence.pool)


def may_have_begun_before(evidence: Evidence, extent: Extent, before: Tenant) -> bool:
    """Whether damage that leads up to a block's start may have begun at the end of the block before: what it left out
    there is no more than may be right by chance, or than what it left out further on."""
    left_out = extent.start - before.end(evidence.pool)
    within = (run for run in evidence.runs if extent.start < run.start and run.stop <= extent.certain)
    return left_out <= max((run.stop - run.start for run in within if run.state == "good"), default=0) + CHANCE


def is_single_value(pool: NodeArea, extent: Extent) -> bool:
    """Whether damage is a single aligned word with what a number or an address looks like, as one store makes it."""
    if not WORD // 2 < extent.stop - extent.start <= WORD or extent.stop % WORD:
        return False
    data = _peek(pool, extent.start, extent.stop)
    return data.count(0) >= 2 and any(data)


def is_continued_from(pool: NodeArea, tenant: Tenant, extent: Extent) -> bool:
    """Whether the damage behind a block looks like what the block holds, from its start to its end: what was written
    from within it does not tell whose it was."""
    start, end, data = start_of(pool, tenant.offset), tenant.end(pool), _first(extent)
    samples = (start, start + _SAMPLE), (end - _SAMPLE, end)
    return end - start >= 2 * _SAMPLE and all(_alike(_shape(pool, *one), _shape(pool, *data)) for one in samples)


def is_filled_alike(pool: NodeArea, tenant: Tenant, extent: Extent) -> bool:
    """Whether the damage behind a block goes on with the word that fills the block, from its first byte on: then the
    write began there."""
    start, end = start_of(pool, tenant.offset), tenant.end(pool)
    payload = _peek(pool, start, end) if LEAST <= end - start <= _FILL_LIMIT and end == extent.start else b""
    return bool(payload) and reach_back(payload, _peek(pool, *_first(extent))) == len(payload)


def filled_behind(pool: NodeArea, nodes: Sequence[PoolNode], extent: Extent) -> Tenant | None:
    """The live block before whose start the damage lies, where what was written is a word that fills all of it and ends
    with it: it may have been filled, with elements too many before its first. Zeros are there without."""
    for node in nodes:
        if pool.is_bound(node.offset) or node.lost or node.header.state is not State.USED:
            continue
        start, tenant = start_of(pool, node.offset), Tenant(node.offset, node.header)
        if extent.start < start <= extent.stop:
            ends_with_it = extent.certain <= start and start + LEAST <= tenant.end(pool) == extent.stop
            data = _peek(pool, extent.start, min(extent.stop, extent.start + _FILL_LIMIT)) if ends_with_it else b""
            return tenant if any(data) and any(data[width:] == data[:-width] for width in _FILL_WIDTHS) else None
    return None


def began_behind(pool: NodeArea, before: Tenant, filled: Tenant, extent: Extent) -> bool:
    """Whether damage between two blocks comes of what filled the one behind, and not of the one before: that does not
    end with the same, and a long block hardly ends where the write does by chance."""
    is_long = filled.end(pool) - start_of(pool, filled.offset) > _SAMPLE
    return is_long and not _ends_alike(pool, before, extent)


def _ends_alike(pool: NodeArea, tenant: Tenant, extent: Extent) -> bool:
    payload = _peek(pool, max(start_of(pool, tenant.offset), tenant.end(pool) - _SAMPLE), tenant.end(pool))
    return bool(payload) and reach_back(payload, _peek(pool, *_first(extent))) > 0


def is_continued_by(pool: NodeArea, extent: Extent) -> bool:
    """Whether what lies behind damage looks like its going on."""
    return _alike(_shape(pool, *_first(extent)), _shape(pool, extent.stop, extent.stop + _SAMPLE))


def goes_on_in(pool: NodeArea, extent: Extent, before: Tenant) -> bool:
    """Whether a word before a block's start is the one that the block itself begins with, again and again, and not the
    one that the block before ends with: an array was filled, with an element too many before its first."""
    end = before.end(pool)
    for width in _WIDTHS:
        word = _peek(pool, extent.stop - width, extent.stop)
        if extent.stop - extent.start <= width and any(word):
            following = _peek(pool, extent.stop, extent.stop + 2 * width)
            return following == 2 * word and _peek(pool, end - width, end) != word
    return False


def goes_on_from(pool: NodeArea, before: Tenant, extent: Extent) -> bool:
    """The same for damage in the word right behind a block, whose first bytes are as they were: it is the word that the
    block ends with, again and again."""
    end = before.end(pool)
    for width in _WIDTHS:
        word = _peek(pool, end, end + width)
        if 0 < extent.start - end < extent.stop - end <= width and any(word):
            return _peek(pool, end - 2 * width, end) == 2 * word
    return False


def looks_damaged(pool: NodeArea, extent: Extent) -> bool:
    """Whether the bytes up to the end of a damage, of which nothing tells what they were, look like those before."""
    return _alike(_shape(pool, extent.start, extent.certain), _shape(pool, extent.start, extent.stop))


def look_different(pool: NodeArea, one: Extent, other: Extent) -> bool:
    """Whether two damages are of different data: most words of one have zeros where those of the other have none."""
    first, second = (_shape(pool, *_first(each)) for each in (one, other))
    return sum({*pair} == {"zero", "full"} for pair in zip(first, second, strict=False)) >= _DIFFERENT


def _first(extent: Extent) -> tuple[int, int]:
    return extent.start, min(extent.certain, extent.start + _SAMPLE)


def _position(pool: NodeArea, nodes: Sequence[PoolNode], at: int) -> int | None:
    return next(
        (number for number, one in enumerate(nodes) if one.offset << pool.log2 <= at < one.next << pool.log2), None
    )


def _has_block(pool: NodeArea, node: PoolNode) -> bool:
    """Whether a node has a block of which it is known where it ends."""
    return not node.lost and not node.header.quarantined and not pool.is_bound(node.offset)


def _is_guessed(reading: VerdictReading) -> bool:
    """Whether a block is only told from what was left when it was merged with its neighbours."""
    return reading.culprit is not None and reading.culprit.header.state is State.FREE


def _last_run(evidence: Evidence, extent: Extent) -> int:
    """Where the damaged bytes begin that go on to its end without a hole."""
    start = extent.start
    for run in evidence.runs:
        if run.state == "good" and run.start < extent.stop and run.stop - run.start >= _HOLE:
            start = max(start, run.stop)
    return min(start, extent.stop)


def _peek(pool: NodeArea, start: int, stop: int) -> bytes:
    """Bytes of the pool; b"" where they cannot be read."""
    try:
        return pool.peek(start, max(0, min(stop, pool.length) - start))
    except Unreadable:
        return b""


def _shape(pool: NodeArea, start: int, stop: int) -> tuple[str, ...]:
    """Of each byte of the aligned words of eight in a stretch, whether it is always zero, never, or neither; () for
    fewer than two words."""
    data = _peek(pool, -(-start // WORD) * WORD, stop // WORD * WORD)
    if len(data) < 2 * WORD:
        return ()
    columns = (data[place::WORD] for place in range(WORD))
    return tuple("full" if all(column) else "some" if any(column) else "zero" for column in columns)


def _alike(one: tuple[str, ...], other: tuple[str, ...]) -> bool:
    """Whether words have zeros in the same places: so many that they are no addresses, which are everywhere."""
    zeros = [place == "zero" for place in one]
    return zeros == [place == "zero" for place in other] and _ADDRESS < sum(zeros) < WORD
