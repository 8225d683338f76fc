"""`Pool.alloc`: blocks of a pool as objects that have the buffer protocol."""

import contextlib
import ctypes
import gc
import mmap
import subprocess
import sys
from collections.abc import Callable
from multiprocessing import shared_memory
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.pythons import each_python

import heapwitness
from heapwitness import Damaged, Pool
from heapwitness.pool import PoolBlock

SIZE = 1 << 16


@pytest.fixture
def pool() -> Pool:
    return Pool(bytearray(SIZE))


def test_block_is_aligned_and_goes_back_at_the_end_of_its_context(pool: Pool) -> None:
    with pool.alloc(1000, align=256) as block:
        assert (len(block), block.address % 256) == (1000, 0)
        assert pool.address < block.address < pool.address + pool.size
        assert (pool.stats().used, pool.stats().used_nodes) == (1000, 1)

    assert (block.node, pool.stats().used_nodes, pool.check()) == (0, 0, [])


@pytest.mark.parametrize(
    "write",
    [
        lambda block: memoryview(block).__setitem__(slice(0, 5), b"hello"),
        lambda block: np.frombuffer(block, dtype="u1", count=5).__setitem__(slice(None), list(b"hello")),
        lambda block: (ctypes.c_char * 5).from_buffer(block).__setattr__("raw", b"hello"),
        lambda block: ctypes.memmove(block.address, b"hello", 5),
    ],
    ids=["memoryview", "numpy", "ctypes", "address"],
)
def test_whatever_takes_buffers_writes_into_the_block(pool: Pool, write: Callable[[PoolBlock], object]) -> None:
    block = pool.alloc(37)

    write(block)

    assert bytes(block)[:5] == bytes(pool.payload(block.node)[:5]) == b"hello"
    assert len(bytes(block)) == 37


def test_overflow_is_raised_at_the_release_and_the_block_stays_until_it_is_mended(pool: Pool) -> None:
    block = pool.alloc(37)
    ctypes.memset(block.address + 37, 65, 3)

    with pytest.raises(Damaged):
        block.release()

    assert block.node != 0
    assert pool.repair().slacks == 1
    block.release()
    assert pool.check() == []


def test_block_that_nobody_has_goes_back(pool: Pool) -> None:
    view = memoryview(pool.alloc(50))
    held = pool.stats().used_nodes

    view.release()
    gc.collect()

    assert (held, pool.stats().used_nodes) == (1, 0)


def test_block_keeps_the_memory_of_its_pool() -> None:
    block = Pool(bytearray(SIZE)).alloc(100)
    gc.collect()

    memoryview(block)[:] = b"x" * 100

    assert bytes(block) == b"x" * 100


def test_released_block_has_no_bytes(pool: Pool) -> None:
    block = pool.alloc(8)
    block.release()
    block.release()

    with pytest.raises(ValueError, match="was released"):
        memoryview(block)


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ((SIZE,), MemoryError),
        ((8, 3), ValueError),
        ((8, 0), ValueError),
        ((-1,), OverflowError),
        (("8",), TypeError),
        ((), TypeError),
        ((8, 8, 8), TypeError),
    ],
)
def test_what_is_no_request_is_refused(pool: Pool, arguments: tuple[int, ...], error: type[Exception]) -> None:
    pool.alloc(1).release()

    with pytest.raises(error):
        pool.alloc(*arguments)

    assert (pool.stats().used_nodes, pool.check()) == (0, [])


def test_keyword_that_is_none_is_refused(pool: Pool) -> None:
    pool.alloc(1)

    with pytest.raises(TypeError):
        pool.alloc(8, aligned=8)  # type: ignore[call-arg]


def test_block_cannot_be_made_without_a_pool(pool: Pool) -> None:
    with pytest.raises(TypeError):
        type(pool.alloc(1))()


