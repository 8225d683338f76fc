"""Where in a pool's nodes a damage begins and ends: in which part of which, and at whose edges."""

from bisect import bisect_left
from collections.abc import Sequence
from operator import attrgetter
from typing import Literal

from heapwitness.diagnose.extent import JOIN, Extent
from heapwitness.diagnose.pattern import is_continued
from heapwitness.heap import NodeArea, PoolNode
from heapwitness.layout.witness import State
from heapwitness.memory import Unreadable

_SAMPLE = 64
_OFFSET = attrgetter("offset")

Part = Literal["control", "backup", "header", "links", "payload", "slack", "copy", "tail"]


def start_of(pool: NodeArea, node: int) -> int:
    """Where a node's payload begins, in bytes from the pool's start."""
    return pool.start(node)


def locate(pool: NodeArea, nodes: Sequence[PoolNode], at: int) -> tuple[PoolNode | None, Part]:
    """The node that byte `at` of the pool lies in, and which part of it."""
    if at < pool.control_end:
        return None, "control"
    node = next((one for one in nodes if one.offset << pool.log2 <= at < one.next << pool.log2), None)
    if node is None:
        return None, "copy" if at >= pool.copy_start else "payload"
    within = at - (node.offset << pool.log2)
    if within < pool.overhead:
        return node, "header" if within < pool.header_bytes else "backup"
    if pool.is_bound(node.offset):
        return None, "copy" if at >= pool.copy_start else "tail"
    if node.lost or node.header.state is State.USED:
        slack = not node.lost and at >= pool.end_of(node.offset, node.header)
        pending = not slack and not node.lost and within < pool.overhead + pool.links_bytes
        return (node, "slack") if slack else (node, "links" if pending else "payload")
    return node, "links" if within < pool.overhead + pool.links_bytes else "payload"


def ending_at(pool: NodeArea, nodes: Sequence[PoolNode], extent: Extent) -> PoolNode | None:
    """The node of a live block that begins where the damage ends."""
    for node in nodes:
        if pool.is_bound(node.offset):
            continue
        if start_of(pool, node.offset) == extent.stop:
            return node if node.header.state is State.USED else None
    at = (extent.stop - pool.overhead) >> pool.log2
    if start_of(pool, at) != extent.stop:
        return None
    lasts = (last_of(nodes, node) for node in nodes if node.lost)
    return next((node for node in lasts if node is not None and node.offset == at), None)


def ending_shortly_before(pool: NodeArea, nodes: Sequence[PoolNode], extent: Extent) -> PoolNode | None:
    """The node of a live block before which the damage ends but for bytes that were written with what they had."""
    for node in nodes:
        start = start_of(pool, node.offset)
        if not pool.is_bound(node.offset) and extent.certain < start <= extent.certain + JOIN:
            live = not node.lost and node.header.state is State.USED
            return node if live and continued_up(pool, extent, start - extent.certain) else None
    return None


def last_of(nodes: Sequence[PoolNode], lost: PoolNode) -> PoolNode | None:
    """The last of several lost nodes: where it begins is known from the one behind it."""
    at = bisect_left(nodes, lost.next, key=_OFFSET)  # a walk's nodes come in their order
    behind = nodes[at] if at < len(nodes) else None
    if behind is None or behind.offset != lost.next or not behind.own_holds:
        return None
    return lost._replace(offset=behind.keeper, header=lost.header._replace(size=behind.offset - behind.keeper))


def reached_by(pool: NodeArea, nodes: Sequence[PoolNode], extent: Extent) -> PoolNode | None:
    """The node of the last live block into which the damage leads without a gap."""
    found: PoolNode | None = None
    for node in nodes:
        last = last_of(nodes, node) if node.lost else node
        if last is None:
            break
        if pool.is_bound(last.offset):
            continue
        start = start_of(pool, last.offset)
        if start > extent.stop + JOIN:
            break
        if start > extent.start and (extent.certain >= start or continued_up(pool, extent, start - extent.certain)):
            found = last if last.header.state is State.USED else None
    return found


def victim_of(pool: NodeArea, nodes: Sequence[PoolNode], extent: Extent) -> PoolNode | None:
    """The first node whose own header was hit; else the first whose backup was."""
    backup: PoolNode | None = None
    for position, node in enumerate(nodes):
        own = node.offset << pool.log2
        hit = own < extent.stop and own + pool.header_bytes > extent.start and not node.own_holds
        if hit and pool.may_be_victim(node.offset):
            return node
        kept = own + pool.kept_at
        if backup is None and kept < extent.stop and kept + pool.header_bytes > extent.start:
            backed = pool.backed_by_end(node.offset)
            following = nodes[position + 1 : position + 2]
            if backed is not None:
                following = [one for one in nodes if one.offset == backed]
            backup = next((one for one in following if pool.may_be_victim(one.offset)), None)
    return backup


def continued_down(pool: NodeArea, extent: Extent, distance: int) -> bool:
    """Whether the `distance` bytes before the damage are what its pattern would have put there: then
    they were written with the value that they had."""
    if not 0 < distance <= JOIN:
        return distance == 0
    try:
        data = pool.peek(extent.start, min(extent.stop - extent.start, _SAMPLE))
        return is_continued(pool.peek(extent.start - distance, distance)[::-1], data[::-1])
    except Unreadable:
        return False


def continued_up(pool: NodeArea, extent: Extent, distance: int) -> bool:
    """The same for the bytes behind the damage."""
    if not 0 < distance <= JOIN:
        return distance == 0
    try:
        start = max(extent.start, extent.certain - _SAMPLE)
        return is_continued(pool.peek(extent.certain, distance), pool.peek(start, extent.certain - start))
    except Unreadable:
        return False
