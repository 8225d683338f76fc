"""Wrong releases: twice, of what is no block, or by another family than the allocation's."""

from heapwitness.diagnose.blocks import ORIGINS, Sites, Tenant, block_of, first_tenant, tombstone
from heapwitness.errors import HeapwitnessError
from heapwitness.heap import Node, Pool, standing, walk
from heapwitness.heap.verify import pending_links
from heapwitness.layout import witness
from heapwitness.layout.events import Event, Reason
from heapwitness.layout.process import read_process, read_regions
from heapwitness.layout.witness import Origin, State
from heapwitness.memory import Memory, Unreadable
from heapwitness.report.model import Block, Detected, Finding, Kind

NODES_LIMIT = 200_000
"""So many nodes are looked at to find the one that a pointer lies in."""

_ALIGNMENT = {3: 8, 4: 16}
_KINDS: dict[Reason, Kind] = {
    Reason.DOUBLE: "double-free",
    Reason.INVALID: "invalid-free",
    Reason.MISMATCH: "mismatched-free",
}
_ALLOCATED = {
    Origin.MALLOC: "malloc",
    Origin.NEW: "new",
    Origin.NEW_ARRAY: "new[]",
    Origin.ALIGNED: "an aligned allocation",
}
_RELEASED = {
    Origin.MALLOC: "free",
    Origin.NEW: "delete",
    Origin.NEW_ARRAY: "delete[]",
    Origin.ALIGNED: "free",
}


def wrong_release(event: Event, memory: Memory, detected: Detected) -> Finding:
    """The finding of an event with reason DOUBLE, INVALID or MISMATCH."""
    sites = Sites(memory, event.process)
    pool = _pool(event, memory)
    culprit: Block | None = None
    detail = ""
    if event.reason is Reason.DOUBLE:
        culprit, detail = _double(event, sites, pool)
    elif event.reason is Reason.INVALID:
        culprit, detail = _invalid(event, sites, pool)
    else:
        tenant = _tenant(event, pool)
        culprit = block_of(pool, sites, tenant) if pool and tenant else None
        detail = _mismatch(event, tenant)
    return Finding(
        kind=_KINDS[event.reason], detected=detected, culprit=culprit, pointer=event.pointer or None, detail=detail
    )


def _pool(event: Event, memory: Memory) -> Pool | None:
    base, size = event.pool, event.pool_bytes or None
    try:
        if not base:
            found = next(
                (
                    region
                    for region in read_regions(memory, read_process(memory, event.process))
                    if region.base <= event.pointer < region.base + region.size
                ),
                None,
            )
            if found is None:
                return None
            base, size = found.base, found.size
        return Pool.open(memory, base, size)
    except HeapwitnessError:
        # Nothing there can be believed; the finding stands all the same.
        return None


def _tenant(event: Event, pool: Pool | None) -> Tenant | None:
    """The block that the event's pointer is the address of, by its own header or its tombstone."""
    if pool is None:
        return None
    at = event.pointer - pool.base - witness.OVERHEAD
    node = at >> pool.log2 if at > 0 and at % (1 << pool.log2) == 0 else event.node
    header = pool.own(node) if standing(pool, node) and node != pool.end else tombstone(pool, node)
    return first_tenant(pool, node, header) if header else None


def _double(event: Event, sites: Sites, pool: Pool | None) -> tuple[Block | None, str]:
    released = event.released
    if released is not None:
        block = Block(
            address=released.address,
            size=released.size,
            state="free",
            origin=ORIGINS[released.origin],
            allocated=sites.prior(released.site),
            freed=sites.site(released.site),
        )
        return block, "The block's memory was given back to the system when it was released."
    tenant = _tenant(event, pool)
    if pool is None or tenant is None:
        return None, "Nothing is known of the block any more."
    block = block_of(pool, sites, tenant)
    if tenant.header.state is State.USED:
        try:
            pending = pending_links(pool, tenant.offset, tenant.header)
        except Unreadable:
            pending = None
        waiting = "The block was released by another thread than the one that owns it, which has not taken it back yet."
        return block, waiting if pending else ""
    return block, ""


def _mismatch(event: Event, tenant: Tenant | None) -> str:
    released = _RELEASED[event.family]
    if tenant is None:
        return f"Released by {released}, which does not go with its allocation."
    return f"Allocated by {_ALLOCATED[tenant.header.origin]}, released by {released}."


def _invalid(event: Event, sites: Sites, pool: Pool | None) -> tuple[Block | None, str]:
    pointer = event.pointer
    if pool is None:
        return None, f"The pointer {pointer:#x} lies in no heap of this program: it was never allocated here."
    try:
        node = _node_around(event, pool)
    except Unreadable:
        node = None
    if node is None or node.lost:
        return None, f"The pointer {pointer:#x} lies in the heap, but in no block."
    start = pool.payload(node.offset)
    tenant = Tenant(node.offset, node.header)
    if node.offset == pool.end or pointer < start or pointer >= pool.base + tenant.end(pool):
        return None, _between(pool, node, pointer)
    block = block_of(pool, sites, tenant)
    what = "a block that was released already" if block.freed else "a block"
    past = pointer - start
    left = block.size - past
    text = f"The pointer lies inside of {what}, {_bytes(past)} past its start and {_bytes(left)} before its end."
    if past % _ALIGNMENT[pool.log2]:
        text += f" It is no multiple of {_ALIGNMENT[pool.log2]}, as every block's address is."
    return block, text


def _between(pool: Pool, node: Node, pointer: int) -> str:
    start, log2 = pool.payload(node.offset), pool.log2
    if node.offset == pool.end:
        return "The pointer lies behind the last block of its heap."
    if pointer >= start:
        end = pool.base + (node.next << log2) - node.header.slack
        return f"The pointer lies between blocks, {_bytes(pointer - end)} past the end of the one at {start:#x}."
    return f"The pointer lies between blocks, {_bytes(start - pointer)} before the one at {start:#x}."


def _node_around(event: Event, pool: Pool) -> Node | None:
    """The node whose extent holds the pointer: begun at the one that the engine named, if that is near."""
    at = (event.pointer - pool.base) >> pool.log2
    start = event.node if standing(pool, event.node) and event.node <= at else None
    for number, node in enumerate(walk(pool, start)):
        if node.offset <= at < node.next:
            return node
        if node.offset > at or number > NODES_LIMIT:
            break
    return None


def _bytes(number: int) -> str:
    return f"{number:,} byte{'' if number == 1 else 's'}"
