"""Pools, process blocks and records whose maker knows the formats and the key: findings, in bounded time and memory."""

import contextlib
import io
import mmap
import os
import random
import struct
from pathlib import Path

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, given, settings
from support.heaps import BASE, PROCESS, SECRET, Heap, message, section

from heapwitness.diagnose import diagnose, examine
from heapwitness.errors import HeapwitnessError
from heapwitness.heap import WalkedPool, walk
from heapwitness.layout import process, witness
from heapwitness.layout.events import Event, Reason, SectionKind, Type, Window
from heapwitness.layout.witness import Fixed, NodeHeader, Origin, State
from heapwitness.memory import BufferMemory, Memory, SegmentsMemory, Unreadable
from heapwitness.pool import Pool
from heapwitness.supervise.recorded import report

MEGABYTE = 1 << 20
REASONS = [reason for reason in Reason if reason]
# Room for what hypothesis itself does meanwhile.
SLOW = settings(max_examples=120, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))

words = st.one_of(st.integers(0, 8), st.integers(0, 1100), st.integers(2**32 - 4, 2**32 - 1), st.integers(0, 2**32 - 1))
longs = st.one_of(words, st.integers(2**64 - 4, 2**64 - 1), st.sampled_from((BASE, PROCESS, BASE + 320)))


def forge(heap: Heap, nodes: list[int], chance: random.Random) -> None:
    """Write something with a check that holds."""
    pool, room, log2 = heap.pool, heap.room, heap.granule_log2
    end = pool.size >> log2
    some = lambda: chance.choice((0, 1, chance.randrange(end), chance.randrange(end), 2**31, 2**32 - 1))  # noqa: E731
    node = chance.choice(nodes)
    if chance.random() < 0.2:
        node = chance.randrange(pool.first, pool.end)
    at = pool.start + (node << log2)
    match chance.randrange(5):
        case 0 | 1:
            meta = witness.meta(chance.randrange(16), chance.choice(list(State)), Origin.MALLOC, some() & 0xFFFFFF)
            header = witness.sealed(SECRET, some(), chance.choice((some(), node)), meta, node)
            room[at : at + witness.HEADER] = header.pack()
            keeper = (node - header.prev_size) & 0xFFFFFFFF
            if keeper < pool.end:
                start = pool.start + (keeper << log2) + witness.KEPT
                room[start : start + witness.HEADER] = header.pack()
        case 2:
            links = witness.sealed_links(
                SECRET, some(), chance.choice((some(), node)), chance.choice((0, node, some())), node
            )
            room[at + 32 : at + 48] = links.pack()
        case 3:
            word = pool.start + 32 + 4 * chance.randrange(72)
            room[word : word + 4] = struct.pack("<I", some())
        case _:
            size = chance.choice((some(), end))
            fixed = Fixed.sealed(witness.MAGIC, witness.VERSION | log2 << 8, size, SECRET).pack()
            place = chance.choice((pool.start, pool.start + pool.size - 32))
            room[place : place + 32] = fixed


@SLOW
@given(
    st.integers(0, 2**32 - 1),
    st.sampled_from((1, 3, 20)),
    st.sampled_from(REASONS),
    st.tuples(words, words, words),
    st.sampled_from((0, 1, 31, 32)),
)
def test_sealed_forgeries_are_findings(
    seed: int, times: int, reason: Reason, offsets: tuple[int, int, int], inside: int
) -> None:
    chance = random.Random(seed)
    heap = Heap(size=16384, granule_log2=chance.choice((3, 4)), spare=4096)
    blocks = [heap.allocate(chance.choice((1, 24, 100, 700))) for _ in range(chance.randrange(2, 14))]
    for block in blocks[::2]:
        chance.choice((heap.release, heap.cache))(block)
    nodes = [one.offset for one in heap.pool.nodes()]
    for _ in range(times):
        forge(heap, nodes, chance)
    memory = heap.memory()

    pointer = BASE + (offsets[0] << heap.granule_log2) + inside
    found = diagnose(heap.event(reason, *offsets, pointer=pointer), memory)
    with contextlib.suppress(HeapwitnessError):
        examine(memory, BASE, heap.pool.size, process=PROCESS)

    assert found or reason is Reason.CONTROL


