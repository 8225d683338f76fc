"""A faithful pool does what the genuine kernel did: every byte, every answer, every word."""

from pathlib import Path

import pytest
from support import liteos

from heapwitness.liteos import BadPool, Config, KernelDied, Pool

ADDRESS = liteos.POOL_ADDRESS
BACKUP = liteos.CONFIGS["backup-32"]


def path_name(path: Path) -> str:
    return f"{path.parent.name}/{path.name.split('.')[0]}"


@pytest.mark.parametrize("trace", liteos.traces(), ids=path_name)
def test_every_answer_and_every_hash_of_a_trace_agrees(trace: Path) -> None:
    operations = liteos.operations(trace)
    buffer, pool = liteos.begin(next(operations), faithful=True)

    for number, operation in enumerate(operations, 1):
        if operation["op"] == "sha256":
            assert liteos.sha256(buffer) == operation["value"], number
        elif operation["op"] == "info":
            status = pool.status()
            answered = [status.total_used, status.total_free, status.max_free_node]
            answered += [status.used_nodes, status.free_nodes]
            assert answered == list(operation["result"].values())[1:], number
        else:
            assert liteos.perform(pool, operation) == operation.get("result"), number


@pytest.mark.parametrize("path", liteos.damaged(), ids=path_name)
def test_a_damaged_pool_is_left_and_spoken_of_as_by_the_kernel(path: Path) -> None:
    recorded, image = liteos.load(path)
    # Which task ran is not recorded; it shows in the bytes of what was allocated.
    for task in range(8):
        buffer = bytearray(image)
        pool = liteos.attach(recorded, buffer, faithful=True, task=task)
        result = liteos.detect(pool, recorded)
        if liteos.sha256(buffer) == recorded["sha256_after"]:
            break

    assert result == recorded["kernel"]["result"]
    assert "".join(pool.console) == recorded["kernel"]["console"]
    assert liteos.sha256(buffer) == recorded["sha256_after"]
    assert pool.findings == []


def test_the_kernel_refuses_a_pool_that_is_too_small() -> None:
    with pytest.raises(BadPool, match="needs 312"):
        Pool.init(bytearray(311), address=ADDRESS, config=BACKUP, faithful=True)

    assert Pool.init(bytearray(312), address=ADDRESS, config=BACKUP, faithful=True).size == 312


def test_the_kernel_refuses_a_pool_at_null() -> None:
    with pytest.raises(BadPool):
        Pool.init(bytearray(4096), address=0, config=BACKUP)


def test_an_unaligned_size_makes_the_pool_smaller() -> None:
    buffer = bytearray(4099)

    pool = Pool.init(buffer, address=ADDRESS, config=BACKUP, faithful=True)

    assert pool.size == 4096
    assert pool.status().total_free == 4096 - 8 - 208 - 48
    assert "should be aligned" in "".join(pool.console)


def test_a_pool_at_an_unaligned_address_gives_nothing() -> None:
    pool = Pool.init(bytearray(4096), address=ADDRESS + 2, config=BACKUP, faithful=True)

    assert pool.size == 4092
    assert pool.alloc(16) is None
    assert "Mem node data error" in "".join(pool.console)


@pytest.mark.parametrize("size", [0, 0x80000000, 0x40000000, 0xFFFFFFFF, 0x3FFFFFFF, 4096, -1, 1 << 40])
def test_a_size_that_cannot_be_gives_nothing_and_changes_nothing(size: int) -> None:
    buffer = bytearray(4096)
    pool = Pool.init(buffer, address=ADDRESS, config=BACKUP, faithful=True)
    before = bytes(buffer)

    assert pool.alloc(size) is None
    assert pool.alloc_align(size, 16) is None
    assert pool.realloc(None, size) is None
    assert buffer == before


@pytest.mark.parametrize("boundary", [0, 2, 3, 12, 0x80000000, 1 << 33])
def test_a_boundary_that_cannot_be_gives_nothing(boundary: int) -> None:
    pool = Pool.init(bytearray(4096), address=ADDRESS, config=BACKUP, faithful=True)

    assert pool.alloc_align(16, boundary) is None


def test_a_failed_allocation_prints_the_pools_totals() -> None:
    pool = Pool.init(bytearray(4096), address=ADDRESS, config=BACKUP, faithful=True)

    pool.alloc(5000)

    text = "".join(pool.console)
    assert "[ERR] [OsMemInfoAlert] No suitable free block, require free node size: 0x13b8\n" in text
    assert "0x20000000         0x1000" in text


def test_null_is_refused_without_a_word() -> None:
    pool = Pool.init(bytearray(4096), address=ADDRESS, config=BACKUP, faithful=True)

    assert not pool.free(None)
    assert not pool.free(0)
    assert pool.console == []


def test_every_free_is_refused_in_64_bit_with_debug() -> None:
    pool = Pool.init(bytearray(4096), address=ADDRESS, config=liteos.CONFIGS["backup-64"], faithful=True)
    block = pool.alloc(16)

    assert not pool.free(block)