def test_pool_in_a_mapped_file_is_there_for_who_maps_it_next(tmp_path: Path) -> None:
    file = tmp_path / "pool"
    file.write_bytes(bytes(SIZE))
    with open(file, "r+b") as stream, mmap.mmap(stream.fileno(), SIZE) as mapped:
        pool = Pool(mapped)
        node, image = _kept_in(pool), pool.image()
        del pool
        gc.collect()
    with open(file, "r+b") as stream, mmap.mmap(stream.fileno(), SIZE) as mapped:
        again = Pool.attach(mapped)
        found = bytes(again.payload(node)), again.image() == image, again.check()
        del again
        gc.collect()

    assert found == (b"kept!", True, [])


def _kept_in(pool: Pool) -> int:
    node = pool.allocate(5)
    assert node is not None
    pool.payload(node)[:] = b"kept!"
    return node


def test_processes_share_a_pool_and_one_finds_what_the_other_did() -> None:
    shared = shared_memory.SharedMemory(create=True, size=SIZE)
    try:
        pool = Pool(shared.buf)
        block = pool.alloc(37)
        code = (
            "import sys\nfrom multiprocessing import shared_memory\nfrom heapwitness import Pool\n"
            "shared = shared_memory.SharedMemory(sys.argv[1])\npool = Pool.attach(shared.buf)\n"
            "inner = pool.alloc(10)\nmemoryview(inner)[:] = b'other side'\nprint(inner.node, flush=True)\n"
            "at = int(sys.argv[2]) + 37\npool.memory[at : at + 2] = b'!!'\nimport os; os._exit(0)\n"
        )
        source = str(Path(heapwitness.__file__).parents[1])
        done = subprocess.run(
            [sys.executable, "-c", code, shared.name, str(block.address - pool.address)],
            capture_output=True,
            text=True,
            check=True,
            env={"PYTHONPATH": source},
        )
        told = bytes(pool.payload(int(done.stdout))), [one.reason.name for one in pool.check()]
        pool.repair()
        del pool, block
        gc.collect()
    finally:
        shared.close()
        with contextlib.suppress(FileNotFoundError):  # before 3.13 the other process does that at its end
            shared.unlink()

    assert told == (b"other side", ["SLACK"])


def _kept_of(pool: Pool, wanted: list[tuple[int, int, bool]]) -> list[PoolBlock]:
    kept: list[PoolBlock] = []
    for size, align, keep in wanted:
        block = pool.alloc(size, align=align)
        memoryview(block)[:] = bytes([len(kept) + 1]) * size
        if keep:
            kept.append(block)
    return kept


@given(st.lists(st.tuples(st.integers(0, 3000), st.sampled_from([1, 16, 64, 4096]), st.booleans()), max_size=30))
def test_blocks_lie_apart_and_all_go_back(wanted: list[tuple[int, int, bool]]) -> None:
    pool = Pool(bytearray(1 << 18))

    kept = _kept_of(pool, wanted)

    assert [bytes(block) for block in kept] == [bytes([n + 1]) * len(block) for n, block in enumerate(kept)]
    assert pool.check() == []
    del kept
    gc.collect()
    assert pool.stats().used_nodes == 0


@each_python
def test_blocks_are_the_same_in_each_python(python: Path) -> None:
    code = (
        "from heapwitness import Pool\npool = Pool(bytearray(1 << 16))\n"
        "with pool.alloc(1000, align=64) as block:\n    memoryview(block)[:3] = b'abc'\n"
        "    print(bytes(block)[:3], block.address % 64, len(block))\n"
        "for _ in range(10_000): pool.alloc(100).release()\n"
        "print(pool.check(), pool.stats().used_nodes)\n"
    )
    source = str(Path(heapwitness.__file__).parents[1])

    done = subprocess.run([python, "-c", code], capture_output=True, text=True, env={"PYTHONPATH": source}, check=True)

    assert done.stdout.splitlines() == ["b'abc' 0 1000", "[] 0"]
