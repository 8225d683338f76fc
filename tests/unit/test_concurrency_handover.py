"""What another thread writes into a block that it hands over is no damage, whatever moment a walk sees."""

import pytest

from heapwitness.heap import WalkedPool, check
from heapwitness.layout import witness
from heapwitness.layout.witness import Links
from heapwitness.memory import BufferMemory
from heapwitness.pool import Pool

pytestmark = pytest.mark.parametrize("size", range(1, 17))


def faults(pool: Pool) -> list[tuple[str, int]]:
    """What the core and the Python walker, which must agree, find wrong."""
    view = WalkedPool.open(BufferMemory(pool.address, bytes(pool.memory)), pool.address, pool.size)
    by_core = [(fault.reason.name, fault.node) for fault in pool.check()]
    assert [(fault.reason.name, fault.node) for fault in check(view)] == by_core
    return by_core


def pool_with(size: int) -> tuple[Pool, int, WalkedPool]:
    """A pool with a block of the smallest node's size, that node, and how Python sees the pool."""
    pool = Pool(bytearray(1 << 16))
    pool.allocate(100)
    node = pool.allocate(size)
    assert node is not None
    view = WalkedPool.open(BufferMemory(pool.address, bytes(pool.memory)), pool.address, pool.size)
    return pool, node, view


def test_every_step_of_writing_the_links_is_sound(size: int) -> None:
    pool, node, view = pool_with(size)
    payload = (node << 4) + witness.OVERHEAD
    begun = witness.keyed(view.secret, 0xFFFFFFFF, 0xFFFFFFFF, witness.PENDING_PARENT, node + witness.LINK_KEY)
    links = Links(77, 88, witness.PENDING_PARENT, 0)
    check_word = witness.keyed(view.secret, links.left, links.right, links.parent, node + witness.LINK_KEY)
    steps = [(12, begun), (0, links.left), (4, links.right), (8, links.parent), (12, check_word)]
    again = [(12, begun), (0, 99), (12, witness.keyed(view.secret, 99, 88, links.parent, node + witness.LINK_KEY))]

    found = []
    for at, word in steps + again:
        pool.memory[payload + at : payload + at + 4] = word.to_bytes(4, "little")
        found += faults(pool)

    assert found == []


def test_the_same_bytes_without_the_right_check_are_damage(size: int) -> None:
    pool, node, _ = pool_with(size)
    payload = (node << 4) + witness.OVERHEAD
    pool.memory[payload : payload + 16] = Links(77, 88, witness.PENDING_PARENT, 1234).pack()

    assert faults(pool) == ([] if size == 16 else [("SLACK", node)])