def test_a_kernel_without_debug_frees_in_64_bit_too() -> None:
    pool = Pool.init(bytearray(4096), address=ADDRESS, config=Config(width=64), faithful=True)
    block = pool.alloc(16)

    assert pool.free(block)
    assert pool.alloc(16) == block


def test_where_the_kernel_would_fault_the_error_says_where() -> None:
    buffer = bytearray(4096)
    pool = Pool.init(buffer, address=ADDRESS, config=Config(width=32), faithful=True)
    # The one free node has 3864 bytes, so it is on the list of sizes from 2^11 on, the eighth.
    head = 8 + 7 * 8
    buffer[head + 4 : head + 8] = (0x70000000).to_bytes(4, "little")

    with pytest.raises(KernelDied, match="0x7"):
        pool.alloc(100)


def test_a_list_that_bites_its_tail_is_an_error_and_not_for_ever() -> None:
    buffer = bytearray(4096)
    config = liteos.CONFIGS["control-32"]
    pool = Pool.init(buffer, address=ADDRESS, config=config, faithful=True)
    first = pool.alloc(40)
    pool.alloc(40)
    assert first is not None
    pool.free(first)
    # The small free node's next link names the node itself.
    at = first - 16 - ADDRESS
    buffer[at + 4 : at + 8] = (first - 16).to_bytes(4, "little")

    with pytest.raises(KernelDied, match="for ever"):
        pool.alloc(44)


# --- several pools ---------------------------------------------------------------------------------------------------

MUL_POOL = Config(width=32, debug=True, mul_pool=True)


def test_with_mul_pool_the_kernel_refuses_a_pool_that_overlaps_a_known_one() -> None:
    ram = memoryview(bytearray(0x4000))
    first = Pool.init(ram[:0x2000], address=ADDRESS, config=MUL_POOL, faithful=True)

    with pytest.raises(BadPool, match="overlaps the pool at 0x20000000"):
        Pool.init(ram[0x1000:0x3000], address=ADDRESS + 0x1000, config=MUL_POOL, faithful=True)

    assert first.deinit()
    Pool.init(ram[0x1000:0x3000], address=ADDRESS + 0x1000, config=MUL_POOL, faithful=True)


def test_with_mul_pool_pools_of_one_memory_are_linked() -> None:
    ram = memoryview(bytearray(0x4000))
    first = Pool.init(ram[:0x2000], address=ADDRESS, config=MUL_POOL)
    second = Pool.init(ram[0x2000:], address=ADDRESS + 0x2000, config=MUL_POOL)

    assert int.from_bytes(ram[8:12], "little") == second.address
    assert int.from_bytes(ram[0x2008:0x200C], "little") == 0
    assert (first.size, second.size) == (0x2000, 0x2000)


def test_pools_in_other_memory_are_not_known() -> None:
    first = Pool.init(bytearray(4096), address=ADDRESS, config=MUL_POOL)
    second = Pool.init(bytearray(4096), address=ADDRESS, config=MUL_POOL)

    assert first.address == second.address


# --- modules and statistics ------------------------------------------------------------------------------------------


def test_modules_are_counted_and_told_apart() -> None:
    pool = Pool.init(bytearray(4096), address=ADDRESS, config=liteos.CONFIGS["backup-mulmodule-32"], faithful=True)
    block = pool.alloc_module(100, 3)
    assert block is not None
    assert pool.module_usage(3) == 148

    moved = pool.realloc_module(block, 200, 4)
    assert (pool.module_usage(3), pool.module_usage(4)) == (0, 248)

    assert pool.free_module(moved, 5)
    assert pool.module_usage(4) == 0
    text = "".join(pool.console)
    assert "alloced in module 3, but realloc in module 4" in text
    assert "alloced in module 4, but free in module 5" in text


def test_a_module_that_cannot_be_gets_nothing() -> None:
    pool = Pool.init(bytearray(4096), address=ADDRESS, config=liteos.CONFIGS["backup-mulmodule-32"], faithful=True)

    assert pool.alloc_module(100, 33) is None
    assert "error module ID" in "".join(pool.console)


def test_an_aligned_blocks_module_is_set_in_its_node() -> None:
    pool = Pool.init(bytearray(4096), address=ADDRESS, config=liteos.CONFIGS["backup-mulmodule-32"], faithful=True)

    pool.alloc_align_module(100, 64, 7)

    assert [node.header.module for node in pool.nodes() if node.header is not None and node.used] == [7]


def test_statistics_follow_tasks_and_keep_their_peaks() -> None:
    pool = Pool.init(bytearray(4096), address=ADDRESS, config=liteos.CONFIGS["backup-taskstat-32"], faithful=True)
    pool.task = 5
    first, second = pool.alloc(100), pool.alloc(200)
    pool.task = 64
    pool.alloc(16)
    pool.free(first)

    usage = {one.task: (one.used, one.peak) for one in pool.task_usage()}

    assert second is not None
    assert usage == {5: (248, 396), 64: (64, 64)}
    assert pool.status().usage_peak == 536 + 208 + 48 + 396 + 64
