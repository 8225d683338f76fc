"""By default a pool verifies before it saves: damage is told and repaired, wrong pointers are told, 64-bit frees."""

from pathlib import Path

import pytest
from support import liteos

from heapwitness.errors import HeapwitnessError
from heapwitness.liteos import BadConfig, BadPool, CheckLevel, Config, Pool
from heapwitness.liteos.kernel.sizecheck import CheckCode, NodeSize

ADDRESS = liteos.POOL_ADDRESS
BOTH_WIDTHS = pytest.mark.parametrize(
    "config", [liteos.CONFIGS["backup-32"], liteos.CONFIGS["backup-64"]], ids=["32", "64"]
)


def path_name(path: Path) -> str:
    return f"{path.parent.name}/{path.name.split('.')[0]}"


class Heap:
    """A careful pool with some blocks, and its bytes by target address."""

    def __init__(self, config: Config, sizes: tuple[int, ...] = (40, 40, 40, 40), size: int = 4096) -> None:
        self.buffer = bytearray(size)
        self.pool = Pool.init(self.buffer, address=ADDRESS, config=config)
        self.blocks: list[int] = []
        for wanted in sizes:
            block = self.pool.alloc(wanted)
            assert block is not None
            self.blocks.append(block)

    def write(self, address: int, data: bytes) -> None:
        at = address - ADDRESS
        self.buffer[at : at + len(data)] = data

    def kinds(self) -> list[str]:
        return [finding.kind for finding in self.pool.findings]


# --- damage ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", liteos.damaged(), ids=path_name)
def test_no_recorded_damage_and_no_wrong_pointer_is_silent(path: Path) -> None:
    recorded, buffer = liteos.load(path)
    truth = recorded["damaged"]["kind"]
    pool = liteos.attach(recorded, buffer, faithful=False)

    seen = {finding.kind for finding in pool.check()}
    if not recorded["detect"].startswith("badshow"):
        liteos.detect(pool, recorded)
        seen = {finding.kind for finding in pool.findings}

    nodes = recorded["nodes"]
    pointer = int(recorded["detect"].split()[1], 16) if recorded["detect"].startswith("free") else 0
    expected = {truth} if truth else set()
    if any(node["payload"] == pointer and not node["used"] for node in nodes):
        # Some recordings free a block that was free already, besides the damage.
        expected.add("double-free")
    assert seen == expected


@pytest.mark.parametrize("path", liteos.damaged(), ids=path_name)
def test_after_a_restore_a_pool_passes_its_check(path: Path) -> None:
    recorded, buffer = liteos.load(path)
    pool = liteos.attach(recorded, buffer, faithful=False)

    pool.restore()

    assert pool.check() == []


@BOTH_WIDTHS
@pytest.mark.parametrize("past", [1, 4, 20, 52, 60, 90])
def test_an_overflow_is_told_when_its_block_is_freed(config: Config, past: int) -> None:
    heap = Heap(config)
    heap.write(heap.blocks[1] + 40, b"A" * past)

    assert heap.pool.free(heap.blocks[1])

    assert heap.kinds() == ["heap-buffer-overflow"]
    finding = heap.pool.findings[0]
    assert finding.culprit is not None
    assert (finding.culprit.address, finding.culprit.size) == (heap.blocks[1], 40)
    assert finding.detected.when == "free"
    assert finding.repaired
    assert heap.pool.check() == []


@BOTH_WIDTHS
def test_an_overflow_is_told_when_the_block_behind_it_is_freed(config: Config) -> None:
    heap = Heap(config)
    heap.write(heap.blocks[1] + 40, b"A" * 96)

    assert heap.pool.free(heap.blocks[2])

    assert heap.kinds() == ["heap-buffer-overflow"]
    assert heap.pool.check() == []


@BOTH_WIDTHS
def test_an_underflow_is_told_and_the_header_restored(config: Config) -> None:
    heap = Heap(config)
    heap.write(heap.blocks[2] - 4, b"\0\0\0\0")

    assert heap.pool.free(heap.blocks[2])

    assert heap.kinds() == ["heap-buffer-underflow"]
    assert heap.pool.findings[0].repaired


@BOTH_WIDTHS
def test_a_damaged_header_is_not_blessed_by_its_neighbours_release(config: Config) -> None:
    heap = Heap(config)
    node_size = heap.pool.layout.node_size
    pre_node = heap.pool.layout.header_offset + heap.pool.layout.control.pre_node.offset
    heap.write(heap.blocks[2] - node_size + pre_node, b"\xee\xee\xee\xee")

    assert heap.pool.free(heap.blocks[1])

    assert heap.kinds() == ["header-overwrite"]
    assert heap.pool.check() == []
    assert heap.pool.free(heap.blocks[2])


