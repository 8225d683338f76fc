"""The laws of repair for damage of any size and number."""

import random
import time
from itertools import pairwise

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from heapwitness.layout.witness import CONTROL, END, HEADER, KEPT, OVERHEAD, NodeHeader, State
from heapwitness.pool import Damaged, Outcome, Pool

ROOM = 4096
NOTHING = Outcome(headers=0, backups=0, slacks=0, links=0, poisons=0, controls=0, quarantined=0)


def crowded(seed: int, log2: int, room: int = ROOM) -> Pool:
    """A pool with nodes of all states, free ones among them."""
    choose = random.Random(seed)
    words = (choose.getrandbits(32), choose.getrandbits(32), choose.getrandbits(32), choose.getrandbits(32))
    pool = Pool(bytearray(room + 16), granule_log2=log2, size=room, secret=words)
    taken = []
    while (node := pool.allocate(choose.choice((0, 5, 17, 40, 100, 333)), site=choose.randrange(1, 1000))) is not None:
        taken.append(node)
    for node in taken:
        match choose.randrange(6):
            case 0 | 1:
                pool.release(node, site=7)
            case 2:
                pool.cache(node, poison=True)
            case 3:
                pool.cache(node)
    assert pool.check() == []
    return pool


def copies(pool: Pool, nodes: list[int]) -> dict[int, tuple[bytes, bytes]]:
    """For each node: its own header and its backup."""
    log2, memory = pool.granule_log2, pool.memory
    return {
        node: (
            bytes(memory[node << log2 : (node << log2) + HEADER]),
            bytes(memory[(keeper << log2) + KEPT : (keeper << log2) + OVERHEAD]),
        )
        for keeper, node in pairwise([pool.end, *nodes])
    }


def mend(pool: Pool, truth: dict[int, tuple[bytes, bytes]]) -> None:
    """Repair, and hold the result against the law: `truth` is what the copies were before the damage."""
    left = copies(pool, [*truth])

    pool.repair()

    assert pool.check() == []
    mended = copies(pool, [*(node.offset for node in pool.nodes()), pool.end])
    for node, (own, _) in truth.items():
        if own in left[node]:
            found, was = NodeHeader.unpack(mended[node][0]), NodeHeader.unpack(own)
            assert (found.size, found.meta) == (was.size, was.meta)
    assert pool.repair() == NOTHING


@settings(max_examples=200, deadline=None, derandomize=True)
@given(
    seed=st.integers(0, 99),
    log2=st.sampled_from((3, 4)),
    writes=st.lists(
        st.tuples(st.integers(32, ROOM - END - 1), st.integers(1, 700), st.integers(0, 2**32 - 1)), max_size=6
    ),
)
def test_whatever_was_overwritten_repair_leaves_no_fault_and_every_node_that_had_a_good_copy(
    seed: int, log2: int, writes: list[tuple[int, int, int]]
) -> None:
    pool = crowded(seed, log2)
    truth = copies(pool, [*(node.offset for node in pool.nodes()), pool.end])
    for begin, length, noise in writes:
        length = min(length, ROOM - END - begin)
        pool.memory[begin : begin + length] = random.Random(noise).randbytes(length)
    mend(pool, truth)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(
    seed=st.integers(0, 99),
    log2=st.sampled_from((3, 4)),
    first=st.integers(0, 40),
    gone=st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=12),
)
def test_whichever_copies_are_lost_every_node_that_has_one_left_is_restored(
    seed: int, log2: int, first: int, gone: list[tuple[bool, bool]]
) -> None:
    pool = crowded(seed, log2)
    nodes = [pool.end, *(node.offset for node in pool.nodes()), pool.end]
    truth = copies(pool, nodes[1:])
    first = min(first, len(nodes) - 2)
    for (keeper, node), (own, kept) in zip(pairwise(nodes[first:]), gone, strict=False):
        if own:
            pool.memory[node << log2 : (node << log2) + HEADER] = b"o" * HEADER
        if kept:
            pool.memory[(keeper << log2) + KEPT : (keeper << log2) + OVERHEAD] = b"k" * HEADER
    mend(pool, truth)


@pytest.mark.parametrize("log2", [3, 4])
@pytest.mark.parametrize("length", [1, 16, 48, 200, 1000, 2500])
def test_after_an_overflow_over_several_nodes_the_pool_goes_on(log2: int, length: int) -> None:
    pool = crowded(3, log2)
    culprit = next(node for node in pool.nodes() if node.state is State.USED and node.offset > (600 >> log2))
    start = (culprit.offset << log2) + OVERHEAD + culprit.requested
    pool.memory[start : start + length] = b"A" * length

    with pytest.raises(Damaged):
        pool.release(culprit.offset)
    faults = pool.check()
    pool.repair()

    assert faults[0].low == culprit.offset or faults[0].node == culprit.offset
    assert pool.check() == []
    pool.release(culprit.offset)
    for node in list(pool.nodes()):
        if node.state is not State.FREE:
            pool.release(node.offset)
    assert pool.check() == []
    assert all(node.state is State.FREE or node.site == 0xFFFFFF for node in pool.nodes())
    assert pool.allocate(1) is not None


@pytest.mark.parametrize("fill", [b"\0", b"\xff", b"A"])
def test_a_pool_filled_with_one_value_is_lost_and_nothing_is_followed(fill: bytes) -> None:
    pool = crowded(1, 4)
    node = next(pool.nodes()).offset
    pool.memory[:] = fill * ROOM

    assert [fault.reason.name for fault in pool.check()] == ["CONTROL"]
    with pytest.raises(Exception, match="both lost"):
        pool.repair()
    for operation in (pool.release, pool.cache, lambda n: pool.resize(n, 5), lambda n: pool.uncache(n, 5)):
        with pytest.raises(Damaged):
            operation(node)
    with pytest.raises(Damaged):
        pool.allocate(5)
    with pytest.raises(Damaged):
        pool.extend(ROOM)


def test_all_nodes_lost_become_one_quarantined_stretch_in_linear_time() -> None:
    room = 16 << 20
    pool = Pool(bytearray(room + 16), size=room)
    while pool.allocate(100) is not None:
        pass
    pool.memory[CONTROL : room - END] = random.Random(1).randbytes(room - END - CONTROL)

    begin = time.process_time()
    faults = pool.check()
    outcome = pool.repair()
    spent = time.process_time() - begin

    assert len(faults) == 1
    assert outcome.quarantined == 1
    assert pool.check() == []
    assert spent < 2


def test_many_lost_nodes_take_linear_time() -> None:
    room = 8 << 20
    pool = Pool(bytearray(room + 16), size=room)
    nodes = []
    while (node := pool.allocate(16)) is not None:
        nodes.append(node)
    for node in nodes[1::3]:
        pool.memory[node << 4 : (node << 4) + HEADER] = bytes(HEADER)
        pool.memory[(node << 4) - 32 : (node << 4) - 16] = bytes(HEADER)

    begin = time.process_time()
    outcome = pool.repair()
    spent = time.process_time() - begin

    assert outcome.quarantined == len(nodes[1::3])
    assert pool.check() == []
    assert spent < 2
