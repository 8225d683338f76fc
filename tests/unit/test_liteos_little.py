"""bestfit_little: the second algorithm, without backup."""

import pytest

from heapwitness.errors import HeapwitnessError
from heapwitness.liteos import BadConfig, BadPool, Config, Pool

ADDRESS = 0x20000000
PLAIN = Config(width=32, bestfit_little=True)
CONFIGS = pytest.mark.parametrize(
    "config",
    [
        Config(width=width, bestfit_little=True, task_stat=task_stat, debug=True, mul_pool=mul_pool)
        for width in (32, 64)
        for task_stat in (False, True)
        for mul_pool in (False, True)
    ],
    ids=lambda config: f"{config.width}{'-stat' * config.task_stat}{'-mulpool' * config.mul_pool}",
)


def word(buffer: bytearray, at: int) -> int:
    return int.from_bytes(buffer[at : at + 4], "little")


def test_a_new_pool_is_a_manager_and_one_free_node() -> None:
    buffer = bytearray(b"\xa5" * 256)

    Pool.init(buffer, address=ADDRESS, config=PLAIN)

    assert [word(buffer, at) for at in range(0, 20, 4)] == [ADDRESS + 12, ADDRESS + 12, 244, 0, 236]
    assert not any(buffer[20:])


def test_the_smallest_node_that_fits_is_taken_and_the_last_of_equals() -> None:
    pool = Pool.init(bytearray(1024), address=ADDRESS, config=PLAIN)
    blocks = [pool.alloc(size) for size in (64, 8, 32, 8, 32, 8)]
    for block in (blocks[0], blocks[2], blocks[4]):
        assert pool.free(block)

    assert pool.alloc(30) == blocks[4]
    assert pool.alloc(20) == blocks[2]


@CONFIGS
def test_all_that_was_allocated_can_be_freed_and_joined_again(config: Config) -> None:
    pool = Pool.init(bytearray(2048), address=ADDRESS, config=config)
    whole = pool.status().max_free_node
    blocks = [pool.alloc(size) for size in (1, 30, 64, 7)] + [pool.alloc_align(20, 64)]
    assert None not in blocks
    assert blocks[-1] is not None
    assert blocks[-1] % 64 == 0

    for block in (blocks[1], blocks[3], blocks[0], blocks[4], blocks[2]):
        assert pool.free(block)

    assert pool.findings == []
    assert pool.check() == []
    assert (pool.status().max_free_node, pool.free_blocks(), pool.used_blocks()) == (whole, 1, 0)


@CONFIGS
def test_a_resized_block_is_moved_with_its_bytes(config: Config) -> None:
    buffer = bytearray(2048)
    pool = Pool.init(buffer, address=ADDRESS, config=config)
    block = pool.alloc(8)
    assert block is not None
    at = block - ADDRESS
    buffer[at : at + 8] = b"12345678"

    moved = pool.realloc(block, 100)

    assert moved is not None
    assert buffer[moved - ADDRESS : moved - ADDRESS + 8] == b"12345678"
    assert pool.realloc(moved, 0) is None
    assert pool.used_blocks() == 0


def test_statistics_follow_tasks() -> None:
    config = Config(width=32, bestfit_little=True, task_stat=True)
    pool = Pool.init(bytearray(2048), address=ADDRESS, config=config, task=3)
    block = pool.alloc(100)
    pool.task = 4
    pool.alloc(20)
    pool.free(block)

    assert [(one.task, one.used, one.peak) for one in pool.task_usage()] == [(3, 0, 112), (4, 32, 32)]


def test_wrong_pointers_are_told() -> None:
    pool = Pool.init(bytearray(1024), address=ADDRESS, config=PLAIN)
    block = pool.alloc(64)
    assert block is not None
    pool.alloc(8)

    assert not pool.free(block + 8)
    assert not pool.free(ADDRESS + 0x9000)
    assert pool.free(block)
    assert not pool.free(block)

    assert [finding.kind for finding in pool.findings] == ["invalid-free", "invalid-free", "double-free"]


def test_a_faithful_pool_refuses_wrong_pointers_without_a_finding() -> None:
    pool = Pool.init(bytearray(1024), address=ADDRESS, config=PLAIN, faithful=True)
    block = pool.alloc(64)
    assert block is not None

    assert not pool.free(block + 8)

    assert pool.findings == []


def test_nodes_that_do_not_add_up_are_told_once_and_nothing_is_done_with_them() -> None:
    buffer = bytearray(1024)
    pool = Pool.init(buffer, address=ADDRESS, config=PLAIN)
    first, second = pool.alloc(64), pool.alloc(64)
    assert first is not None
    buffer[first + 64 - ADDRESS : first + 72 - ADDRESS] = b"OVERFLOW"

    assert pool.alloc(8) is None
    assert not pool.free(second)

    assert [(finding.kind, finding.node) for finding in pool.findings] == [("header-overwrite", first - 8)]
    assert [node.address for node in pool.nodes()] == [first - 8]


@pytest.mark.parametrize("data", [b"", bytes(12), b"\xff" * 64, bytes(1000)])
def test_bytes_without_a_pool_are_an_error_in_a_sentence(data: bytes) -> None:
    with pytest.raises(BadPool):
        Pool.attach(bytearray(data), address=ADDRESS, config=PLAIN)


@pytest.mark.parametrize("size", [0, 20, 19])
def test_a_pool_that_cannot_hold_a_node_is_refused(size: int) -> None:
    with pytest.raises(BadPool):
        Pool.init(bytearray(size), address=ADDRESS, config=PLAIN)


def test_what_needs_bestfit_says_so() -> None:
    pool = Pool.init(bytearray(1024), address=ADDRESS, config=PLAIN)

    with pytest.raises(BadConfig, match="LOSCFG_KERNEL_MEM_BESTFIT"):
        pool.bad_node_show()


@pytest.mark.parametrize("faithful", [False, True])
@pytest.mark.parametrize("at", range(40))
def test_a_damaged_pool_ends_every_operation(at: int, faithful: bool) -> None:
    buffer = bytearray(512)
    pool = Pool.init(buffer, address=ADDRESS, config=PLAIN, faithful=faithful)
    block = pool.alloc(32)
    pool.alloc(8)
    buffer[at : at + 4] = b"\x0c\x00\x00\x20"

    for operation in (lambda: pool.alloc(8), lambda: pool.free(block), lambda: pool.realloc(block, 64), pool.status):
        try:
            operation()
        except HeapwitnessError:
            continue
