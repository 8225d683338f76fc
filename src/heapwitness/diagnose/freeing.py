"""Wrong releases: twice, of what is no block, or by another family than the allocation's."""

from collections.abc import Callable

from heapwitness.diagnose.blocks import DOMAINS, Sites, Tenant, block_of, first_tenant, released_block, tombstone
from heapwitness.diagnose.cut import cut_block, words
from heapwitness.diagnose.stale import source_of
from heapwitness.diagnose.unpooled import block_without_pool
from heapwitness.errors import HeapwitnessError
from heapwitness.findings.model import RELEASE_OF_DOMAIN, Block, Detected, Finding, Place, Release
from heapwitness.findings.words import count
from heapwitness.heap import NodeArea, PoolNode, WalkedPool, WalkedRuns, area_at
from heapwitness.layout.events import Event, Reason, Unpooled, When
from heapwitness.layout.process import read_process, read_regions, region_at
from heapwitness.layout.reasons import kind_of
from heapwitness.layout.witness import Domain, Origin, State
from heapwitness.memory import Memory, Unreadable

NODES_LIMIT = 200_000
"""So many nodes are looked at to find the one that a pointer lies in."""

_ALIGNMENT = {3: 8, 4: 16}
_WORD = {3: 4, 4: 8}
"""Bytes of an address, by the granule."""

_ALLOCATED = {
    Origin.MALLOC: "malloc",
    Origin.NEW: "new",
    Origin.NEW_ARRAY: "new[]",
    Origin.ALIGNED: "an aligned allocation",
}
_RELEASED: dict[Origin, Release] = {
    Origin.MALLOC: "free",
    Origin.NEW: "delete",
    Origin.NEW_ARRAY: "delete[]",
    Origin.ALIGNED: "free",
}


def wrong_release(
    event: Event, memory: Memory, detected: Detected, elsewhere: Callable[[int], Place] | None = None
) -> Finding:
    """The finding of an event with reason DOUBLE, INVALID or MISMATCH.

    Args:
        elsewhere: tells where a pointer leads that is in no heap.
    """
    sites = Sites(memory, event.process)
    pool, is_in_heap = _pool(event, memory)
    culprit: Block | None = None
    suspect: Block | None = None
    place: Place | None = None
    detail = ""
    if event.unpooled is not None:
        culprit, detail = _of_unpooled(event, event.unpooled, sites)
    elif event.reason is Reason.DOUBLE:
        culprit, detail = _double(event, sites, pool)
    elif event.reason is Reason.INVALID:
        culprit, detail = _invalid(event, sites, pool)
        cut = _cut(event, memory, sites) if culprit is None and not is_in_heap else None
        if cut is not None:
            block, inside = cut
            culprit = None if inside else block
            detail = words(block, inside)
        elif culprit is None and not is_in_heap:
            suspect, detail = _read_from(event, memory, sites) or (None, detail)
        if not is_in_heap and elsewhere is not None:
            place = elsewhere(event.pointer)
    else:
        tenant = _tenant(event, pool)
        culprit = block_of(pool, sites, tenant) if pool and tenant else None
        detail = _mismatch(event, tenant.header.origin if tenant else None, culprit)
    return Finding(
        kind=kind_of(event.reason),
        detected=detected,
        culprit=culprit,
        suspect=suspect,
        pointer=event.pointer or None,
        released_with=_released_with(event),
        place=place,
        detail=detail,
    )


def _cut(event: Event, memory: Memory, sites: Sites) -> tuple[Block, int] | None:
    try:
        regions = read_regions(memory, read_process(memory, event.process))
    except HeapwitnessError:
        return None
    return cut_block(memory, regions, sites, event.pointer)


