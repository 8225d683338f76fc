"""Whatever a heap and an event hold: findings, in bounded time."""

import contextlib
import random
import time

import hypothesis.strategies as st
from hypothesis import given, settings
from support.heaps import BASE, PROCESS, Heap

from heapwitness.diagnose import diagnose, examine
from heapwitness.errors import HeapwitnessError
from heapwitness.layout.events import Reason
from heapwitness.layout.witness import Origin
from heapwitness.memory import BufferMemory

SECONDS = 2.0  # of the processor, so that a busy machine does not count
_words = st.one_of(st.integers(0, 4), st.integers(0, 1100), st.integers(0, 2**32 - 1))
_addresses = st.one_of(st.sampled_from((0, BASE, PROCESS)), st.integers(BASE, BASE + 20000), st.integers(0, 2**64 - 1))


def scribble(heap: Heap, chance: random.Random, times: int) -> None:
    for _ in range(times):
        at = chance.randrange(len(heap.room))
        length = min(chance.choice((1, 4, 16, 100, 3000)), len(heap.room) - at)
        source = chance.randrange(len(heap.room) - length + 1)
        copied = bytes(heap.room[source : source + length])
        heap.room[at : at + length] = chance.choice((bytes(length), b"A" * length, copied, chance.randbytes(length)))


@settings(max_examples=200, deadline=None)
@given(
    st.integers(0, 2**32 - 1),
    st.sampled_from((0, 1, 3, 20, 300)),
    st.sampled_from([reason for reason in Reason if reason]),
    st.tuples(_words, _words, _words),
    st.tuples(_addresses, _addresses, _addresses, _addresses),
    st.sampled_from(list(Origin)),
)
def test_any_event_over_any_heap_gives_findings(
    seed: int,
    times: int,
    reason: Reason,
    offsets: tuple[int, int, int],
    addresses: tuple[int, int, int, int],
    family: Origin,
) -> None:
    chance = random.Random(seed)
    heap = Heap(size=16384, granule_log2=chance.choice((3, 4)), spare=4096)
    blocks = [heap.allocate(chance.choice((1, 24, 100, 700))) for _ in range(chance.randrange(1, 12))]
    for block in blocks[::2]:
        heap.release(block)
    scribble(heap, chance, times)
    pointer, process, pool, size = addresses
    forged = heap.event(
        reason, *offsets, pointer=pointer, process=process, pool=pool, pool_bytes=size % (1 << 48), family=family
    )
    plain = heap.event(reason, *offsets, pointer=pointer, family=family)
    memory = heap.memory()
    for event in (forged, plain):
        start = time.process_time()
        findings = diagnose(event, memory)
        assert time.process_time() - start < SECONDS
        assert findings


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=2000), st.integers(0, 2**20))
def test_any_bytes_examined_as_a_pool_are_findings_or_no_pool(data: bytes, size: int) -> None:
    for one in (None, size, len(data)):
        with contextlib.suppress(HeapwitnessError):
            examine(BufferMemory(0, data), 0, one)


def test_a_megabyte_of_damage_everywhere_is_examined_in_time() -> None:
    heap = Heap(size=1 << 20, spare=4096)
    while heap.pool.allocate(100) is not None:
        pass
    scribble(heap, random.Random(7), 1500)
    start = time.process_time()
    with contextlib.suppress(HeapwitnessError):
        heap.examined()
    assert time.process_time() - start < 3 * SECONDS


def test_one_pattern_over_thousands_of_nodes_is_followed_once() -> None:
    heap = Heap(size=1 << 20, spare=4096)
    blocks = [heap.allocate(100) for _ in range(5000)]
    for block in blocks[1::2]:
        heap.write(heap.end(block), b"\xee" * 20)
    (fault, *_) = heap.pool.check()
    start = time.process_time()
    findings = diagnose(heap.event(Reason.DAMAGE, fault.node, fault.low, heap.pool.end), heap.memory())
    assert time.process_time() - start < SECONDS
    assert {finding.kind for finding in findings} == {"heap-buffer-overflow"}
