"""What is wrong in the payload of a node whose header can be believed: slack, links, poison."""

from heapwitness.heap.pool import SeenPool
from heapwitness.layout import witness
from heapwitness.layout.events import Reason
from heapwitness.layout.witness import Links, NodeHeader, State


def payload_fault(pool: SeenPool, node: int, header: NodeHeader, *, stale: bool = False) -> Reason:
    """NONE, SLACK, LINKS or POISON.

    Args:
        stale: the index is being rebuilt, so that links need not lead anywhere.

    Raises:
        Unreadable: the payload's start or end is not there.
    """
    match header.state:
        case State.USED:
            return Reason.NONE if slack_holds(pool, node, header) else Reason.SLACK
        case State.CACHED:
            links = pool.links(node)
            if not pool.links_hold(node, links) or links.parent != witness.CACHED_PARENT:
                return Reason.LINKS
            return Reason.NONE if not links.left or pool.poison_holds(node, header) else Reason.POISON
        case State.FREE:
            links = pool.links(node)
            sound = pool.links_hold(node, links) and (stale or _leads_to(pool, node, links))
            return Reason.NONE if sound else Reason.LINKS
        case State.END:
            return Reason.NONE


def slack_holds(pool: SeenPool, node: int, header: NodeHeader) -> bool:
    """Whether a used node's slack is as it was written."""
    if not header.slack:
        return True
    start, expected = pool.slack_pattern(node, header)
    if pool.read(start, len(expected)) == expected:
        return True
    if not pool.links_over_slack(header):
        return False
    handed_over = witness.being_handed_over(pool.secret, pool.links(node), node)
    return handed_over or pending_links(pool, node, header) is not None


def pending_links(pool: SeenPool, node: int, header: NodeHeader) -> Links | None:
    """The links of a used node that another thread released and that waits for its owner, else None."""
    if header.state is not State.USED or header.quarantined:
        return None
    links = pool.links(node)
    if links.parent != witness.PENDING_PARENT or not pool.links_hold(node, links):
        return None
    return links


def _leads_to(pool: SeenPool, node: int, links: Links) -> bool:
    """Whether the parent that a free node names knows it; one that is damaged is a fault of its own."""
    parent = links.parent
    if parent == 0:
        return True
    if not pool.first <= parent < pool.end:
        return False
    header, theirs = pool.own(parent), pool.links(parent)
    return (
        not pool.holds(parent, header)
        or header.state is not State.FREE
        or not pool.links_hold(parent, theirs)
        or node in (theirs.left, theirs.right)
    )