@BOTH_WIDTHS
def test_an_allocation_restores_the_free_node_that_it_takes(config: Config) -> None:
    heap = Heap(config)
    assert heap.pool.free(heap.blocks[1])
    heap.write(heap.blocks[1] - heap.pool.layout.control.size, b"\xdd" * 8)

    assert heap.pool.alloc(40) == heap.blocks[1]

    assert [finding.detected.when for finding in heap.pool.findings] == ["malloc"]
    assert heap.pool.check() == []


def test_a_list_head_that_was_overwritten_is_restored() -> None:
    heap = Heap(liteos.CONFIGS["backup-32"])
    heads = heap.pool.layout.lists_offset
    heap.write(ADDRESS + heads, b"\x5a" * heap.pool.layout.lists_size)

    assert heap.pool.alloc(40) is not None

    assert heap.kinds()
    assert heap.pool.check() == []


def test_the_pools_own_info_is_restored() -> None:
    heap = Heap(liteos.CONFIGS["backup-32"])
    heap.write(ADDRESS, b"\xff" * 8)

    assert heap.pool.free(heap.blocks[0])

    assert heap.kinds() == ["header-overwrite"]
    assert heap.pool.size == 4096


def test_what_cannot_be_repaired_is_told_once_and_the_program_goes_on() -> None:
    heap = Heap(liteos.CONFIGS["backup-32"], sizes=(40,) * 8)
    # Both copies of one header, and what lies around it.
    heap.write(heap.blocks[3] - 100, bytes(range(1, 93)))

    for _ in range(20):
        heap.pool.alloc(16)
    assert heap.pool.free(heap.blocks[7])

    assert len(heap.pool.findings) == len({str(finding.damage) for finding in heap.pool.findings})


def test_findings_are_passed_on_when_they_are_made() -> None:
    told: list[str] = []
    buffer = bytearray(4096)
    pool = Pool.init(
        buffer,
        address=ADDRESS,
        config=liteos.CONFIGS["backup-32"],
        on_finding=lambda finding: told.append(finding.kind),
    )

    pool.free(ADDRESS + 5000)

    assert told == ["invalid-free"]


def test_a_pool_without_backup_still_tells_damaged_links() -> None:
    heap = Heap(liteos.CONFIGS["control-32"])
    heap.write(heap.blocks[2] - 8, b"\x11" * 8)

    heap.pool.free(heap.blocks[1])

    assert heap.kinds()


# --- pointers --------------------------------------------------------------------------------------------------------


@BOTH_WIDTHS
def test_a_block_is_freed_in_either_width(config: Config) -> None:
    heap = Heap(config)

    assert all(heap.pool.free(block) for block in heap.blocks)

    assert heap.kinds() == []
    assert heap.pool.used_blocks() == 1


@BOTH_WIDTHS
def test_a_second_free_is_a_double_free(config: Config) -> None:
    heap = Heap(config)
    heap.pool.free(heap.blocks[1])

    assert not heap.pool.free(heap.blocks[1])

    assert heap.kinds() == ["double-free"]
    assert heap.pool.findings[0].pointer == heap.blocks[1]


@BOTH_WIDTHS
def test_a_second_free_of_a_merged_block_is_a_double_free(config: Config) -> None:
    heap = Heap(config)
    heap.pool.free(heap.blocks[1])
    heap.pool.free(heap.blocks[2])

    assert not heap.pool.free(heap.blocks[2])

    assert heap.kinds() == ["double-free"]
    assert "larger free node" in heap.pool.findings[0].detail


@pytest.mark.parametrize(
    ("offset", "sentence"),
    [
        (16, "lies 16 bytes inside of a block that is in use"),
        (-48, "lies in the header of a block that is in use, 48 bytes before the block"),
        (1, "lies 1 bytes inside"),
        (0x8000, "lies after the nodes of the pool"),
        (-0x8000, "lies before the nodes of the pool"),
    ],
)
def test_a_pointer_to_elsewhere_is_an_invalid_free_that_says_where(offset: int, sentence: str) -> None:
    heap = Heap(liteos.CONFIGS["backup-32"])

    assert not heap.pool.free(heap.blocks[1] + offset)

    assert heap.kinds() == ["invalid-free"]
    assert sentence in heap.pool.findings[0].detail


