"""Damaged pools are told as they were damaged: kind, culprit, victim, extent, and both copies."""

from pathlib import Path
from typing import Any

import pytest
from support import liteos

from heapwitness.liteos import Layout, Pool
from heapwitness.liteos.diagnose.diagnose import diagnose
from heapwitness.liteos.diagnose.finding import LiteosFinding
from heapwitness.liteos.diagnose.freeing import explain
from heapwitness.liteos.heap.view import PoolView
from heapwitness.liteos.heap.walk import walk

CASES = liteos.damaged()
ADDRESS = liteos.POOL_ADDRESS
BACKUP = liteos.CONFIGS["backup-32"]


def case_name(path: Path) -> str:
    return f"{path.parent.name}/{path.name.split('.')[0]}"


def findings_of(recorded: dict[str, Any], image: bytearray) -> tuple[LiteosFinding, ...]:
    layout = Layout.of(liteos.config_of(recorded["config"], recorded["width"]))
    return diagnose(image, recorded["pool"], layout)


@pytest.mark.parametrize("path", CASES, ids=case_name)
def test_damage_is_told_with_kind_culprit_victim_and_extent(path: Path) -> None:
    recorded, image = liteos.load(path)
    truth = recorded["damaged"]

    found = findings_of(recorded, image)

    victims = [] if not recorded["writes"] else truth.get("victims") or [truth["victim"]]
    assert [finding.kind for finding in found] == [truth["kind"]] * len(victims)
    for number, (finding, victim) in enumerate(zip(found, victims, strict=True)):
        assert victim is None or finding.node == victim
        assert (finding.culprit.address if finding.culprit else None) == truth.get("culprit")
        writes = recorded["writes"] if truth.get("copy") == "both" else recorded["writes"][number : number + 1]
        for write, extent in zip(writes, finding.extents, strict=True):
            assert_extent(truth, write, extent.address, extent.length)


def assert_extent(truth: dict[str, Any], write: tuple[int, str], address: int, length: int) -> None:
    start, size = write[0], len(write[1]) // 2
    if truth["kind"].startswith("heap-buffer-"):
        assert (address, length) == (start, size)
    else:
        # Of a word that was written, only the bytes that changed can be seen.
        assert start <= address and address + length <= start + size
        assert length == size or size <= 8


@pytest.mark.parametrize("path", CASES, ids=case_name)
def test_both_copies_of_each_damaged_header_are_shown_and_the_true_one_is_known(path: Path) -> None:
    recorded, image = liteos.load(path)
    headers = {node["node"]: node["header"] for node in recorded["nodes"]}

    for finding in findings_of(recorded, image):
        for pair in finding.pairs:
            stored, backup = pair.header.stored, pair.header.backup
            assert stored is not None and backup is not None
            good = stored if stored["valid"] else backup if backup["valid"] else None
            if good is not None:
                truth = {name: value for name, value in headers[pair.node].items() if name != "linkReg"}
                assert good.items() >= truth.items()
                assert pair.trusted is not None and pair.trusted.items() >= truth.items()


@pytest.mark.parametrize("trace", liteos.traces(), ids=case_name)
def test_a_healthy_pool_has_no_finding_at_any_time(trace: Path) -> None:
    operations = liteos.operations(trace)
    buffer, pool = liteos.begin(next(operations), faithful=True)

    for number, operation in enumerate(operations):
        if operation["op"] == "sha256":
            assert diagnose(buffer, ADDRESS, pool.layout) == (), number
        elif operation["op"] != "info":
            liteos.perform(pool, operation)


@pytest.mark.parametrize("path", [path for path in CASES if path.name.startswith("wild-")], ids=case_name)
def test_a_wild_pointer_is_explained(path: Path) -> None:
    recorded, image = liteos.load(path)
    view = PoolView(bytes(image), recorded["pool"], Layout.of(liteos.config_of(recorded["config"], recorded["width"])))

    finding = explain(view, walk(image, view.address, view.layout), int(recorded["detect"].split()[1], 16), {}, "free")

    assert finding is not None
    assert finding.kind == "invalid-free"