class Everywhere:
    """Memory that ends nowhere: what is in `inner`, and one pattern around it. It counts what is read."""

    def __init__(self, inner: Memory, pattern: bytes) -> None:
        self.inner, self.pattern, self.total = inner, pattern, 0

    def read(self, address: int, length: int) -> bytes:
        if not 0 <= length <= 64 * MEGABYTE or address + length > 1 << 64:
            raise Unreadable(address, length)
        self.total += length
        with contextlib.suppress(Unreadable):
            return self.inner.read(address, length)
        return (self.pattern * (length // len(self.pattern) + 1))[:length]


@SLOW
@given(
    st.lists(longs, min_size=4, max_size=4), st.sampled_from(REASONS), longs, words, st.binary(min_size=1, max_size=48)
)
def test_a_process_block_that_promises_everything_is_read_in_bounds(
    promised: list[int], reason: Reason, pointer: int, node: int, pattern: bytes
) -> None:
    block = process.PROCESS_WORDS_BEFORE_RUNS.pack(process.MAGIC, process.BEFORE_RUNS, *promised)
    memory = Everywhere(SegmentsMemory([(PROCESS, block)]), pattern)

    windows = (Window(node, 2**32 - 1),) if reason is Reason.DAMAGE else ()
    for pool in (0, promised[0], 2**64 - 16):
        event = Event(
            type=Type.FINDING,
            reason=reason,
            process=PROCESS,
            pool=pool,
            pool_bytes=promised[1],
            pointer=pointer,
            node=node,
            windows=windows,
        )
        diagnose(event, memory)

    assert memory.total < 256 * MEGABYTE


def endless_pool(node_bytes: int) -> Everywhere:
    """A pool of 32 GiB in memory that says the same everywhere."""
    size = (1 << 31) - 1
    shape = witness.VERSION | 4 << 8
    fixed = Fixed.sealed(witness.MAGIC, shape, size, SECRET).pack()
    pattern = NodeHeader(node_bytes >> 4, node_bytes >> 4, witness.meta(3, State.FREE, Origin.MALLOC, 5), 1).pack() * 3
    return Everywhere(SegmentsMemory([(BASE, fixed), (BASE + (size << 4) - 32, fixed)]), pattern)


@pytest.mark.parametrize(
    ("reason", "node"), [(Reason.DAMAGE, 20), (Reason.DAMAGE, 1 << 30), (Reason.LINKS, 20), (Reason.CONTROL, 0)]
)
@pytest.mark.parametrize("zero", [False, True])
def test_a_pool_without_end_costs_bounded_time(reason: Reason, node: int, zero: bool) -> None:
    memory = endless_pool(48)
    if zero:
        memory.pattern = bytes(4096)
    windows = (Window(node, (1 << 31) - 5),) if reason is Reason.DAMAGE else ()
    event = Event(
        type=Type.FINDING,
        reason=reason,
        pool=BASE,
        pool_bytes=((1 << 31) - 1) << 4,
        pointer=BASE + (1 << 34),
        node=node,
        windows=windows,
    )

    diagnose(event, memory)
    assert memory.total < 2048 * MEGABYTE


def test_large_blocks_are_passed_without_reading_what_is_in_them() -> None:
    buffer = mmap.mmap(-1, 256 * MEGABYTE)
    pool = Pool(buffer)
    while pool.allocate(64_000) is not None:
        pass
    memory = Everywhere(BufferMemory(0, buffer), b"?")

    nodes = sum(1 for _ in walk(WalkedPool.open(memory, 0, pool.size)))

    assert nodes > 4000
    assert memory.total < 4 * MEGABYTE


@SLOW
@given(
    st.lists(
        st.tuples(st.sampled_from(list(SectionKind)), st.binary(max_size=300), longs).map(lambda one: section(*one)),
        max_size=6,
    ),
    st.sampled_from(REASONS),
    longs,
    words,
    st.lists(st.binary(max_size=60), max_size=3),
)
def test_a_hostile_record_is_reported_or_refused_with_a_sentence(
    sections: list[bytes], reason: Reason, pool: int, node: int, rest: list[bytes]
) -> None:
    event = Event(type=Type.FINDING, reason=reason, pool=pool, pool_bytes=4096, pointer=pool, node=node, process=pool)
    data = message(event, b"".join(sections))
    record, written = Path(f"/tmp/heapwitness-test-{os.getpid()}"), Path(f"/tmp/heapwitness-test-{os.getpid()}.json")
    record.write_bytes(data + b"".join(rest) + data)
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(HeapwitnessError):
            report(record, written)
    finally:
        record.unlink()
        written.unlink(missing_ok=True)


@pytest.mark.timeout(60)  # against a hang, not a measurement
def test_a_record_full_of_mappings_is_read(tmp_path: Path) -> None:
    maps = b"".join(b"%x-%x r-xp 0 00:00 1 /no/such/file%d\n" % (n << 12, n + 1 << 12, n) for n in range(200_000))
    event = Event(type=Type.FINDING, reason=Reason.INVALID, pointer=8, frames=(1 << 13, 1 << 20))
    record = tmp_path / "record"
    record.write_bytes(message(event, section(SectionKind.MAPS, maps)) * 3)

    with contextlib.redirect_stdout(io.StringIO()) as shown:
        report(record)

    assert "invalid-free" in shown.getvalue()
