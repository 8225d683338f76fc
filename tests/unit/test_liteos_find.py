"""Pools are found in a dump by themselves, whether its address is known or not, and nowhere else."""

import random
import struct
from pathlib import Path

import pytest
from support import liteos

from heapwitness.liteos import Layout, Pool
from heapwitness.liteos.find.pools import find_in, find_pools, judge
from heapwitness.liteos.image import Segment

ADDRESS = liteos.POOL_ADDRESS
BACKUP = liteos.CONFIGS["backup-32"]
LAYOUT = Layout.of(BACKUP)


def made(size: int, address: int, blocks: int = 5) -> bytearray:
    buffer = bytearray(size)
    pool = Pool.init(buffer, address, BACKUP)
    for _ in range(blocks):
        pool.alloc(50)
    return buffer


@pytest.mark.parametrize("placed", [True, False])
@pytest.mark.parametrize("path", liteos.damaged(), ids=lambda path: f"{path.parent.name}/{path.name.split('.')[0]}")
def test_a_damaged_pool_is_found_amid_other_memory(path: Path, placed: bool) -> None:
    recorded, pool = liteos.load(path)
    layout = Layout.of(liteos.config_of(recorded["config"], recorded["width"]))
    noise = random.Random(path.name)
    before = noise.randbytes(8 * noise.randrange(300))
    base = ADDRESS - len(before)

    found = find_pools(Segment(base if placed else 0, memoryview(before + pool + bytes(999))), layout, placed=placed)

    assert [(one.address, one.segment_address) for one in found] == [(ADDRESS, base)]


def test_several_pools_are_found() -> None:
    places = (ADDRESS, ADDRESS + 0x6000, ADDRESS + 0x10000)
    memory = bytearray(0x14000)
    for place in places:
        memory[place - ADDRESS : place - ADDRESS + 0x4000] = made(0x4000, place)

    for placed in (True, False):
        found = find_pools(Segment(ADDRESS if placed else 0, memoryview(memory)), LAYOUT, placed=placed)
        assert tuple(one.address for one in found) == places


def test_pools_in_several_segments_are_found() -> None:
    segments = [Segment(place, memoryview(made(0x2000, place))) for place in (ADDRESS, 0x60000000)]

    assert [one.address for one in find_in(segments, LAYOUT, placed=True)] == [ADDRESS, 0x60000000]


@pytest.mark.parametrize("hidden", [slice(0, 4), slice(0, 8), slice(8, 24), slice(0x100, 0x130)])
def test_a_pool_is_found_although_one_of_its_signs_is_gone(hidden: slice) -> None:
    memory = made(0x4000, ADDRESS)
    memory[hidden] = b"\xee" * (hidden.stop - hidden.start)

    assert [one.address for one in find_pools(Segment(ADDRESS, memoryview(memory)), LAYOUT, placed=True)] == [ADDRESS]


def test_tables_of_empty_lists_are_no_pools() -> None:
    table = b"".join(struct.pack("<II", ADDRESS + at, ADDRESS + at) for at in range(0, 8 * 64, 8))
    memory = bytes(4096) + table + bytes(8192)

    assert find_pools(Segment(ADDRESS - 4096, memoryview(memory)), LAYOUT, placed=True) == ()


def test_a_place_that_somebody_names_is_judged() -> None:
    segment = Segment(ADDRESS, memoryview(made(0x4000, ADDRESS)))

    assert judge(segment, ADDRESS, LAYOUT) is not None
    assert judge(segment, ADDRESS + 0x100, LAYOUT) is None


@pytest.mark.timeout(60)  # against a hang, not a measurement
@pytest.mark.parametrize("placed", [True, False])
@pytest.mark.parametrize("step", [0, 4, 8])
def test_memory_full_of_pointers_to_itself_is_searched_in_time(step: int, placed: bool) -> None:
    words = 1 << 18
    memory = b"".join(
        struct.pack("<I", ADDRESS + (number * 4 if step < 8 else number // 2 * 8)) for number in range(words)
    )
    memory = memory if step else struct.pack("<I", ADDRESS) * words

    find_pools(Segment(ADDRESS if placed else 0, memoryview(memory)), LAYOUT, placed=placed)