def pool_of_blocks(sizes: list[int], name: str = "backup-32") -> tuple[bytearray, Pool, list[int]]:
    buffer = bytearray(16384)
    pool = Pool.init(buffer, ADDRESS, liteos.CONFIGS[name], link_registers=liteos.link_registers)
    blocks = [pool.alloc(size) for size in sizes]
    assert None not in blocks
    return buffer, pool, [block for block in blocks if block is not None]


def test_an_overflow_through_a_whole_block_is_one_finding() -> None:
    buffer, pool, blocks = pool_of_blocks([32, 32, 32, 32])
    start = blocks[1] - ADDRESS - pool.layout.node_size
    buffer[start : start + 100] = (b"payload " * 13)[:100]

    (finding,) = pool.check()

    assert (finding.kind, finding.damage and finding.damage.length) == ("heap-buffer-overflow", 100)
    assert finding.culprit is not None and finding.culprit.address == blocks[0]


def test_an_overflow_without_a_pattern_may_go_on_unseen() -> None:
    buffer, pool, blocks = pool_of_blocks([32, 32, 32])
    start = blocks[1] - ADDRESS - pool.layout.node_size
    buffer[start : start + 48] = bytes((7 * number * number + 3) % 256 for number in range(48))

    (finding,) = pool.check()

    assert finding.damage is not None
    assert (finding.damage.length, finding.damage.exact) == (48, False)


def test_a_fill_that_comes_out_of_the_block_is_an_overflow_even_when_it_fills_one_copy_exactly() -> None:
    buffer, pool, blocks = pool_of_blocks([32, 32, 32])
    end = blocks[0] - ADDRESS + 32
    buffer[end - 32 : end + pool.layout.control.size] = b"\x5a" * (32 + pool.layout.control.size)

    (finding,) = pool.check()

    assert finding.kind == "heap-buffer-overflow"


def test_a_fill_of_one_copy_alone_is_a_wild_write() -> None:
    buffer, pool, blocks = pool_of_blocks([32, 32, 32])
    end = blocks[0] - ADDRESS + 32
    buffer[end : end + pool.layout.control.size] = b"\x5a" * pool.layout.control.size

    (finding,) = pool.check()

    assert finding.kind == "header-overwrite"
    assert "would look the same" in finding.detail


def test_a_byte_that_was_overwritten_with_its_own_value_does_not_hide_an_overflow() -> None:
    buffer, pool, blocks = pool_of_blocks([32, 32, 32])
    end = blocks[0] - ADDRESS + 32
    buffer[end + 1 : end + 4] = b"abc"

    (finding,) = pool.check()

    assert finding.kind == "heap-buffer-overflow"
    assert finding.damage is not None and (finding.damage.offset, finding.damage.length) == (0, 4)
    assert "The first 1 byte behind the block is as before." in finding.detail


def test_an_overflow_into_an_aligned_block_is_one_finding_though_it_reaches_its_gap_word() -> None:
    buffer, pool, blocks = pool_of_blocks([32])
    aligned = pool.alloc_align(100, 64)
    assert aligned is not None and pool.layout.node_size < aligned - blocks[0] - 32
    end = blocks[0] + 32 - ADDRESS
    length = aligned - ADDRESS - end
    buffer[end : end + length] = bytes(number * number % 251 for number in range(length))

    (finding,) = pool.check()

    assert finding.damage is not None
    assert (finding.kind, finding.damage.length, finding.damage.exact) == ("heap-buffer-overflow", length, False)


def test_padding_before_the_damage_belongs_to_it_where_all_other_nodes_have_something_else() -> None:
    buffer, pool, blocks = pool_of_blocks([32] * 8, "backup-64")
    at = blocks[4] - ADDRESS
    buffer[at - 8 : at] = b"UNDERRUN"

    (finding,) = pool.check()

    assert finding.damage is not None
    assert (finding.kind, finding.damage.length) == ("heap-buffer-underflow", 8)