def test_a_wrong_pointer_to_realloc_is_told_as_such() -> None:
    heap = Heap(liteos.CONFIGS["backup-32"])

    assert heap.pool.realloc(heap.blocks[1] + 8, 100) is None

    assert [(finding.kind, finding.detected.when) for finding in heap.pool.findings] == [("invalid-free", "realloc")]


def test_the_gap_word_of_an_aligned_block_is_restored() -> None:
    heap = Heap(liteos.CONFIGS["backup-32"])
    block = heap.pool.alloc_align(40, 256)
    assert block is not None
    heap.write(block - 4, (0x40001000).to_bytes(4, "little"))

    assert heap.pool.free(block)

    assert [(finding.kind, finding.repaired) for finding in heap.pool.findings] == [("header-overwrite", True)]


def test_the_unaligned_start_of_an_aligned_block_is_no_pointer() -> None:
    heap = Heap(liteos.CONFIGS["backup-32"], sizes=())
    block = heap.pool.alloc_align(40, 256)
    assert block is not None
    start = ADDRESS + heap.pool.layout.first_offset + heap.pool.layout.node_size

    assert not heap.pool.free(start)

    assert heap.kinds() == ["invalid-free"]
    assert heap.pool.free(block)


def test_a_block_that_another_module_frees_is_told_and_freed() -> None:
    pool = Pool.init(bytearray(4096), address=ADDRESS, config=liteos.CONFIGS["backup-mulmodule-32"])
    block = pool.alloc_module(40, 3)

    assert pool.free_module(block, 4)

    assert [finding.kind for finding in pool.findings] == ["mismatched-free"]
    assert pool.findings[0].detail == "Module 4 releases a block that module 3 allocated."


# --- resizing --------------------------------------------------------------------------------------------------------


@BOTH_WIDTHS
def test_a_resized_block_keeps_its_bytes(config: Config) -> None:
    heap = Heap(config)
    heap.write(heap.blocks[0], b"x" * 40)

    moved = heap.pool.realloc(heap.blocks[0], 400)

    assert moved not in (None, heap.blocks[0])
    assert moved is not None
    assert heap.buffer[moved - ADDRESS :][:40] == b"x" * 40
    assert heap.pool.realloc(moved, 8) == moved
    assert heap.pool.realloc(moved, 0) is None
    assert heap.kinds() == []


@BOTH_WIDTHS
def test_an_aligned_block_that_is_resized_keeps_its_room_and_its_address(config: Config) -> None:
    heap = Heap(config, sizes=())
    block = heap.pool.alloc_align(200, 256)
    behind = heap.pool.alloc(40)
    assert block is not None
    assert behind is not None

    for size in (40, 199, 8):
        assert heap.pool.realloc(block, size) == block
        node = next(node for node in heap.pool.nodes() if node.used)
        assert node.address + node.size - block >= size

    assert heap.pool.free(block)
    assert heap.kinds() == []
    assert heap.pool.check() == []


# --- attaching -------------------------------------------------------------------------------------------------------


def test_an_attached_pool_is_inspected_whole_before_its_first_operation() -> None:
    heap = Heap(liteos.CONFIGS["backup-32"], sizes=(40,) * 8)
    heap.write(heap.blocks[1] + 40, b"A" * 30)
    pool = Pool.attach(heap.buffer, address=ADDRESS, config=liteos.CONFIGS["backup-32"])
    assert [finding.kind for finding in pool.check()] == ["heap-buffer-overflow"]

    assert pool.free(heap.blocks[7])

    assert [finding.kind for finding in pool.findings] == ["heap-buffer-overflow"]
    assert pool.check() == []


def test_a_longer_image_holds_the_pool_at_its_start() -> None:
    heap = Heap(liteos.CONFIGS["backup-32"])

    pool = Pool.attach(heap.buffer + bytes(100), address=ADDRESS, config=liteos.CONFIGS["backup-32"])

    assert pool.size == 4096
    assert pool.free(heap.blocks[0])


@pytest.mark.parametrize("buffer", [bytearray(), bytearray(4096), bytearray(b"\xff" * 4096)], ids=len)
def test_bytes_without_a_pool_are_an_error_in_a_sentence(buffer: bytearray) -> None:
    with pytest.raises(HeapwitnessError):
        Pool.attach(buffer, address=ADDRESS, config=liteos.CONFIGS["backup-32"])


def test_a_pool_that_was_cut_off_is_an_error_in_a_sentence() -> None:
    heap = Heap(liteos.CONFIGS["backup-32"])

    with pytest.raises(BadPool, match="4096 bytes and the buffer 2000"):
        Pool.attach(heap.buffer[:2000], address=ADDRESS, config=liteos.CONFIGS["backup-32"])