def _read_from(event: Event, memory: Memory, sites: Sites) -> tuple[Block, str] | None:
    """The block that a pointer was read out of which is none, but what the heap keeps in memory that is released: what
    was in there is released a second time, or was never there."""
    try:
        source = source_of(memory, read_regions(memory, read_process(memory, event.process)), (event.pointer,))
    except HeapwitnessError:
        return None
    if source is None:
        return None
    block = block_of(source.pool, sites, source.tenant)
    begin = f"The pointer {event.pointer:#x} is no address, but what the heap keeps in memory that is released:"
    out_of = f"the {block.size:,}-byte block at {block.address:#x}"
    if block.freed is not None or block.state in ("free", "cached"):
        return block, f"{begin} it was read out of {out_of} after the release of that."
    return block, f"{begin} it was read out of {out_of}, where nothing was stored since that was allocated."


def _released_with(event: Event) -> Release:
    if event.when is When.REALLOC:
        return "realloc"
    domain = DOMAINS.get(event.domain)
    return _RELEASED[event.family] if domain is None else RELEASE_OF_DOMAIN[domain]


def _pool(event: Event, memory: Memory) -> tuple[NodeArea | None, bool]:
    """The nodes that the event's pointer lies among, where they can be believed, and whether it lies in a heap."""
    try:
        process = read_process(memory, event.process)
        regions = read_regions(memory, process)
    except HeapwitnessError:
        process, regions = None, ()
    region = region_at(regions, event.pointer)
    try:
        if event.run and process is not None:
            return WalkedRuns.open(memory, process, event.pool, event.run), True
        if event.pool:
            return WalkedPool.open(memory, event.pool, event.pool_bytes or None), True
        return (area_at(memory, region, event.pointer), True) if region is not None else (None, False)
    except HeapwitnessError:
        # Nothing there can be believed; the finding stands all the same.
        return None, True


def _tenant(event: Event, pool: NodeArea | None) -> Tenant | None:
    """The block that the event's pointer is the address of, by its own header or its tombstone."""
    if pool is None:
        return None
    at = event.pointer - pool.base - pool.overhead
    node = at >> pool.log2 if at > 0 and at % (1 << pool.log2) == 0 else pool.shift + event.node
    header = pool.own(node) if pool.standing(node) and not pool.is_bound(node) else tombstone(pool, node)
    return first_tenant(pool, node, header) if header else None


def _double(event: Event, sites: Sites, pool: NodeArea | None) -> tuple[Block | None, str]:
    released = event.released
    if released is not None:
        return released_block(sites, released), "The block's memory was given back to the system when it was released."
    tenant = _tenant(event, pool)
    if pool is None or tenant is None:
        return None, "Nothing is known of the block any more."
    block = block_of(pool, sites, tenant)
    if tenant.header.state is State.USED:
        try:
            pending = pool.handed(*tenant)
        except Unreadable:
            pending = None
        waiting = "The block was released by another thread than the one that owns it, which has not taken it back yet."
        return block, waiting if pending is not None else ""
    return block, ""


def _mismatch(event: Event, origin: Origin | None, block: Block | None) -> str:
    released = _released_with(event)
    domain = block.domain if block is not None else None
    if domain is not None or event.domain is not Domain.NONE:
        return (
            f"Allocated by {domain or 'malloc'}, released by {released}: where Python's allocators are others than "
            "here, as without heapwitness, that damages their memory or aborts."
        )
    if origin is None:
        return f"Released by {released}, which does not go with its allocation."
    return f"Allocated by {_ALLOCATED[origin]}, released by {released}."


def _of_unpooled(event: Event, unpooled: Unpooled, sites: Sites) -> tuple[Block | None, str]:
    """A block without a pool that was released by another family, or that the pointer lies in or beside."""
    block = block_without_pool(unpooled, sites)
    if event.reason is Reason.MISMATCH:
        return block, _mismatch(event, unpooled.origin, block)
    past = event.pointer - block.address
    if past < 0:
        return None, f"The pointer lies between blocks, {count(-past, 'byte')} before the one at {block.address:#x}."
    if past >= block.size:
        end = count(past - block.size, "byte")
        return None, f"The pointer lies between blocks, {end} past the end of the one at {block.address:#x}."
    left = count(block.size - past, "byte")
    return block, f"The pointer lies inside of a block, {count(past, 'byte')} past its start and {left} before its end."


