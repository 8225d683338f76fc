"""The core's check and the Python walker, written apart, find the same in every pool."""

import random

import hypothesis.strategies as st
from hypothesis import given, settings
from test_core_damage import ROOM, crowded

from heapwitness.heap import Pool as View
from heapwitness.heap import check
from heapwitness.heap.pool import BadPool
from heapwitness.layout.witness import CONTROL
from heapwitness.memory import BufferMemory
from heapwitness.pool import Damaged, Pool

Faults = list[tuple[int, int, int, int]]


def by_core(pool: Pool) -> Faults:
    return [(fault.reason, fault.node, fault.low, fault.high) for fault in pool.check()]


def by_python(pool: Pool) -> Faults:
    memory = BufferMemory(pool.address, bytes(pool.memory))
    try:
        view = View.open(memory, pool.address, pool.size)
    except BadPool:
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