def test_a_free_block_before_the_damage_is_told_to_be_free() -> None:
    buffer, pool, blocks = pool_of_blocks([32, 32, 32])
    assert pool.free(blocks[0])
    end = blocks[0] - ADDRESS + 32
    buffer[end : end + 6] = b"stale!"

    (finding,) = pool.check()

    assert finding.culprit is not None and finding.culprit.state == "free"
    assert "free" in finding.detail


def test_one_byte_zeroed_before_a_block_is_a_single_bit_of_its_flags() -> None:
    buffer, pool, blocks = pool_of_blocks([32, 32, 32])
    buffer[blocks[1] - ADDRESS - 1] = 0

    (finding,) = pool.check()

    assert (finding.kind, finding.detail) == ("header-overwrite", "A single bit differs.")


def test_a_list_head_that_was_overwritten_is_found_by_the_nodes_of_its_list() -> None:
    buffer, pool, blocks = pool_of_blocks([100, 32, 100, 32])
    assert pool.free(blocks[0]) and pool.free(blocks[2])
    head = next(
        at
        for at in range(pool.layout.lists_offset, pool.layout.first_offset, 8)
        if int.from_bytes(buffer[at : at + 4], "little") != ADDRESS + at
    )
    buffer[head : head + 8] = b"\xef" * 8

    (finding,) = pool.check()

    assert finding.damage is not None
    assert (finding.damage.address, finding.damage.length) == (ADDRESS + head, 8)
    assert finding.damage.copies == ("control",)


def test_statistics_that_were_overwritten_are_found_by_the_nodes_that_they_count() -> None:
    buffer, pool, _ = pool_of_blocks([100, 32], "backup-taskstat-32")
    assert pool.layout.pool.stat is not None
    at = pool.layout.pool.stat.offset
    buffer[at : at + 4] = b"\xff\xff\xff\x7f"

    found = pool.check()

    assert [finding.damage and finding.damage.address for finding in found] == [ADDRESS + at]


def test_a_size_that_the_kernel_sealed_wrong_is_found_by_the_node_behind() -> None:
    buffer, pool, blocks = pool_of_blocks([32, 64, 32])
    layout = pool.layout
    node = blocks[0] - ADDRESS - layout.node_size
    for header in (node + layout.header_offset, layout.end_offset(16384)):
        for offset in (16, 20):  # checksum and sizeAndFlag, in both copies
            buffer[header + offset] ^= 0x10

    (finding,) = pool.check()

    assert finding.node == ADDRESS + node
    assert [pair.trusted and pair.trusted["sizeAndFlag"] for pair in finding.pairs] == [0x80000050]


def test_an_aligned_block_whose_gap_is_lost_is_told() -> None:
    buffer, pool, _ = pool_of_blocks([32])
    block = pool.alloc_align(64, 256)
    assert block is not None
    node = next(node for node in pool.nodes() if node.header is not None and node.header.aligned)
    assert node.header is not None and node.header.gap_size
    word = block - 4 - ADDRESS
    buffer[word : word + 4] = b"\xff\xff\xff\xff"

    (finding,) = pool.check()

    assert finding.kind == "heap-buffer-underflow"
    assert "gap word" in finding.detail


def test_the_tasks_that_own_the_blocks_are_named() -> None:
    buffer, pool, blocks = pool_of_blocks([32])
    pool.task = 3
    pool.alloc(32)
    buffer[blocks[0] - ADDRESS + 32] ^= 0xFF

    (finding,) = diagnose(buffer, ADDRESS, pool.layout, tasks={0: "idle", 3: "network"})

    assert finding.culprit is not None and finding.culprit.task == "idle"
    assert finding.victim is not None and finding.victim.task == "network"
