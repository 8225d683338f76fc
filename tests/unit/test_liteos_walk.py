"""A walk finds every node whatever is damaged, believes nothing unverified, and always ends."""

import struct
from pathlib import Path

import pytest
from support import liteos

from heapwitness.liteos import Layout, Pool
from heapwitness.liteos.heap.ends import NoPool
from heapwitness.liteos.heap.walk import walk

ADDRESS = liteos.POOL_ADDRESS
BACKUP = liteos.CONFIGS["backup-32"]
LAYOUT = Layout.of(BACKUP)


def pool_of(count: int, size: int = 40) -> tuple[bytearray, list[int]]:
    buffer = bytearray(16384)
    pool = Pool.init(buffer, ADDRESS, BACKUP)
    return buffer, [block for block in (pool.alloc(size) for _ in range(count)) if block is not None]


@pytest.mark.parametrize("path", liteos.damaged(), ids=lambda path: f"{path.parent.name}/{path.name.split('.')[0]}")
def test_every_node_of_a_damaged_pool_is_found(path: Path) -> None:
    recorded, image = liteos.load(path)
    layout = Layout.of(liteos.config_of(recorded["config"], recorded["width"]))

    walked = walk(image, recorded["pool"], layout)

    assert [node.address for node in walked.everything] == [node["node"] for node in recorded["nodes"]]


def test_the_first_nodes_backup_lies_in_the_end_node() -> None:
    buffer, _ = pool_of(2)

    walked = walk(buffer, ADDRESS, LAYOUT)

    assert walked.nodes[0].previous == walked.end.address == ADDRESS + 16384 - LAYOUT.node_size


def test_a_node_with_one_damaged_copy_is_taken_from_the_other() -> None:
    buffer, blocks = pool_of(3)
    header = blocks[1] - ADDRESS - LAYOUT.control.size
    buffer[header : header + 24] = b"\xff" * 24

    node = walk(buffer, ADDRESS, LAYOUT).nodes[1]

    assert (node.own_good, node.backup_good) == (False, True)
    assert node.header is not None and node.header.size == node.size == 88


def test_where_both_copies_are_lost_the_next_node_tells_the_extent() -> None:
    buffer, blocks = pool_of(4)
    for start in (blocks[1] - ADDRESS - 24, blocks[0] - ADDRESS - 48):
        buffer[start : start + 24] = b"\xee" * 24

    node = walk(buffer, ADDRESS, LAYOUT).nodes[1]

    assert (node.header, node.size, node.exact) == (None, 88, True)


def test_after_a_long_stretch_of_damage_the_walk_goes_on_at_the_next_place_that_verifies() -> None:
    buffer, blocks = pool_of(10)
    buffer[blocks[2] - ADDRESS - 48 : blocks[6] - ADDRESS] = bytes(blocks[6] - blocks[2] + 48)

    walked = walk(buffer, ADDRESS, LAYOUT)

    starts = [node.address + LAYOUT.node_size for node in walked.nodes]
    assert starts == [*blocks[:4], *blocks[6:], blocks[9] + 88]
    assert [node.exact for node in walked.nodes[:5]] == [True, True, True, False, True]


def test_an_image_that_is_cut_short_is_walked_as_far_as_it_goes() -> None:
    buffer, blocks = pool_of(10)

    walked = walk(buffer[: blocks[5] - ADDRESS], ADDRESS, LAYOUT)

    # The backup of one node more is still there.
    assert len(walked.nodes) == 7
    assert walked.truncated == blocks[5]
    assert all(node.intact for node in walked.nodes[1:])


def test_a_damaged_size_in_the_pools_info_does_not_hide_the_end() -> None:
    buffer, blocks = pool_of(3)
    buffer[4:8] = b"\xff\xff\xff\x0f"

    walked = walk(buffer, ADDRESS, LAYOUT)

    assert (walked.info.size, walked.info.size_good) == (16384, False)
    assert len(walked.nodes) == len(blocks) + 1


def test_a_header_that_leads_back_to_itself_ends() -> None:
    buffer, blocks = pool_of(3)
    at = blocks[1] - ADDRESS - 4
    for value in (0x80000000, 0, 0xFFFFFFFF, 0x80000000 | 48):
        buffer[at : at + 4] = struct.pack("<I", value)
        assert len(walk(buffer, ADDRESS, LAYOUT).nodes) == 4


def test_bytes_without_a_pool_are_refused() -> None:
    with pytest.raises(NoPool, match="too few"):
        walk(bytes(100), ADDRESS, LAYOUT)
    with pytest.raises(NoPool, match="where a pool ends"):
        walk(bytes(16384), ADDRESS, LAYOUT)


@pytest.mark.timeout(60)  # against a hang, not a measurement
def test_a_pool_that_claims_more_than_there_is_costs_nothing() -> None:
    buffer = bytearray(1 << 20)
    struct.pack_into("<II", buffer, 0, ADDRESS, 0x3FFFFFF0)

    walked = walk(buffer, ADDRESS, LAYOUT)

    assert walked.truncated is not None or walked.nodes
