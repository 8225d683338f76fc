"""Going through a pool's nodes, as `native/core/walk.c` does, on bytes that are not trusted.

A node is believed by its own header when that holds and leads back to the node before, else by the
backup in the node before, else not at all: then the walk goes on at the next place where a node
verifies. Every step goes forward, so a walk ends whatever the bytes are.
"""

import struct
from collections.abc import Iterator

from heapwitness.heap.area import PoolNode
from heapwitness.heap.pool import SeenPool
from heapwitness.layout import witness
from heapwitness.layout.witness import HEADER_WORDS, NodeHeader, Origin, State
from heapwitness.memory import Unreadable

_SCAN_CHUNK = 1 << 20
# What is spent of a pool's budget for searching, in bytes: for a place that could hold a header, by its first word; and
# as the part of their number for bytes that are all zero.
_LOOK = 512
_ZERO = 16
_SIZES = {3: struct.Struct("<I4x"), 4: struct.Struct("<I12x")}


def walk(pool: SeenPool, start: int | None = None, known: int = -1) -> Iterator[PoolNode]:
    """The pool's nodes in order of address, the end node last.

    Args:
        start: a node to begin with, one whose own header stands (`pool.standing`); None for the first.
        known: a node said to stand behind damage; it is tried before a long search for such a one.

    Raises:
        Unreadable: the memory ends before the pool does.
    """
    log2, end, secret, min_node = pool.log2, pool.end, pool.secret, pool.min_node
    node = pool.first if start is None else start
    prev_size = 0 if node == pool.first else pool.own(node).prev_size
    keeper = node - prev_size if prev_size else end
    kept_raw = pool.read((keeper << log2) + witness.KEPT, witness.HEADER)
    read, keyed, unpack = pool.read, witness.keyed, HEADER_WORDS.unpack
    after_lost = False
    while True:
        raw = read(node << log2, witness.OVERHEAD)
        own_raw, next_kept = raw[: witness.HEADER], raw[witness.KEPT :]
        # The fast path: two equal copies that hold. What it takes, `_look` would take.
        if own_raw == kept_raw and node != end and not after_lost:
            size, back, meta, check = unpack(own_raw)
            if (
                back == prev_size
                and check == keyed(secret, size, back, meta, node)
                and min_node <= size <= end - node
                and not 0 < end - node - size < min_node
                and meta & 48 != 48
            ):
                header = NodeHeader(size, back, meta, check)
                yield PoolNode(node, keeper, header, header, header, True, True, False)
                keeper, prev_size, kept_raw = node, size, next_kept
                node += size
                continue
        step = _look(
            pool, node, keeper, prev_size, NodeHeader.unpack(own_raw), NodeHeader.unpack(kept_raw), after_lost, known
        )
        yield step
        if node == end:
            return
        after_lost = step.lost
        keeper, prev_size, kept_raw = node, step.header.size, next_kept
        node += step.header.size


def resync(pool: SeenPool, lost: int, known: int = -1) -> int:
    """The next place behind a lost node where a node verifies, by its own header or by the backup that
    it keeps; the end node if there is none.

    When the pool's budget for searching is used up, `known` is taken if a node stands there.
    """
    if (backed := _kept_successor(pool, lost)) is not None:
        return backed
    log2 = pool.log2
    fallback = stop = pool.end
    if lost + pool.min_node <= known < pool.end and pool.standing(known):
        fallback = stop = known
    at = lost + pool.min_node
    while at < stop and pool.search_budget > 0:
        granules = min(stop - at, _SCAN_CHUNK >> log2)
        # To the end of the backup that the last of these nodes keeps.
        length = min((granules << log2) + witness.OVERHEAD, pool.length - (at << log2))
        try:
            data = pool.memory.read(pool.base + (at << log2), length)
        except Unreadable:
            break
        zero = data.count(0) == len(data)
        pool.search_budget -= length // _ZERO if zero else length
        if not zero:
            found = _first_verified(pool, data, at, min(stop, at + granules), lost)
            if found is not None:
                return found
        at += granules
    return fallback


def _first_verified(pool: SeenPool, data: bytes, start: int, stop: int, lost: int) -> int | None:
    """The first node from `start` to before `stop` that verifies; `data` begins at `start`."""
    log2, min_node, largest = pool.log2, pool.min_node, pool.size - start
    kept_at = witness.KEPT >> log2
    whole = len(data) >> log2 << log2
    best: int | None = None
    # Every header-sized place is the own header of one node or the backup that an earlier one keeps. Nearly all of
    # them fall by their first word.
    for place, (size,) in enumerate(_SIZES[log2].iter_unpack(data[:whole]), start):
        if best is not None and place - kept_at >= best:
            break
        if not min_node <= size <= largest:
            continue
        at = (place - start) << log2
        raw = data[at : at + witness.HEADER]
        pool.search_budget -= _LOOK
        if len(raw) < witness.HEADER or pool.search_budget < 0:
            break
        header = NodeHeader.unpack(raw)
        keeper = place - kept_at
        if start <= keeper < stop and _backs(pool, keeper, header):
            return keeper
        leads_back = min_node <= header.prev_size <= place - lost
        if best is None and place < stop and leads_back and pool.stands(place, header):
            best = place
    return best


def _backs(pool: SeenPool, keeper: int, header: NodeHeader) -> bool:
    """Whether this is a backup that `keeper` keeps, of the node that it says follows."""
    back = header.prev_size
    return pool.min_node <= back <= pool.end - keeper and pool.stands(keeper + back, header)


def _kept_successor(pool: SeenPool, keeper: int) -> int | None:
    try:
        kept = pool.kept(keeper)
    except Unreadable:
        return None
    return keeper + kept.prev_size if _backs(pool, keeper, kept) else None


def _look(
    pool: SeenPool,
    node: int,
    keeper: int,
    prev_size: int,
    own: NodeHeader,
    kept: NodeHeader,
    after_lost: bool,
    known: int,
) -> PoolNode:
    """What to believe of a node; `after_lost`: `prev_size` is only a bound, the node before was lost."""
    if pool.stands(node, own) and (own.prev_size == prev_size or (after_lost and own.prev_size <= prev_size)):
        if own.prev_size != prev_size:
            # Its backup lies in the last of several nodes that were lost.
            keeper = node - own.prev_size
            kept = pool.kept(keeper)
        return PoolNode(node, keeper, own, own, kept, True, kept == own, False)
    if kept.prev_size == prev_size and pool.stands(node, kept):
        return PoolNode(node, keeper, kept, own, kept, False, True, False)
    if node == pool.end:
        meta, size = witness.meta(0, State.END, Origin.MALLOC, 0), pool.size - node
    else:
        meta = witness.meta(0, State.USED, Origin.MALLOC, witness.SITE_QUARANTINE)
        size = resync(pool, node, known) - node
    return PoolNode(node, keeper, NodeHeader(size, prev_size, meta, 0), own, kept, False, False, True)
