"""`heapwitness.Pool`: what a caller sees of the core, on buffers of every kind."""

import contextlib
import mmap
import struct
import subprocess
import sys
from itertools import pairwise

import numpy as np
import pytest

import heapwitness
from heapwitness.errors import HeapwitnessError
from heapwitness.layout.witness import (
    HEADER,
    KEPT,
    OVERHEAD,
    SITE_QUARANTINE,
    Origin,
    State,
    pattern,
    poison,
    sealed_links,
)
from heapwitness.pool import Damaged, NoSuchNode, Pool, Reason

SECRET = (0x12345678, 0x9ABCDEF1, 0x0FEDCBA9, 0x87654321)
ROOM = 4096


@pytest.fixture(params=[3, 4], ids=["32-bit", "64-bit"])
def pool(request: pytest.FixtureRequest) -> Pool:
    return Pool(mmap.mmap(-1, ROOM), granule_log2=request.param, secret=SECRET)


def taken(pool: Pool, *sizes: int) -> list[int]:
    nodes = [pool.allocate(size) for size in sizes]
    assert None not in nodes
    return [node for node in nodes if node is not None]


def own(pool: Pool, node: int) -> slice:
    start = node << pool.granule_log2
    return slice(start, start + HEADER)


def kept(pool: Pool, node: int) -> slice:
    start = (node << pool.granule_log2) + KEPT
    return slice(start, start + HEADER)


def links(pool: Pool, node: int) -> slice:
    start = (node << pool.granule_log2) + OVERHEAD
    return slice(start, start + 16)


