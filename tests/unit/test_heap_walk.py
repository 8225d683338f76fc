"""Walking and checking a pool from outside."""

import pytest
from support.heaps import BASE, SECRET, Heap

from heapwitness.heap import Fault, LostPool, WalkedPool, check, walk
from heapwitness.heap.index import links_before, shape
from heapwitness.heap.verify import pending_links
from heapwitness.layout import witness
from heapwitness.layout.events import Reason
from heapwitness.layout.witness import KEPT, OVERHEAD, NodeHeader, Origin, State
from heapwitness.memory import BufferMemory, SegmentsMemory, Unreadable


def view(heap: Heap) -> WalkedPool:
    return WalkedPool.open(heap.memory(), BASE, heap.pool.size)


@pytest.mark.parametrize("log2", [3, 4])
def test_the_walk_gives_each_node_and_the_end(log2: int) -> None:
    heap = Heap(granule_log2=log2)
    blocks = [heap.allocate(size) for size in (1, 24, 100, 0, 1000)]
    heap.release(blocks[1])
    heap.cache(blocks[3])
    nodes = list(walk(view(heap)))
    assert [node.offset for node in nodes] == [node.offset for node in heap.pool.nodes()] + [heap.pool.end]
    assert all(node.intact for node in nodes)
    states = [node.header.state for node in nodes]
    assert states == [State.USED, State.FREE, State.USED, State.CACHED, State.USED, State.FREE, State.END]
    assert check(view(heap)) == ()


def test_a_walk_may_begin_at_any_node() -> None:
    heap = Heap()
    blocks = [heap.allocate(40) for _ in range(5)]
    pool = view(heap)
    assert [node.offset for node in walk(pool, blocks[2])] == [node.offset for node in walk(pool)][2:]
    assert pool.standing(blocks[2]) and not pool.standing(blocks[2] + 1) and not pool.standing(1 << 40)


def test_a_header_is_believed_by_its_backup_and_the_other_way_round() -> None:
    heap = Heap()
    blocks = [heap.allocate(40) for _ in range(5)]
    heap.write(heap.start(blocks[2]) - OVERHEAD, b"\xff" * 16)
    heap.write(heap.start(blocks[3]) - OVERHEAD + KEPT, b"\xee" * 16)
    nodes = {node.offset: node for node in walk(view(heap))}
    assert (nodes[blocks[2]].own_holds, nodes[blocks[2]].kept_holds) == (False, True)
    assert (nodes[blocks[4]].own_holds, nodes[blocks[4]].kept_holds) == (True, False)
    assert not any(node.lost for node in nodes.values())


def test_a_node_that_lost_both_copies_reaches_to_the_next_that_verifies() -> None:
    heap = Heap()
    blocks = [heap.allocate(40) for _ in range(6)]
    heap.write(heap.start(blocks[1]) - OVERHEAD + KEPT, b"\xff" * 16)
    heap.write(heap.start(blocks[2]) - OVERHEAD, b"\xff" * 16)
    lost = next(node for node in walk(view(heap)) if node.lost)
    assert (lost.offset, lost.next) == (blocks[2], blocks[3])
    assert lost.header.quarantined


def test_a_lost_control_block_is_replaced_by_its_copy() -> None:
    heap = Heap()
    heap.allocate(40)
    heap.write(heap.pool.start, b"\xff" * 32)
    pool = view(heap)
    assert len(list(walk(pool))) == 3
    assert check(pool) == (Fault(Reason.CONTROL),)
    with pytest.raises(LostPool):
        WalkedPool.open(heap.memory(), BASE)
    heap.write(heap.pool.start + heap.pool.size - 32, b"\xff" * 32)
    with pytest.raises(LostPool):
        view(heap)


def test_a_control_block_of_zeros_is_none() -> None:
    with pytest.raises(LostPool):
        WalkedPool.open(BufferMemory(0, bytes(4096)), 0, 4096)


def test_memory_that_ends_before_the_pool_is_unreadable() -> None:
    heap = Heap(size=1 << 20)
    blocks = [heap.allocate(200_000) for _ in range(4)]
    start = heap.pool.start
    pool = WalkedPool.open(SegmentsMemory([(BASE, bytes(heap.room[start : start + 500_000]))]), BASE)
    with pytest.raises(Unreadable):
        list(walk(pool))
    steps = walk(pool, blocks[1])
    assert next(steps).offset == blocks[1]
    with pytest.raises(Unreadable):
        list(steps)


def test_a_block_that_another_thread_released_is_sound() -> None:
    heap = Heap()
    blocks = [heap.allocate(size) for size in (1, 16, 24, 100)]
    for block in blocks:
        heap.give_to_owner(block)
    pool = view(heap)
    assert check(pool) == ()
    links = pending_links(pool, blocks[0], pool.own(blocks[0]))
    assert links is not None and heap.sites[links.right][0] == 0x3000


def test_the_index_is_told_from_the_headers_alone() -> None:
    heap = Heap(size=1 << 16)
    blocks = [heap.allocate(24 + 8 * (number % 5)) for number in range(200)]
    for block in blocks[::2]:
        heap.release(block)
    pool = view(heap)
    whole = shape(pool)
    assert whole is not None
    free = [node for node in walk(pool) if node.header.state is State.FREE]
    assert len(free) > 50
    assert all(whole.links[node.offset] == tuple(pool.links(node.offset)[:3]) for node in free)
    index = witness.Index.unpack(pool.peek(0, witness.CONTROL))
    assert (whole.bins, whole.large, whole.bitmap) == (index.bins, index.large, index.bitmap)
    assert (whole.nodes, whole.used) == (index.nodes, index.used)


@pytest.mark.parametrize("length", [1, 8, 12, 16])
def test_links_are_told_again_when_they_were_overwritten(length: int) -> None:
    heap = Heap(size=1 << 15)
    blocks = [heap.allocate(24) for _ in range(100)]
    for block in blocks[::2]:
        heap.release(block)
    pool = view(heap)
    before = {block: pool.links(block) for block in blocks[20:60:2]}
    for block in before:
        heap.write(heap.start(block), b"\xa5" * length)
    damaged = view(heap)
    assert {block: links_before(damaged, block, damaged.own(block)) for block in before} == before


def test_a_header_packs_into_the_words_of_the_format() -> None:
    word = witness.meta(5, State.CACHED, Origin.NEW_ARRAY, 0xABCDEF)
    header = witness.sealed(SECRET, 9, 4, word, 33)
    assert (header.slack, header.state, header.origin, header.site) == (5, State.CACHED, Origin.NEW_ARRAY, 0xABCDEF)
    assert NodeHeader.unpack(header.pack()) == header


def test_poison_of_engines_before_runs_is_still_known() -> None:
    heap = Heap()
    blocks = [heap.allocate(100) for _ in range(3)]
    heap.cache(blocks[1], poison=True)
    start, pool = heap.start(blocks[1]), view(heap)
    links = pool.links(blocks[1])
    before = witness.sealed_links(SECRET, witness.POISONED_BEFORE, links.right, links.parent, blocks[1])
    size = pool.own(blocks[1]).size << pool.log2
    poison = witness.pattern(SECRET, blocks[1]) * (size // 8)
    heap.write(start, before.pack() + poison[: size - OVERHEAD - len(before.pack())])

    assert check(view(heap)) == ()

    heap.write(start, b"?" * 12)
    assert links_before(view(heap), blocks[1], pool.own(blocks[1])) == before
    heap.write(start, before.pack() + b"?")
    assert [fault.reason for fault in check(view(heap))] == [Reason.POISON]
