"""Laws of damage in LiteOS pools: one lost copy is found and restored, and no bytes make an operation hang or crash."""

import random
from dataclasses import dataclass

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from support import liteos

from heapwitness.errors import HeapwitnessError
from heapwitness.liteos import Config, KernelDied, Pool
from heapwitness.liteos.layout.copies import saved_ranges

BACKED_UP = [config for config in liteos.CONFIGS.values() if config.head_backup]


@dataclass
class Heap:
    """A pool with a history, and the blocks that live in it."""

    buffer: bytearray
    config: Config
    blocks: list[int]

    def attach(self, *, faithful: bool = False) -> Pool:
        return Pool.attach(
            self.buffer,
            address=liteos.POOL_ADDRESS,
            config=self.config,
            faithful=faithful,
            link_registers=liteos.link_registers,
        )


def used_heap(config: Config, seed: int, size: int = 8192) -> Heap:
    """A pool after some operations."""
    choose = random.Random(seed)
    buffer = bytearray(choose.randbytes(size))
    pool = Pool.init(buffer, address=liteos.POOL_ADDRESS, config=config, link_registers=liteos.link_registers)
    blocks: list[int] = []
    for _ in range(40):
        if blocks and choose.random() < 0.4:
            assert pool.free(blocks.pop(choose.randrange(len(blocks))))
        else:
            block = pool.alloc(choose.choice([4, 20, 52, 130, 400]))
            if block is not None:
                blocks.append(block)
    return Heap(buffer, config, blocks)


@pytest.mark.parametrize("copy", ["header", "backup"])
@settings(max_examples=60, deadline=None)
@given(
    config=st.sampled_from(BACKED_UP),
    seed=st.integers(0, 1000),
    which=st.integers(0, 100),
    noise=st.binary(min_size=1, max_size=12),
    place=st.integers(0, 100),
)
def test_any_single_damaged_copy_is_found_and_restored_to_the_byte(
    copy: str, config: Config, seed: int, which: int, noise: bytes, place: int
) -> None:
    heap = used_heap(config, seed)
    pool = heap.attach()
    layout = pool.layout
    nodes = list(pool.nodes())
    node = nodes[which % len(nodes)]
    assert node.previous is not None
    start = node.address + layout.header_offset if copy == "header" else node.previous + (layout.backup_offset or 0)
    # Padding and link registers are in no backup, and no checksum covers the requested size.
    origin = layout.control.origin_size
    unsealed = range(0) if origin is None else range(origin.offset, origin.offset + origin.size)
    saved = [offset for first, length in saved_ranges(layout) for offset in range(first, first + length)]
    saved = [offset for offset in saved if offset not in unsealed]
    at = start - liteos.POOL_ADDRESS
    whole = bytes(heap.buffer)
    for step, value in enumerate(noise):
        heap.buffer[at + saved[(place + step) % len(saved)]] = value
    assume(bytes(heap.buffer) != whole)

    assert pool.check() != []
    pool.restore()

    assert bytes(heap.buffer) == whole


@settings(max_examples=60, deadline=None)
@given(
    config=st.sampled_from(BACKED_UP),
    seed=st.integers(0, 1000),
    which=st.integers(0, 100),
    past=st.integers(1, 60),
    value=st.integers(0, 255),
)
def test_freeing_a_block_tells_what_was_written_past_its_end(
    config: Config, seed: int, which: int, past: int, value: int
) -> None:
    heap = used_heap(config, seed)
    assume(heap.blocks)
    pool = heap.attach()
    block = heap.blocks[which % len(heap.blocks)]
    node = next(node for node in pool.nodes() if node.address + pool.layout.node_size == block)
    end = node.address + node.size - liteos.POOL_ADDRESS
    # A pool that was inspected whole once looks only at what an operation touches.
    pool.free(pool.alloc(4))
    heap.buffer[end : end + past] = bytes([value]) * len(heap.buffer[end : end + past])
    assume(pool.check())

    pool.free(block)

    assert pool.findings != []


def as_word(value: int) -> bytes:
    return value.to_bytes(4, "little")


@settings(max_examples=150, deadline=4000)
@given(
    config=st.sampled_from(list(liteos.CONFIGS.values())),
    seed=st.integers(0, 1000),
    writes=st.lists(
        st.tuples(
            st.integers(0, 8191),
            st.one_of(st.binary(min_size=1, max_size=80), st.integers(0, 0x20002FFF).map(as_word)),
        ),
        min_size=1,
        max_size=12,
    ),
    faithful=st.booleans(),
)
def test_no_bytes_make_an_operation_crash_or_hang(
    config: Config, seed: int, writes: list[tuple[int, bytes]], faithful: bool
) -> None:
    heap = used_heap(config, seed)
    for at, data in writes:
        heap.buffer[at : at + len(data)] = data[: len(heap.buffer) - at]
    try:
        pool = heap.attach(faithful=faithful)
    except HeapwitnessError:
        return
    block = heap.blocks[0] if heap.blocks else liteos.POOL_ADDRESS + 4000
    operations = [
        lambda: pool.alloc(100),
        lambda: pool.free(block),
        lambda: pool.realloc(heap.blocks[-1] if heap.blocks else block, 300),
        lambda: pool.alloc_align(50, 64),
        lambda: pool.free(liteos.POOL_ADDRESS + 5001),
        pool.status,
        pool.check,
        lambda: list(pool.nodes()),
        pool.histogram,
        pool.task_usage,
        pool.last_used,
        pool.integrity_check,
        pool.restore,
        lambda: pool.alloc(16),
    ]
    for operation in operations:
        try:
            operation()
        except KernelDied:
            assert faithful
        except HeapwitnessError:
            continue
