"""Going through a pool's nodes, as `native/core/walk.c` does, on bytes that are not trusted.

A node is believed by its own header when that holds and leads back to the node before, else by the
backup in the node before, else not at all: then the walk goes on at the next header that holds. Every
step goes forward, so a walk ends whatever the bytes are.
"""

import struct
from collections.abc import Iterator
from typing import NamedTuple

from heapwitness.heap.pool import Pool
from heapwitness.layout import witness
from heapwitness.layout.witness import HEADER_WORDS, Header, Origin, State
from heapwitness.memory import Unreadable

_SCAN_CHUNK = 1 << 20
_SIZES = {3: struct.Struct("<I4x"), 4: struct.Struct("<I12x")}


class Node(NamedTuple):
    """One step of a walk. `offset` and `keeper` (the node that keeps the backup) are in granules.

    `header` is the one to believe. Where both copies are lost (`lost`), it is made up: it reaches to
    the next node that holds, and whatever was there in between is not known.
    """

    offset: int
    keeper: int
    header: Header
    own: Header
    kept: Header
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


def walk(pool: Pool, start: int | None = None, known: int = -1) -> Iterator[Node]:
    """The pool's nodes in order of address, the end node last.

    Args:
        start: a node to begin with, one whose own header stands (see `standing`); None for the first.
        known: a node said to stand behind damage; it is tried before a long search for such a one.

    Raises:
        Unreadable: the memory ends before the pool does.
    """
    log2, end, secret, min_node = pool.log2, pool.end, pool.secret, pool.min_node
    node = pool.first if start is None else start
    prev_size = 0 if node == pool.first else pool.own(node).prev_size
    keeper = node - prev_size if prev_size else end
    kept_raw = pool.read(keeper << log2, 16)
    read, keyed, unpack = pool.read, witness.keyed, HEADER_WORDS.unpack
    lost_from = -1
    while True:
        raw = read(node << log2, 32)
        own_raw = raw[16:]
        # The fast path: two equal copies that hold. What it takes, `_look` would take.
        if own_raw == kept_raw and node != end and lost_from < 0:
            size, back, meta, check = unpack(own_raw)
            if (
                back == prev_size
                and check == keyed(secret, size, back, meta, node)
                and min_node <= size <= end - node
                and meta & 48 != 48
            ):
                header = Header(size, back, meta, check)
                yield Node(node, keeper, header, header, header, True, True, False)
                keeper, prev_size, kept_raw = node, size, raw[:16]
                node += size
                continue
        step = _look(pool, node, keeper, prev_size, Header.unpack(own_raw), Header.unpack(kept_raw), lost_from, known)
        yield step
        if node == end:
            return
        lost_from = node if step.lost else -1
        keeper, prev_size, kept_raw = node, step.header.size, raw[:16]
        node += step.header.size


def standing(pool: Pool, node: int) -> bool:
    """Whether a node stands at this offset by its own header alone."""
    try:
        return pool.first <= node <= pool.end and pool.stands(node, pool.own(node))
    except Unreadable:
        return False


def resync(pool: Pool, start: int, origin: int, known: int = -1) -> int:
    """The first node from `start` on that stands by its own header and leads back to `origin` or later.

    The end node if there is none, or none before the pool's budget for searching is used up; then
    `known` is taken if it is such a node.
    """
    log2 = pool.log2
    fallback = stop = pool.end
    if start <= known < pool.end and _leads_back(pool, known, origin):
        fallback = stop = known
    at = start
    while at < stop and pool.search_budget > 0:
        granules = min(stop - at, _SCAN_CHUNK >> log2)
        # Headers overlap where the granule is smaller than a header.
        length = (granules << log2) + witness.HEADER - (1 << log2)
        try:
            data = pool.memory.read(pool.base + (at << log2) + witness.HEADER, length)
        except Unreadable:
            break
        if data.count(0) != len(data):
            pool.search_budget -= length
            found = _first_standing(pool, data, at, origin)
            if found is not None:
                return found
        at += granules
    return fallback


def _leads_back(pool: Pool, node: int, origin: int) -> bool:
    return standing(pool, node) and 0 < pool.own(node).prev_size <= node - origin


def _first_standing(pool: Pool, data: bytes, at: int, origin: int) -> int | None:
    """The first node that stands among those whose headers `data` holds; the first of them is `at`'s."""
    log2, end, min_node = pool.log2, pool.end, pool.min_node
    sizes = _SIZES[log2]
    whole = len(data) >> log2 << log2
    # Nearly all candidates fall by their first word.
    for node, (size,) in enumerate(sizes.iter_unpack(data[:whole]), at):
        if min_node <= size <= end - node:
            place = (node - at) << log2
            if place + witness.HEADER > len(data):
                return None
            header = Header.unpack(data[place : place + witness.HEADER])
            if 0 < header.prev_size <= node - origin and pool.stands(node, header):
                return node
    return None


def _look(
    pool: Pool, node: int, keeper: int, prev_size: int, own: Header, kept: Header, lost_from: int, known: int
) -> Node:
    """What to believe of the node at `node`; `lost_from` is where a lost stretch before it began, or -1."""
    if lost_from >= 0 and pool.stands(node, own) and 0 < own.prev_size <= node - lost_from:
        # Its backup lies in the last of the nodes that were lost.
        keeper = node - own.prev_size
        kept = pool.kept(keeper)
        return Node(node, keeper, own, own, kept, True, kept == own, False)
    own_holds = pool.stands(node, own) and own.prev_size == prev_size
    kept_holds = pool.stands(node, kept) and kept.prev_size == prev_size
    if own_holds:
        return Node(node, keeper, own, own, kept, True, kept == own, False)
    if kept_holds:
        return Node(node, keeper, kept, own, kept, False, True, False)
    if node == pool.end:
        meta, size = witness.meta(0, State.END, Origin.MALLOC, 0), pool.size - node
    else:
        meta = witness.meta(0, State.USED, Origin.MALLOC, witness.SITE_QUARANTINE)
        size = resync(pool, node + pool.min_node, node, known) - node
    return Node(node, keeper, Header(size, prev_size, meta, 0), own, kept, False, False, True)
