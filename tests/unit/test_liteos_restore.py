"""A repaired pool has no finding and passes the kernel's own check; what can be known is right to the byte."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support import liteos

from heapwitness.liteos import Layout, Pool
from heapwitness.liteos.diagnose.diagnose import diagnose
from heapwitness.liteos.diagnose.plan import apply, plan

ADDRESS = liteos.POOL_ADDRESS
BACKUP = liteos.CONFIGS["backup-32"]
DAMAGED = [path for path in liteos.damaged() if not path.name.startswith(("wild-", "healthy"))]


def case_name(path: Path) -> str:
    return f"{path.parent.name}/{path.name.split('.')[0]}"


def restored(recorded: dict[str, Any], image: bytearray) -> tuple[bytearray, tuple[str, ...]]:
    layout = Layout.of(liteos.config_of(recorded["config"], recorded["width"]))
    plan_ = plan(image, recorded["pool"], layout)
    fixed = bytearray(image)
    apply(fixed, recorded["pool"], plan_)
    return fixed, plan_.unrestored


@pytest.mark.parametrize("path", DAMAGED, ids=case_name)
def test_a_repaired_pool_has_no_finding_and_passes_the_kernels_check(path: Path) -> None:
    recorded, image = liteos.load(path)
    config = liteos.config_of(recorded["config"], recorded["width"])

    fixed, _ = restored(recorded, image)

    assert diagnose(fixed, ADDRESS, Layout.of(config)) == ()
    if config.width == 32:
        checked = Pool.attach(bytearray(fixed), ADDRESS, replace(config, integrity_check=True), faithful=True)
        assert checked.integrity_check()
        assert checked.console == []


@pytest.mark.parametrize("path", DAMAGED, ids=case_name)
def test_every_header_is_the_healthy_one_or_told_to_be_assumed(path: Path) -> None:
    recorded, image = liteos.load(path)
    layout = Layout.of(liteos.config_of(recorded["config"], recorded["width"]))

    fixed, unrestored = restored(recorded, image)

    for node in recorded["nodes"]:
        truth = node["header"]
        header = layout.decode_control(fixed, node["node"] - ADDRESS + layout.header_offset)
        found = {
            "freeNodeInfo.pstPrev": header.prev,
            "freeNodeInfo.pstNext": header.next,
            "preNode": header.pre_node,
            "gapSize": header.gap_size,
            "checksum": header.checksum,
            "originSize": header.origin_size,
            "sizeAndFlag": header.size_and_flag,
        }
        wrong = {name for name, value in found.items() if name in truth and truth[name] != value}
        assert not wrong or any(f"{node['node']:#x}" in sentence for sentence in unrestored), wrong


@pytest.mark.parametrize("path", DAMAGED, ids=case_name)
def test_the_whole_pool_is_healthy_again_unless_something_is_told_to_be_lost(path: Path) -> None:
    recorded, image = liteos.load(path)
    layout = Layout.of(liteos.config_of(recorded["config"], recorded["width"]))
    # Of a payload there is no other copy.
    reached_payload = recorded["damaged"].get("bytes_past_end", 0) > layout.node_size

    fixed, unrestored = restored(recorded, image)

    assert liteos.sha256(fixed) == recorded["sha256_healthy"] or unrestored or reached_payload


def test_each_changed_byte_is_told_with_its_reason() -> None:
    buffer = bytearray(16384)
    pool = Pool.init(buffer, ADDRESS, BACKUP)
    blocks = [pool.alloc(40) for _ in range(3)]
    assert blocks[1] is not None
    healthy = bytes(buffer)
    at = blocks[1] - ADDRESS - 4
    buffer[at : at + 4] = b"abcd"

    (change,) = plan(buffer, ADDRESS, pool.layout).changes

    assert (change.address, change.old, change.new) == (ADDRESS + at, b"abcd", healthy[at : at + 4])
    assert "restored from its backup" in change.why


def test_a_healthy_pool_is_not_changed() -> None:
    buffer = bytearray(16384)
    pool = Pool.init(buffer, ADDRESS, BACKUP)
    pool.alloc(40)

    restoration = plan(buffer, ADDRESS, pool.layout)

    assert (restoration.changes, restoration.unrestored) == ((), ())


def test_a_free_node_that_lost_both_copies_is_rebuilt_to_the_byte_from_the_list_that_names_it() -> None:
    buffer = bytearray(16384)
    pool = Pool.init(buffer, ADDRESS, BACKUP)
    blocks = [block for block in (pool.alloc(40) for _ in range(5)) if block is not None]
    pool.free(blocks[1])
    pool.free(blocks[3])
    healthy = bytes(buffer)
    for start in (blocks[1] - ADDRESS - 24, blocks[0] - ADDRESS - 48):
        buffer[start : start + 24] = b"\xee" * 24

    restoration = plan(buffer, ADDRESS, pool.layout)
    apply(buffer, ADDRESS, restoration)

    assert bytes(buffer) == healthy
    assert restoration.unrestored == ()


def test_a_used_node_that_lost_both_copies_gets_its_task_back_from_the_statistics() -> None:
    config = liteos.CONFIGS["backup-taskstat-32"]
    buffer = bytearray(16384)
    pool = Pool.init(buffer, ADDRESS, config)
    blocks = []
    for task in (1, 4, 2):
        pool.task = task
        blocks.append(pool.alloc(40) or 0)
    healthy = bytes(buffer)
    for start in (blocks[1] - ADDRESS - 24, blocks[0] - ADDRESS - 48):
        buffer[start : start + 24] = b"\xee" * 24

    restoration = plan(buffer, ADDRESS, pool.layout)
    apply(buffer, ADDRESS, restoration)

    assert bytes(buffer) == healthy
    assert all("taskId" not in sentence for sentence in restoration.unrestored)


def test_two_flipped_bits_in_both_copies_are_undone_by_what_the_checksum_says() -> None:
    buffer = bytearray(16384)
    pool = Pool.init(buffer, ADDRESS, BACKUP)
    blocks = [pool.alloc(40) or 0 for _ in range(4)]
    healthy = bytes(buffer)
    buffer[blocks[1] - ADDRESS - 24 + 8] ^= 4  # preNode in the header
    buffer[blocks[0] - ADDRESS - 48 + 20] ^= 8  # sizeAndFlag in the backup

    restoration = plan(buffer, ADDRESS, pool.layout)
    apply(buffer, ADDRESS, restoration)

    assert bytes(buffer) == healthy
    assert restoration.unrestored == ()


def test_a_stretch_of_lost_nodes_becomes_one_block_in_use() -> None:
    buffer = bytearray(16384)
    pool = Pool.init(buffer, ADDRESS, BACKUP)
    blocks = [pool.alloc(40) or 0 for _ in range(10)]
    buffer[blocks[2] - ADDRESS - 48 : blocks[6] - ADDRESS] = bytes(blocks[6] - blocks[2] + 48)

    restoration = plan(buffer, ADDRESS, pool.layout)
    apply(buffer, ADDRESS, restoration)

    assert diagnose(buffer, ADDRESS, pool.layout) == ()
    assert restoration.unrestored
