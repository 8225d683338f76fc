"""What dumps of running kernels hold: cleared statistics, slabs, task stacks, link registers, memory twice."""

import struct
from dataclasses import replace

import pytest
from support import liteos

from heapwitness.errors import HeapwitnessError
from heapwitness.liteos import Config, Layout, Pool
from heapwitness.liteos.diagnose.diagnose import diagnose, findings_of
from heapwitness.liteos.diagnose.plan import plan
from heapwitness.liteos.diagnose.stacks import FILL, MARK, TaskStack
from heapwitness.liteos.find.guess import guess
from heapwitness.liteos.heap.view import PoolView
from heapwitness.liteos.heap.walk import walk
from heapwitness.liteos.image import elf
from heapwitness.liteos.image.errors import BadImage
from heapwitness.report import text

ADDRESS = liteos.POOL_ADDRESS
STAT = liteos.CONFIGS["backup-taskstat-32"]
WIDTHS = ["backup-taskstat-32", "backup-taskstat-64"]


def made(config: Config, size: int = 16384) -> tuple[bytearray, Pool]:
    buffer = bytearray(size)
    return buffer, Pool.init(buffer, ADDRESS, config, link_registers=liteos.link_registers)


def set_counter(buffer: bytearray, layout: Layout, task: int | None, used: int, peak: int) -> None:
    stat, fields = layout.pool.stat, layout.pool.stat_fields
    assert stat is not None and fields is not None
    at = stat.offset + (0 if task is None else fields.tasks.offset + task * fields.task_stride)
    struct.pack_into("<II", buffer, at, used, peak)


# --- statistics ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", WIDTHS)
def test_statistics_that_were_cleared_when_a_task_ended_are_no_damage(name: str) -> None:
    buffer, pool = made(liteos.CONFIGS[name])
    pool.task = 3
    pool.alloc(100)
    set_counter(buffer, pool.layout, 3, 0, 0)

    assert diagnose(buffer, ADDRESS, pool.layout) == ()
    assert plan(buffer, ADDRESS, pool.layout).changes == ()


def test_a_block_released_after_its_task_ended_leaves_the_total_above() -> None:
    buffer, pool = made(STAT)
    pool.task = 3
    block = pool.alloc(100)
    set_counter(buffer, pool.layout, 3, 0, 0)
    pool.free(block)

    assert diagnose(buffer, ADDRESS, pool.layout) == ()


@pytest.mark.parametrize(("task", "used", "peak"), [(3, 4096, 4096), (5, 128, 128), (3, 2, 4096), (None, 64, 4096)])
def test_a_counter_that_no_run_of_the_kernel_leaves_is_damage(task: int | None, used: int, peak: int) -> None:
    buffer, pool = made(STAT)
    pool.task = 3
    pool.alloc(100)
    set_counter(buffer, pool.layout, task, used, peak)

    found = diagnose(buffer, ADDRESS, pool.layout)

    assert [finding.kind for finding in found] == ["header-overwrite"]


# --- slabs -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("width", "expansion", "size"), [(32, False, 64), (32, True, 84), (64, False, 96), (64, True, 104)]
)
def test_the_slab_lengthens_the_pools_info(width: int, expansion: bool, size: int) -> None:
    config = Config(width=width, debug=True, task_stat=True, mul_pool=True, head_backup=True)
    with_slab = Layout.of(replace(config, slab=True, slab_expansion=expansion)).pool

    assert with_slab.slab is not None
    assert (with_slab.slab.offset, with_slab.slab.size) == (Layout.of(config).pool.size, size)


def with_slab(config: Config) -> bytes:
    """A pool as one with a slab looks: its info longer, with the four classes."""
    layout = Layout.of(config)
    assert layout.pool.slab is not None
    start, pointer = layout.pool.slab.offset, config.width // 8
    plain = Pool.init(bytearray(16384), ADDRESS + layout.pool.slab.size, replace(config, slab=False))
    plain.alloc(100)
    buffer = bytearray(layout.pool.slab.size) + bytearray(plain.buffer)
    buffer[:start] = plain.buffer[:start]
    buffer[:pointer] = ADDRESS.to_bytes(pointer, "little")
    buffer[pointer : pointer + 4] = (16384 + layout.pool.slab.size).to_bytes(4, "little")
    code = "<IIIxxxxQ" if pointer == 8 else "<IIII"
    for number in range(4):
        at = start + number * struct.calcsize(code)
        struct.pack_into(code, buffer, at, 16 << number, 32 >> number, number, ADDRESS + 4096)
    stat, fields = layout.pool.stat, layout.pool.stat_fields
    assert stat is not None and fields is not None
    used = int.from_bytes(buffer[stat.offset : stat.offset + 4], "little") + layout.pool.slab.size
    struct.pack_into("<II", buffer, stat.offset, used, used)
    return bytes(buffer)


@pytest.mark.parametrize("width", [32, 64])
def test_a_pool_with_a_slab_is_guessed_as_it_is_told(width: int) -> None:
    config = Config(width=width, debug=True, task_stat=True, mul_pool=True, head_backup=True, slab=True)
    data = with_slab(config)

    guessed = guess(data, ADDRESS)

    assert guessed.layout == Layout.of(config)
    assert diagnose(data, ADDRESS, guessed.layout) == diagnose(data, ADDRESS, Layout.of(config)) == ()