def test_importing_the_package_loads_no_compiled_library() -> None:
    code = (
        "import sys, heapwitness; assert not {'ctypes', 'heapwitness.pool'} & sys.modules.keys(); "
        "assert heapwitness.Pool.__name__ == 'Pool'"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    assert heapwitness.Pool is Pool
    with pytest.raises(AttributeError):
        _ = heapwitness.Pail


@pytest.mark.parametrize(
    "buffer", [bytearray(ROOM), mmap.mmap(-1, ROOM), np.zeros(ROOM // 8), np.zeros((4, ROOM // 4), "u1")]
)
def test_any_writable_buffer_can_hold_a_pool(buffer: object) -> None:
    pool = Pool(buffer)
    block = pool.allocate(24, origin=Origin.NEW, site=5)
    assert block is not None
    pool.payload(block)[:5] = b"hello"

    again = Pool.attach(buffer, size=pool.size) if pool.start == 0 else pool

    assert bytes(again.payload(block)[:5]) == b"hello"
    found = again.node(block)
    assert found and (found.state, found.origin, found.site, found.requested) == (State.USED, Origin.NEW, 5, 24)


@pytest.mark.parametrize(
    ("buffer", "options", "sentence"),
    [
        (bytes(ROOM), {}, "writable"),
        (np.zeros((64, 64))[::2, ::2], {}, "contiguous"),
        (bytearray(400), {}, "at least 432 bytes"),
        (bytearray(10), {}, "not 10 bytes"),
        (bytearray(ROOM), {"granule_log2": 5}, "3 or 4"),
        (bytearray(ROOM), {"size": 2 * ROOM}, "4096 bytes|409. bytes"),
    ],
)
def test_a_buffer_that_cannot_hold_a_pool_is_refused_with_a_sentence(
    buffer: object, options: dict[str, int], sentence: str
) -> None:
    with pytest.raises(HeapwitnessError, match=sentence):
        Pool(buffer, **options)


def test_the_smallest_pool_holds_one_smallest_block() -> None:
    pool = Pool(mmap.mmap(-1, ROOM), size=432)
    assert pool.allocate(16) is not None
    assert pool.allocate(0) is None
    assert pool.check() == []


@pytest.mark.parametrize("size", [ROOM, 2**31, 2**32 - 1, 2**32, 2**34, 2**35, 2**63, 2**64 - 1])
def test_what_is_too_large_is_not_allocated_and_harms_nothing(pool: Pool, size: int) -> None:
    (block,) = taken(pool, 10)
    before = bytes(pool.memory)
    assert pool.allocate(size) is None
    assert pool.allocate(size, align=64) is None
    assert not pool.resize(block, size)
    pool.cache(block)
    assert not pool.uncache(block, size)
    assert pool.check() == []
    assert before[:16] == bytes(pool.memory[:16])


@pytest.mark.parametrize("align", [2**12, 2**20, 2**31, 2**32, 2**40, 2**63])
def test_an_alignment_that_nothing_fits_harms_nothing(pool: Pool, align: int) -> None:
    pool.allocate(1)
    before = bytes(pool.memory)
    assert pool.allocate(1, align=align) is None
    assert bytes(pool.memory) == before


def test_offsets_near_the_limit_are_not_wrapped() -> None:
    size = (2**31 - 1) << 4
    try:
        room = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | 0x4000)  # MAP_NORESERVE
    except OSError:
        pytest.skip("no address space of 32 GiB here")
    pool = Pool(room, secret=SECRET)
    low = pool.allocate((2**30 - 100) << 4)
    high = pool.allocate((2**30 - 100) << 4)
    assert low is not None and high is not None
    small = pool.allocate(100)
    assert small is not None and small > 2**31 - 300
    pool.memory[own(pool, small)] = b"\xff" * 16

    with pytest.raises(Damaged):
        pool.release(small)
    assert pool.repair().headers == 1

    for node in (low, small, high):
        pool.release(node)
    assert pool.check() == []
    assert [node.state for node in pool.nodes()] == [State.FREE]


def test_a_second_release_is_refused_and_recognised(pool: Pool) -> None:
    first, second, _ = taken(pool, 40, 40, 40)
    pool.release(first, site=77)
    with pytest.raises(NoSuchNode):
        pool.release(first)
    pool.release(second, site=78)
    tombstone = pool.tombstone(second)
    assert tombstone and (tombstone.state, tombstone.site, tombstone.requested) == (State.FREE, 78, 40)
    assert pool.node(second) is None
    assert pool.check() == []


def test_operations_refuse_nodes_in_other_states(pool: Pool) -> None:
    used, cached, free, _ = taken(pool, 40, 40, 40, 40)
    pool.cache(cached)
    pool.release(free)
    before = bytes(pool.memory)
    with pytest.raises(NoSuchNode):
        pool.uncache(used, 40)
    with pytest.raises(NoSuchNode):
        pool.cache(cached)
    with pytest.raises(NoSuchNode):
        pool.resize(cached, 41)
    with pytest.raises(NoSuchNode):
        pool.cache(free)
    for nowhere in (-1, 0, 1, pool.end, 2**32):
        with pytest.raises(NoSuchNode):
            pool.release(nowhere)
    assert bytes(pool.memory) == before


def test_one_byte_past_the_block_is_seen_when_it_is_released(pool: Pool) -> None:
    (block,) = taken(pool, 21)
    end = (block << pool.granule_log2) + OVERHEAD + 21
    pool.memory[end] = 0
    with pytest.raises(Damaged, match=f"what lies behind a block is damaged at node {block}: ") as caught:
        pool.release(block)
    assert (caught.value.fault.reason, caught.value.fault.node) == (Reason.SLACK, block)
    assert pool.repair().slacks == 1
    pool.release(block)


@pytest.mark.parametrize("byte", [16, 17, 23, 24, 31, 99])
def test_a_write_into_a_poisoned_block_is_seen_when_it_is_taken_again(pool: Pool, byte: int) -> None:
    (block,) = taken(pool, 100)
    pool.cache(block, poison=True)
    pool.memory[(block << pool.granule_log2) + OVERHEAD + byte] ^= 1
    with pytest.raises(Damaged) as caught:
        pool.uncache(block, 100)
    assert caught.value.fault.reason is Reason.POISON
    pool.repair()
    assert pool.uncache(block, 100)


def test_a_poisoned_block_whose_links_were_overwritten_is_poisoned_after_repair(pool: Pool) -> None:
    (block,) = taken(pool, 100)
    pool.cache(block, poison=True)
    before = bytes(pool.memory)
    pool.memory[links(pool, block)] = b"x" * 16
    assert [fault.reason for fault in pool.check()] == [Reason.LINKS]
    pool.repair()
    assert bytes(pool.memory) == before


@pytest.mark.parametrize("begin", [8, 12, 15, 16])
def test_a_poisoned_block_with_a_few_bytes_of_its_links_left_is_poisoned_after_repair(pool: Pool, begin: int) -> None:
    (block,) = taken(pool, 100)
    pool.cache(block, poison=True)
    before = bytes(pool.memory)
    start = (block << pool.granule_log2) + OVERHEAD
    pool.memory[start + begin : start + 96] = b"\xee" * (96 - begin)
    pool.repair()
    assert bytes(pool.memory) == before


@pytest.mark.parametrize("copy", [own, "backup"])
def test_releasing_into_a_free_neighbour_verifies_the_header_behind_it(pool: Pool, copy: object) -> None:
    first, second, third, _ = taken(pool, 40, 40, 40, 40)
    pool.release(second)
    before = bytes(pool.memory)
    pool.memory[own(pool, third) if copy is own else kept(pool, second)] = b"x" * 16
    for operation in (pool.release, lambda node: pool.resize(node, 60)):
        with pytest.raises(Damaged):
            operation(first)
    pool.repair()
    assert bytes(pool.memory) == before


def test_a_lost_root_is_found_by_the_release_that_needs_it(pool: Pool) -> None:
    first, second, _ = taken(pool, 40, 40, 40)
    pool.release(second)
    before = bytes(pool.memory)
    pool.memory[48:320] = bytes(272)
    assert [fault.reason for fault in pool.check()] == [Reason.CONTROL]
    with pytest.raises(Damaged) as caught:
        pool.release(first)
    assert caught.value.fault.reason is Reason.CONTROL
    assert [fault.reason for fault in pool.check()] == [Reason.CONTROL]
    pool.repair()
    assert bytes(pool.memory) == before


def test_a_root_that_names_another_free_node_is_not_followed(pool: Pool) -> None:
    small, _, large, _, _ = taken(pool, 40, 1, 60, 1, 1)
    pool.release(small)
    pool.release(large)
    before = bytes(pool.memory)
    root = before.index(struct.pack("<I", small), 56)
    pool.memory[root : root + 4] = struct.pack("<I", large)
    with pytest.raises(Damaged):
        pool.allocate(40)
    pool.repair()
    assert bytes(pool.memory) == before


def test_damaged_links_are_the_only_fault_whatever_they_interrupted(pool: Pool) -> None:
    nodes = taken(pool, *[40] * 24)
    for node in nodes[0:20:2]:
        pool.release(node)
    before = bytes(pool.memory)
    for damaged, between in zip(nodes[2:20:2], nodes[1:19:2], strict=True):
        for interrupted in (lambda: pool.allocate(40), lambda: pool.release(nodes[22]), lambda: pool.release(between)):  # noqa: B023
            pool.memory[links(pool, damaged)] = b"q" * 16
            with contextlib.suppress(Damaged):
                interrupted()
            assert [(fault.reason, fault.node) for fault in pool.check()] == [(Reason.LINKS, damaged)]
            pool.repair()
            assert pool.check() == []
            pool.memory[:] = before


def test_old_links_that_are_written_back_are_found(pool: Pool) -> None:
    nodes = taken(pool, *[40] * 20)
    for node in nodes[0::2]:
        pool.release(node)
    before = bytes(pool.memory)
    for node in nodes[0::2]:
        left, right, parent, _ = struct.unpack("<4I", pool.memory[links(pool, node)])
        if not parent:
            continue
        elsewhere = next(n for n in nodes[0::2] if n not in (node, parent))
        pool.memory[links(pool, node)] = sealed_links(SECRET, left, right, elsewhere, node).pack()
        assert (Reason.LINKS, node) in [(fault.reason, fault.node) for fault in pool.check()]
        pool.repair()
        assert bytes(pool.memory) == before


def test_links_that_lead_in_a_circle_end_no_walk(pool: Pool) -> None:
    first, _, second, _ = taken(pool, 40, 1, 40, 1)
    pool.release(first)
    pool.release(second)
    for node, other in ((first, second), (second, first)):
        circle = sealed_links(SECRET, other, other, other, node)
        pool.memory[links(pool, node)] = circle.pack()
    with pytest.raises(Damaged):
        pool.allocate(40)
    pool.repair()
    assert pool.check() == []
    assert pool.allocate(40) == first


@pytest.mark.parametrize("what", ["header", "backup", "links", "poison", "header behind", "links behind", "control"])
def test_a_run_with_damage_anywhere_stays_as_it_is(pool: Pool, what: str) -> None:
    nodes = taken(pool, *[40] * 6)
    for node in nodes[1:4]:
        pool.cache(node, poison=True)
    pool.release(nodes[4])
    before = bytes(pool.memory)
    middle, behind = nodes[2], nodes[4]
    poison = slice(links(pool, middle).stop, links(pool, middle).stop + 8)
    spots = {
        "header": own(pool, middle),
        "backup": kept(pool, nodes[1]),
        "links": links(pool, middle),
        "poison": poison,
        "header behind": own(pool, nodes[5]),
        "links behind": links(pool, behind),
        "control": slice(0, 16),
    }
    length = spots[what].stop - spots[what].start
    pool.memory[spots[what]] = b"w" * length

    with pytest.raises(Damaged):
        pool.release_run(nodes[1:4])

    pool.repair()
    assert bytes(pool.memory) == before
    pool.release_run(nodes[1:4])
    assert [node.state for node in pool.nodes()] == [State.USED, State.FREE, State.USED, State.FREE]
    assert all(pool.tombstone(node) for node in nodes[2:5])


def test_each_byte_of_a_run_and_of_its_neighbours_is_verified_before_anything_is_written(pool: Pool) -> None:
    nodes = taken(pool, *[40] * 6)
    run = nodes[1:-1]
    for node in run:
        pool.cache(node)
    copies = [(kept(pool, keeper), own(pool, node)) for keeper, node in pairwise([pool.end, *nodes])]
    both = [[at] for pair in copies for at in pair] + [[*pair] for pair in copies]
    for places in both + [[links(pool, node)] for node in run]:
        for byte in range(16):
            for place in places:
                pool.memory[place.start + byte] ^= 0x41
            damaged = bytes(pool.memory)
            with pytest.raises(Damaged):
                pool.release_run(run)
            assert bytes(pool.memory) == damaged
            for place in places:
                pool.memory[place.start + byte] ^= 0x41
    pool.release_run(run)
    assert pool.check() == []


def test_a_run_of_nodes_that_are_not_cached_or_not_side_by_side_is_refused(pool: Pool) -> None:
    first, second, third, _ = taken(pool, 40, 40, 40, 40)
    for node in (first, second, third):
        pool.cache(node)
    assert pool.uncache(second, 40)  # its payload begins with what it held as a cached node
    before = bytes(pool.memory)
    for run in ([first, second], [first, third], [third, first], [second], [first, first]):
        with pytest.raises(NoSuchNode):
            pool.release_run(run)
    pool.release_run([])
    assert bytes(pool.memory) == before


def test_what_is_released_inside_of_a_quarantined_stretch_is_kept(pool: Pool) -> None:
    before, lost, _ = taken(pool, 40, 40, 40)
    pool.memory[own(pool, lost)] = bytes(16)
    pool.memory[kept(pool, before)] = bytes(16)
    assert pool.repair().quarantined == 1
    found = pool.node(lost)
    assert found and (found.state, found.site) == (State.USED, SITE_QUARANTINE)

    pool.release(lost)
    pool.cache(lost)

    assert pool.node(lost) == found
    assert not pool.resize(lost, 10)
    assert pool.check() == []


def test_a_lost_node_costs_only_itself_when_its_backup_of_the_next_survived(pool: Pool) -> None:
    before, lost, behind, _ = taken(pool, 40, 40, 40, 40)
    header = bytes(pool.memory[own(pool, behind)])
    for copy in (kept(pool, before), own(pool, lost), own(pool, behind)):
        pool.memory[copy] = b"y" * 16
    outcome = pool.repair()
    assert (outcome.quarantined, outcome.headers) == (1, 1)
    assert pool.memory[own(pool, behind)] == header


def test_a_node_waiting_for_its_owner_has_no_damaged_slack(pool: Pool) -> None:
    (block,) = taken(pool, 3)
    pool.memory[links(pool, block)] = sealed_links(SECRET, 0, 9, 0xFFFFFFFE, block).pack()
    assert pool.check() == []
    pool.release(block)


def test_growing_leaves_nothing_of_the_old_end_behind(pool: Pool) -> None:
    room = mmap.mmap(-1, ROOM)
    pool = Pool(room, granule_log2=pool.granule_log2, size=1024, secret=SECRET)
    old = pool.end
    assert not pool.extend(1024 + 32)
    assert pool.extend(2048)
    assert pool.tombstone(old) is None
    assert struct.pack("<4I", *SECRET) not in bytes(pool.memory[32 : pool.size - 32])
    assert [node.state for node in pool.nodes()] == [State.FREE]
    while pool.allocate(16) is not None:
        pass
    assert pool.extend(ROOM)
    assert [node.state for node in pool.nodes()][-1] is State.FREE
    assert pool.check() == []


@pytest.mark.parametrize("last", [State.FREE, State.USED])
def test_a_pool_grows_only_over_what_verifies(pool: Pool, last: State) -> None:
    pool = Pool(mmap.mmap(-1, ROOM), granule_log2=pool.granule_log2, size=1024, secret=SECRET)
    while last is State.USED and pool.allocate(16) is not None:
        pass
    before = bytes(pool.memory)
    nodes = [node.offset for node in pool.nodes()]
    met = [own(pool, node) for node in (nodes[0], nodes[-1], pool.end)]
    met += [kept(pool, node) for node in ([*nodes, pool.end][-2:])]
    met += [slice(0, 32), slice(pool.size - 32, pool.size)]
    if last is State.FREE:
        met.append(links(pool, nodes[-1]))
    for byte in (byte for stretch in met for byte in range(stretch.start, stretch.stop)):
        pool.memory[byte] ^= 0x10
        with pytest.raises(Damaged):
            pool.extend(2048)
        assert pool.size == 1024
        pool.repair()
        assert bytes(pool.memory) == before
    assert pool.extend(2048)
    assert pool.check() == []


@pytest.mark.parametrize("where", ["control block", "copy"])
def test_damage_elsewhere_is_found_with_the_control_block_lost(pool: Pool, where: str) -> None:
    (block,) = taken(pool, 40)
    before = bytes(pool.memory)
    pool.memory[own(pool, block)] = bytes(16)
    start = 0 if where == "control block" else pool.size - 32
    pool.memory[start : start + 32] = b"z" * 32
    damaged = bytes(pool.memory)

    faults = pool.check()

    assert [fault.reason for fault in faults] == [Reason.CONTROL, Reason.DAMAGE]
    assert bytes(pool.memory) == damaged
    pool.repair()
    assert bytes(pool.memory) == before


def test_slack_and_poison_hold_the_pattern_of_the_format(pool: Pool) -> None:
    (block,) = taken(pool, 50)
    eight = pattern(SECRET, block)
    found = pool.node(block)
    assert found
    start = (block << pool.granule_log2) + OVERHEAD
    for byte in range(50, 50 + found.slack):
        assert pool.memory[start + byte] == eight[byte % 8]
    pool.cache(block, poison=True)
    for byte in range(16, 50 + found.slack):
        assert pool.memory[start + byte] == poison(eight)[byte % 8]


def test_at_most_as_many_faults_are_told_as_asked_for(pool: Pool) -> None:
    nodes = taken(pool, *[21] * 10)
    for node in nodes:
        pool.memory[(node << pool.granule_log2) + OVERHEAD + 21] ^= 1
    assert [len(pool.check(most)) for most in (0, 1, 3, 10, 20)] == [0, 1, 3, 10, 10]
    pool.memory[own(pool, nodes[5])] = bytes(16)
    assert [len(pool.check(most)) for most in (0, 1, 5, 6, 20)] == [0, 1, 5, 6, 9]
