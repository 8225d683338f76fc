"""The core's check and the Python walker, written apart, find the same in every pool."""

import random
import struct

import hypothesis.strategies as st
import pytest
from core_damage import spots
from hypothesis import given, settings
from test_core_damage import ROOM, crowded

from heapwitness.heap import WalkedPool, check
from heapwitness.heap.pool import LostPool
from heapwitness.layout.witness import CONTROL, HEADER, KEPT, OVERHEAD, Links, Origin, State, meta, sealed, sealed_links
from heapwitness.memory import BufferMemory
from heapwitness.pool import Damaged, Pool

LARGE = 1 << 20  # hw_sound goes through several stretches of such a pool by turns
SECRET = (1, 2, 3, 4)
Faults = list[tuple[int, int, int, int]]


def by_core(pool: Pool) -> Faults:
    return [(fault.reason, fault.node, fault.low, fault.high) for fault in pool.check()]


def by_python(pool: Pool) -> Faults:
    memory = BufferMemory(pool.address, bytes(pool.memory))
    try:
        view = WalkedPool.open(memory, pool.address, pool.size)
    except LostPool:
        return [(5, 0, 0, 0)]
    return [(fault.reason, fault.node, fault.low, fault.high) for fault in check(view)]


@st.composite
def writes(draw: st.DrawFn) -> list[tuple[int, bytes]]:
    """Any bytes anywhere: fills and noise, from one byte to many nodes."""
    made = []
    for _ in range(draw(st.integers(0, 5))):
        begin = draw(st.one_of(st.integers(0, CONTROL - 1), st.integers(0, ROOM - 1)))
        length = min(draw(st.one_of(st.integers(1, 40), st.integers(1, 900))), ROOM - begin)
        fill = draw(st.one_of(st.none(), st.integers(0, 255)))
        noise = random.Random(draw(st.integers(0, 2**32 - 1)))
        made.append((begin, noise.randbytes(length) if fill is None else bytes([fill]) * length))
    return made


@settings(max_examples=300, deadline=None, derandomize=True)
@given(seed=st.integers(0, 99), log2=st.sampled_from((3, 4)), damage=writes(), interrupted=st.integers(0, 20))
def test_the_core_and_the_python_walker_find_the_same(
    seed: int, log2: int, damage: list[tuple[int, bytes]], interrupted: int
) -> None:
    pool = crowded(seed, log2)
    for begin, data in damage:
        pool.memory[begin : begin + len(data)] = data
    # Operations that stop at the damage may leave the index stale.
    for _ in range(interrupted):
        try:
            pool.allocate(40)
        except Damaged:
            break

    assert by_python(pool) == by_core(pool)
    assert pool.sound() == (by_core(pool) == [])


@pytest.mark.parametrize("log2", [3, 4])
def test_a_large_pool_is_not_sound_when_any_byte_is_damaged(log2: int) -> None:
    pool = crowded(log2, log2, LARGE)
    choose = random.Random(log2)
    assert pool.sound()
    for spot in choose.sample(list(spots(pool)), 1000):
        at = spot.begin + choose.randrange(spot.length)
        was = pool.memory[at]
        pool.memory[at] = was ^ choose.randrange(1, 256)
        assert not pool.sound(), spot
        pool.memory[at] = was
    assert pool.sound()


def test_a_block_full_of_headers_that_hold_changes_nothing_about_its_pool() -> None:
    pool = Pool(bytearray(LARGE + 16), granule_log2=4, size=LARGE, secret=SECRET)
    first, block, behind = (pool.allocate(size) for size in (40, LARGE - 8192, 40))
    assert first is not None and block is not None and behind is not None
    payload = pool.payload(block)
    for begin in range(0, len(payload) - 16, 16):
        at = block + ((OVERHEAD + begin) >> 4)
        payload[begin : begin + 16] = sealed(SECRET, 3, 3, meta(0, State.USED, Origin.MALLOC, 0), at).pack()

    assert pool.sound() and pool.check() == []
    pool.memory[behind << 4] ^= 1
    assert not pool.sound() and pool.check() != []


@pytest.mark.parametrize("forge", [(12, State.USED), (6, State.END), (1, State.USED), (2**31, State.USED)])
def test_a_node_that_holds_but_does_not_lead_to_the_next_one_is_never_sound(forge: tuple[int, State]) -> None:
    room = LARGE // 4
    pool = Pool(bytearray(room + 16), granule_log2=3, size=room, secret=SECRET)
    nodes = []
    while (node := pool.allocate(16)) is not None:
        nodes.append(node)
    assert pool.sound()
    for before, node, behind in zip(nodes, nodes[1:], nodes[3:], strict=False):
        second = bytes(pool.memory[behind << 3 : (behind << 3) + HEADER])
        kept = bytes(pool.memory[(node << 3) + KEPT : (node << 3) + OVERHEAD])
        for (granules, is_now), keeps, sound in ((forge, second, False), ((6, State.USED), kept, True)):
            header = sealed(SECRET, granules, 6, meta(0, is_now, Origin.MALLOC, 0), node).pack()
            pool.memory[(before << 3) + KEPT : (before << 3) + OVERHEAD] = header
            pool.memory[node << 3 : (node << 3) + OVERHEAD] = header + keeps
            assert pool.sound() == sound


def test_a_free_node_that_names_a_parent_which_does_not_lead_to_it_is_not_sound() -> None:
    pool = crowded(3, 4)
    s0, s1, s2, s3 = struct.unpack_from("<4I", pool.memory, 16)
    for node in [node.offset for node in pool.nodes() if node.state is State.FREE]:
        links = slice((node << 4) + OVERHEAD, (node << 4) + OVERHEAD + HEADER)
        was = bytes(pool.memory[links])
        left, right, _, _ = Links.unpack(was)
        pool.memory[links] = sealed_links((s0, s1, s2, s3), left, right, node, node).pack()
        assert not pool.sound() and pool.check() != []
        pool.memory[links] = was
    assert pool.sound()