@pytest.mark.parametrize("buffer", [bytes(4096), memoryview(bytes(4096))])
def test_a_buffer_that_cannot_be_written_is_an_error_in_a_sentence(buffer: bytes) -> None:
    with pytest.raises(BadPool, match="writable"):
        Pool.init(buffer, address=ADDRESS, config=liteos.CONFIGS["backup-32"])


def test_a_buffer_that_does_not_fit_at_its_address_is_an_error_in_a_sentence() -> None:
    with pytest.raises(BadPool, match="does not fit"):
        Pool.init(bytearray(4096), address=0xFFFFFF00, config=liteos.CONFIGS["backup-32"])


# --- statistics ------------------------------------------------------------------------------------------------------


@BOTH_WIDTHS
def test_status_counts_nodes_with_their_headers(config: Config) -> None:
    heap = Heap(config)
    heap.pool.free(heap.blocks[1])
    node_size = heap.pool.layout.node_size

    status = heap.pool.status()

    assert (status.used_nodes, status.free_nodes) == (4, 2)
    assert status.total_used == 3 * (40 + node_size) + node_size
    assert status.total_used + status.total_free == 4096 - heap.pool.layout.first_offset
    assert status.max_free_node == status.total_free - (40 + node_size)
    assert (heap.pool.total_used(), heap.pool.used_blocks(), heap.pool.free_blocks()) == (status.total_used, 4, 2)
    assert heap.pool.last_used() == heap.blocks[3] + 40 + node_size


def test_the_histogram_counts_free_nodes_by_list() -> None:
    heap = Heap(liteos.CONFIGS["backup-32"])
    heap.pool.free(heap.blocks[1])

    filled = {one.size_from: (one.nodes, one.total) for one in heap.pool.histogram() if one.nodes}

    assert filled == {64: (1, 88), 2048: (1, 3480)}
    assert len(heap.pool.histogram()) == 26


def test_tasks_are_counted_by_their_nodes_where_the_pool_does_not_count() -> None:
    pool = Pool.init(bytearray(4096), address=ADDRESS, config=liteos.CONFIGS["backup-32"])
    pool.task = 3
    pool.alloc(40)

    assert [(one.task, one.used, one.peak) for one in pool.task_usage()] == [(3, 88, None)]


def test_link_registers_are_recorded_and_filled_up_with_zeros() -> None:
    config = liteos.CONFIGS["backup-leakcheck-32"]
    pool = Pool.init(bytearray(4096), address=ADDRESS, config=config, link_registers=lambda: (0x1234,))
    pool.alloc(40)

    node = next(pool.nodes())

    assert node.header is not None
    assert node.header.link_registers == (0x1234, 0, 0)


def test_the_size_check_follows_its_level() -> None:
    config = liteos.CONFIGS["all-32"]
    pool = Pool.init(bytearray(4096), address=ADDRESS, config=config)
    block = pool.alloc(40)
    assert block is not None
    assert pool.size_check(block) == NodeSize(CheckCode.DISABLED)

    pool.check_level = CheckLevel.LOW
    assert pool.size_check(block) == NodeSize(CheckCode.OK, 40, 40)
    assert pool.size_check(block + 8).code == CheckCode.NO_HEAD
    assert pool.size_check(0).code == CheckCode.NULL
    assert pool.size_check(ADDRESS - 4).code == CheckCode.OUTSIDE

    pool.check_level = CheckLevel.HIGH
    assert pool.size_check(block + 8) == NodeSize(CheckCode.OK, 40, 32)
    assert pool.size_check(ADDRESS + 8).code == CheckCode.NO_HEAD


def test_an_option_that_is_off_is_named() -> None:
    pool = Pool.init(bytearray(4096), address=ADDRESS, config=Config(width=32, debug=True))

    with pytest.raises(BadConfig, match="LOSCFG_BASE_MEM_NODE_SIZE_CHECK"):
        pool.size_check(ADDRESS)
    with pytest.raises(BadConfig, match="LOSCFG_MEM_MUL_MODULE"):
        pool.alloc_module(8, 1)
    with pytest.raises(BadConfig, match="LOSCFG_MEM_HEAD_BACKUP"):
        pool.bad_node_show()


def test_showing_bad_nodes_changes_nothing() -> None:
    heap = Heap(liteos.CONFIGS["backup-32"])
    heap.write(heap.blocks[1] + 40, b"A" * 30)
    before = bytes(heap.buffer)

    heap.pool.bad_node_show()

    assert heap.buffer == before
    assert "the detailed information of previous node" in "".join(heap.pool.console)
