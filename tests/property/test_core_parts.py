"""A pool that is gone through part by part, while nodes come and go, is checked as well as by one walk."""

import random

import pytest
from core_damage import spots
from test_core_damage import crowded

from heapwitness.layout.witness import CONTROL
from heapwitness.pool import Pool

LARGE = 1 << 20


def goes_through(pool: Pool) -> bool:
    """Whether all parts are as they should be."""
    at = pool.sound_from(0)
    while at:
        at = pool.sound_from(at)
    return at == 0


@pytest.mark.parametrize("log2", [3, 4])
def test_damage_to_any_byte_shows_in_one_of_the_parts(log2: int) -> None:
    pool = crowded(log2, log2, LARGE)
    choose = random.Random(log2)
    # What the control block counts, behind its fixed part, is compared by whole walks alone.
    anywhere = [spot for spot in spots(pool) if spot.begin >= CONTROL or spot.begin + spot.length <= 32]
    assert goes_through(pool)
    for spot in choose.sample(anywhere, 600):
        at = spot.begin + choose.randrange(spot.length)
        was = pool.memory[at]
        pool.memory[at] = was ^ choose.randrange(1, 256)
        assert not goes_through(pool), spot
        pool.memory[at] = was
    assert goes_through(pool)


@pytest.mark.parametrize("log2", [3, 4])
@pytest.mark.parametrize("largest", [100, 50_000])
def test_parts_of_a_healthy_pool_are_sound_whatever_happens_between_them(log2: int, largest: int) -> None:
    choose = random.Random(log2 * largest)
    pool = Pool(bytearray(LARGE + 16), granule_log2=log2, size=LARGE, secret=(5, 6, 7, 8))
    taken: list[int] = []
    while (node := pool.allocate(choose.randrange(largest))) is not None:
        taken.append(node)
    for node in taken[::3]:
        pool.release(node)
    taken = [node for index, node in enumerate(taken) if index % 3]
    at: int | None = 0
    places = set()
    for _ in range(1500):
        for _ in range(choose.randrange(12)):
            if taken and choose.random() < 0.5:
                pool.release(taken.pop(choose.randrange(len(taken))))
            elif (node := pool.allocate(choose.randrange(largest))) is not None:
                pool.payload(node)[:] = choose.randbytes(len(pool.payload(node)))
                taken.append(node)
        at = pool.sound_from(at)
        assert at is not None and pool.sound()
        places.add(at)
    assert len(places) > 3


def test_a_part_says_no_where_the_node_that_it_begins_with_was_overwritten() -> None:
    pool = crowded(1, 4, LARGE)
    at = pool.sound_from(0)
    assert at
    for byte in range(at << 4, (at << 4) + 32):
        pool.memory[byte] ^= 0xFF
        assert pool.sound_from(at) is None
        pool.memory[byte] ^= 0xFF
    assert pool.sound_from(at) is not None