def test_a_pool_with_a_slab_is_not_made() -> None:
    with pytest.raises(HeapwitnessError, match="leave it off"):
        Pool.init(bytearray(16384), ADDRESS, replace(STAT, slab=True))


# --- task stacks -----------------------------------------------------------------------------------------------------


def device(name: str, *, used_up: bool, below: int) -> tuple[bytearray, Pool, int, int]:
    """A pool with a block and a task's stack behind it, used from its end down, and the two addresses."""
    buffer, pool = made(liteos.CONFIGS[name])
    pool.task = 2
    before, stack = pool.alloc(256), pool.alloc(1024)
    assert before is not None and stack is not None
    pool.alloc(64)
    pointer = pool.layout.pointer
    low = stack - ADDRESS
    buffer[low : low + 1024] = MARK.to_bytes(pointer, "little") + bytes([FILL]) * (1024 - pointer)
    first = low - below if used_up else low + 512
    for at in range(first, low + 1024, 64):
        frame = struct.pack("<QQ" if pointer == 8 else "<II", ADDRESS + at + 64, 0x08000204)
        content = (frame + bytes(range(1, 65)))[:64]
        buffer[at : at + 64] = content[: low + 1024 - at]
    return buffer, pool, before, stack


@pytest.mark.parametrize("name", [*WIDTHS, "backup-leakcheck-32"])
def test_what_a_task_wrote_below_its_stack_is_its_own_doing(name: str) -> None:
    buffer, pool, before, stack = device(name, used_up=True, below=256)

    (finding,) = diagnose(buffer, ADDRESS, pool.layout)

    assert finding.kind == "task-stack-overflow"
    assert finding.culprit is not None and finding.culprit.address == stack
    assert finding.victim is not None and finding.victim.address == before
    assert f"Or the block at {before:#x}, which ends there, was overrun." in finding.detail
    assert text.headline(finding).startswith("a task ran past the low end of its 1,024-byte stack")


def test_a_firmware_names_the_task_whose_stack_it_is() -> None:
    buffer, pool, _, stack = device("backup-32", used_up=True, below=256)
    stacks = {stack: TaskStack(stack, 7, "network")}
    view = PoolView(bytes(buffer), ADDRESS, pool.layout)

    (finding,) = findings_of(view, walk(buffer, ADDRESS, pool.layout), {}, stacks=stacks)

    assert finding.culprit is not None and finding.culprit.task == "network"
    assert "the stack of task 7 (network), by its control block" in finding.detail


@pytest.mark.parametrize("name", WIDTHS)
def test_a_block_that_overruns_a_stack_with_room_left_is_the_culprit(name: str) -> None:
    buffer, pool, before, _ = device(name, used_up=False, below=0)
    end = before - ADDRESS + 256
    length = pool.layout.node_size + 32
    buffer[end : end + length] = (b"payload!" * 40)[:length]

    (finding,) = diagnose(buffer, ADDRESS, pool.layout)

    assert finding.kind == "heap-buffer-overflow"
    assert finding.culprit is not None and finding.culprit.address == before


# --- link registers --------------------------------------------------------------------------------------------------


def test_an_underflow_into_link_registers_tells_that_it_may_have_begun_earlier() -> None:
    buffer, pool = made(liteos.CONFIGS["backup-leakcheck-32"])
    blocks = [pool.alloc(64) for _ in range(4)]
    assert blocks[1] is not None
    buffer[blocks[1] - ADDRESS - 6 : blocks[1] - ADDRESS] = b"\xee" * 6

    (finding,) = diagnose(buffer, ADDRESS, pool.layout)

    assert finding.kind == "heap-buffer-underflow" and finding.damage is not None
    assert (finding.damage.length, finding.damage.exact) == (6, False)
    assert "may be hit, too" in finding.detail
    assert finding.culprit is not None and finding.culprit.allocated is not None
    assert [frame.pc for frame in finding.culprit.allocated.stack] == [0x08000200, 0x08000300]


# --- memory that a core has twice ------------------------------------------------------------------------------------


def core(*segments: tuple[int, bytes]) -> bytes:
    """An ELF core of 32 bits with these segments."""
    header = struct.pack(
        "<4s5B7xHHIIIIIHHHHHH", b"\x7fELF", 1, 1, 1, 0, 0, 4, 40, 1, 0, 52, 0, 0, 52, 32, len(segments), 0, 0, 0
    )
    offset, table, content = 52 + 32 * len(segments), b"", b""
    for address, data in segments:
        table += struct.pack("<8I", 1, offset + len(content), address, address, len(data), len(data), 6, 1)
        content += data
    return header + table + content


@pytest.mark.parametrize(
    "segments",
    [
        ((0x1000, b"abcdefgh"), (0x1004, b"efghij")),
        ((0x1000, b"abcdefghij"), (0x1002, b"cd"), (0x1006, b"gh")),
        ((0x1000, b"abcdefghij"), (0x1000, b"abcd")),
    ],
)
def test_a_core_that_has_memory_twice_is_read_where_both_agree(segments: tuple[tuple[int, bytes], ...]) -> None:
    image = elf.parse(core(*segments))

    assert [(one.address, bytes(one.data)) for one in image.segments] == [(0x1000, b"abcdefghij")]


def test_a_core_that_has_different_bytes_for_one_address_is_refused() -> None:
    with pytest.raises(BadImage, match="different bytes for 0x1004 twice"):
        elf.parse(core((0x1000, b"abcdefgh"), (0x1004, b"efGhij")))
