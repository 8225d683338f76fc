"""What is wrong in the payload of a node whose header can be believed: slack, links, poison."""

from heapwitness.heap.pool import Pool
from heapwitness.layout import witness
from heapwitness.layout.events import Reason
from heapwitness.layout.witness import Header, Index, Links, State

_CHUNK = 64 << 10


def payload_fault(pool: Pool, node: int, header: Header, index: Index) -> Reason:
    """NONE, SLACK, LINKS or POISON. Raises Unreadable."""
    match header.state:
        case State.USED:
            return Reason.NONE if slack_holds(pool, node, header) else Reason.SLACK
        case State.CACHED:
            links = pool.links(node)
            if not pool.links_hold(node, links) or links.parent != witness.CACHED_PARENT:
                return Reason.LINKS
            return Reason.NONE if not links.left or poison_holds(pool, node, header) else Reason.POISON
        case State.FREE:
            return Reason.NONE if index_knows(pool, node, header, index) else Reason.LINKS
        case State.END:
            return Reason.NONE


def slack_pattern(pool: Pool, node: int, header: Header) -> tuple[int, bytes]:
    """Where a node's slack begins, in bytes from the pool's start, and what it should hold."""
    end = (node + header.size) << pool.log2
    start = end - header.slack
    first = start - (node << pool.log2) - witness.OVERHEAD
    return start, witness.pattern_at(witness.pattern(pool.secret, node), first, header.slack)


def slack_holds(pool: Pool, node: int, header: Header) -> bool:
    """Whether a used node's slack is as it was written."""
    if not header.slack:
        return True
    start, expected = slack_pattern(pool, node, header)
    return pool.read(start, len(expected)) == expected


def poison_range(pool: Pool, node: int, header: Header) -> tuple[int, int]:
    """First and past-the-last byte of a cached node's poison, from the pool's start."""
    start = (node << pool.log2) + witness.OVERHEAD + witness.HEADER
    return start, max(start, (node + header.size) << pool.log2)


def poison_holds(pool: Pool, node: int, header: Header) -> bool:
    """Whether all of a cached node's poison is as it was written."""
    start, end = poison_range(pool, node, header)
    # Poison begins at payload byte 16, so the pattern is not turned.
    expected = witness.pattern(pool.secret, node) * (_CHUNK // 8)
    return all(
        pool.read(at, min(_CHUNK, end - at)) == expected[: min(_CHUNK, end - at)] for at in range(start, end, _CHUNK)
    )


def pending_links(pool: Pool, node: int, header: Header) -> Links | None:
    """The links of a used node that another thread released and that waits for its owner, else None."""
    if header.state is not State.USED or header.quarantined:
        return None
    links = pool.links(node)
    if links.parent != witness.PENDING_PARENT or not pool.links_hold(node, links):
        return None
    return links


def index_knows(pool: Pool, node: int, header: Header, index: Index) -> bool:
    """Whether a free node's links hold, and something of the index leads to it."""
    links = pool.links(node)
    if not pool.links_hold(node, links):
        return False
    if links.parent == 0:
        number = header.size - pool.min_node
        if number < witness.BINS:
            return index.bins[number] == node and bool(index.bitmap >> number & 1)
        return index.large == node
    if not pool.first <= links.parent < pool.end:
        return False
    parent = pool.links(links.parent)
    # A parent whose links are damaged is a fault of its own.
    return node in (parent.left, parent.right) or not pool.links_hold(links.parent, parent)
