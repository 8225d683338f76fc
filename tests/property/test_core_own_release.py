"""The law of a node's order: what is written right before or right behind a payload is noticed at its own release."""

from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from heapwitness.layout.witness import OVERHEAD
from heapwitness.pool import Damaged, Pool

ROOM = 32 << 10
NEAR = 16
"""Bytes on either side of a payload that its release compares."""

sizes = st.one_of(st.integers(1, 200), st.sampled_from((16, 32, 48, 64, 128, 512, 1008, 1024, 2400, 4096)))


class Change(NamedTuple):
    """Bytes `at` from a block's start (negative) or end, changed by `mask`, of which no byte is 0."""

    before: bool
    at: int
    mask: bytes


@st.composite
def changes(draw: st.DrawFn) -> Change:
    at = draw(st.integers(0, NEAR - 1))
    mask = draw(st.lists(st.integers(1, 255), min_size=1, max_size=NEAR - at))
    return Change(draw(st.booleans()), at, bytes(mask))


def spoiled(log2: int, around: list[int], size: int, change: Change) -> tuple[Pool, int, bytes]:
    """A pool with a changed block in it: the pool, the block's node, and the bytes before the change."""
    pool = Pool(bytearray(ROOM + 16), granule_log2=log2, size=ROOM)
    nodes = [pool.allocate(one) for one in (*around, size, *around)]
    node = nodes[len(around)]
    assert node is not None
    before = bytes(pool.memory)
    start = (node << log2) + OVERHEAD
    first = start - NEAR + change.at if change.before else start + size + change.at
    for byte, mask in enumerate(change.mask, first):
        pool.memory[byte] ^= mask
    return pool, node, before


@pytest.mark.parametrize("operation", ["release", "cache", "grow", "shrink"])
@settings(max_examples=150, deadline=None, derandomize=True)
@given(log2=st.sampled_from((3, 4)), around=st.lists(sizes, min_size=1, max_size=3), size=sizes, change=changes())
def test_a_change_next_to_a_block_is_noticed_before_its_memory_is_given_to_anybody(
    operation: str, log2: int, around: list[int], size: int, change: Change
) -> None:
    pool, node, before = spoiled(log2, around, size, change)

    with pytest.raises(Damaged):
        match operation:
            case "release":
                pool.release(node)
            case "cache":
                pool.cache(node)
            case "grow":
                pool.resize(node, size + 100)
            case _:
                pool.resize(node, 1)

    pool.repair()
    assert bytes(pool.memory) == before