def _invalid(event: Event, sites: Sites, pool: NodeArea | None) -> tuple[Block | None, str]:
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
    if pool.is_bound(node.offset) or pointer < start or pointer >= pool.base + tenant.end(pool):
        return None, _between(event, pool, node)
    block = block_of(pool, sites, tenant)
    what = "a block that was released already" if block.freed else "a block"
    past = pointer - start
    left = block.size - past
    where = f"{count(past, 'byte')} past its start and {count(left, 'byte')} before its end"
    text = f"The pointer lies inside of {what}, {where}."
    if past % _ALIGNMENT[pool.log2]:
        text += f" It is no multiple of {_ALIGNMENT[pool.log2]}, as every block's address is."
    return block, " ".join((text, *_in_object(event, pool, tenant, past)))


def _in_object(event: Event, pool: NodeArea, tenant: Tenant, past: int) -> tuple[str, ...]:
    """What a C++ object makes of a pointer `past` bytes into its block."""
    origin, released = tenant.header.origin, event.family
    if origin is Origin.NEW and released is Origin.NEW and past % _WORD[pool.log2] == 0:
        return (
            "An object that is deleted by a pointer to a base class which is not its first, "
            "and has no virtual destructor, looks like this.",
        )
    if origin is not Origin.NEW_ARRAY:
        return ()
    array = _counted_array(pool, tenant)
    if array is None:
        return ()
    cookie, elements, size = array
    if past == cookie:
        right = "" if released is Origin.NEW_ARRAY else "; delete[] is needed"
        return (f"Its array starts with a count, of {elements:,} elements of {count(size, 'byte')}{right}.",)
    index, rest = divmod(past - cookie, size)
    if past < cookie or rest:
        return ()
    return (
        f"If its array starts with a count, as those of a class with a destructor do, it is element {index:,} "
        f"of {elements:,}, of {count(size, 'byte')} each.",
    )


def _counted_array(pool: NodeArea, tenant: Tenant) -> tuple[int, int, int] | None:
    """Of a block of new[] that begins with the number of its elements, as it seems: how many bytes lie before the
    first, how many elements there are, and the size of each."""
    start = pool.start(tenant.offset)
    whole, word = pool.requested(*tenant), _WORD[pool.log2]
    # The count is the last word before the first element, which lies at a multiple of its own alignment.
    for cookie in (word, 2 * word):
        try:
            elements = int.from_bytes(pool.peek(start + cookie - word, word), "little")
        except Unreadable:
            return None
        if 0 < elements <= whole - cookie and (whole - cookie) % elements == 0:
            return cookie, elements, (whole - cookie) // elements
    return None


def _between(event: Event, pool: NodeArea, node: PoolNode) -> str:
    pointer = event.pointer
    start = pool.payload(node.offset)
    if pool.is_bound(node.offset):
        side = "behind the last" if node.offset == pool.end else "before the first"
        return f"The pointer lies {side} block of its heap."
    word = _WORD[pool.log2]
    if pointer == start - word and event.family is Origin.NEW_ARRAY and node.header.origin is Origin.NEW:
        return (
            f"The pointer lies {count(word, 'byte')} before the block at {start:#x}, where delete[] looks for the "
            "number of elements: it was allocated with new; delete is needed."
        )
    if pointer >= start:
        end = pool.base + pool.end_of(node.offset, node.header)
        return f"The pointer lies between blocks, {count(pointer - end, 'byte')} past the end of the one at {start:#x}."
    return f"The pointer lies between blocks, {count(start - pointer, 'byte')} before the one at {start:#x}."


def _node_around(event: Event, pool: NodeArea) -> PoolNode | None:
    """The node whose extent holds the pointer: begun at the one that the engine named, if that is near."""
    known = pool.at(event.pointer - pool.base)
    if known is not None:
        return next(pool.walk(known), None)
    at = (event.pointer - pool.base) >> pool.log2
    start = event.node if pool.standing(event.node) and event.node <= at else None
    for number, node in enumerate(pool.walk(start)):
        if node.offset <= at < node.next:
            return node
        if node.offset > at or number > NODES_LIMIT:
            break
    return None
