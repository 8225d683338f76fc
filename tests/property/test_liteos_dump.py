"""Laws of reading dumps: whatever the bytes are, it ends soon, and what is repaired is whole."""

import contextlib
import time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support import liteos

from heapwitness.errors import HeapwitnessError
from heapwitness.liteos import Layout, Pool
from heapwitness.liteos.diagnose.diagnose import diagnose
from heapwitness.liteos.diagnose.plan import apply, plan
from heapwitness.liteos.find.pools import find_pools
from heapwitness.liteos.heap.walk import walk
from heapwitness.liteos.image import Segment
from heapwitness.liteos.image.load import parse

ADDRESS = liteos.POOL_ADDRESS
SECONDS = 20  # of the processor, so that a busy machine does not count; generous: it takes less than 2
NO_DEADLINE = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])

names = st.sampled_from(sorted(liteos.CONFIGS))
requests = st.lists(st.tuples(st.integers(1, 300), st.booleans(), st.integers(0, 7)), max_size=30)
writes = st.lists(st.tuples(st.integers(0, 8191), st.binary(min_size=1, max_size=120)), min_size=1, max_size=6)


def made(name: str, given_requests: list[tuple[int, bool, int]]) -> tuple[bytearray, Pool]:
    """A healthy pool after some allocations and frees."""
    buffer = bytearray(8192)
    pool = Pool.init(buffer, ADDRESS, liteos.CONFIGS[name], link_registers=liteos.link_registers)
    blocks: list[int] = []
    for size, release, task in given_requests:
        pool.task = task
        block = pool.alloc(size)
        if block is not None:
            blocks.append(block)
        if release and blocks:
            pool.free(blocks.pop(size % len(blocks)))
    return buffer, pool


@NO_DEADLINE
@given(names, requests)
def test_a_healthy_pool_never_has_a_finding(name: str, asked: list[tuple[int, bool, int]]) -> None:
    buffer, pool = made(name, asked)

    assert diagnose(buffer, ADDRESS, pool.layout) == ()
    assert plan(buffer, ADDRESS, pool.layout).changes == ()


@NO_DEADLINE
@given(names, requests, writes)
def test_a_repaired_pool_is_whole_whatever_was_written_to_it(
    name: str, asked: list[tuple[int, bool, int]], damage: list[tuple[int, bytes]]
) -> None:
    buffer, pool = made(name, asked)
    for at, data in damage:
        data = data[: len(buffer) - at]
        buffer[at : at + len(data)] = data
    try:
        restoration = plan(buffer, ADDRESS, pool.layout)
    except HeapwitnessError:
        return

    apply(buffer, ADDRESS, restoration)

    assert diagnose(buffer, ADDRESS, pool.layout) == ()
    assert plan(buffer, ADDRESS, pool.layout).changes == ()


@NO_DEADLINE
@given(
    names.filter(lambda name: not name.startswith("control")),
    requests.filter(bool),
    st.data(),
)
def test_a_damaged_copy_of_a_header_is_found_and_restored_to_the_byte(
    name: str, asked: list[tuple[int, bool, int]], data: st.DataObject
) -> None:
    buffer, pool = made(name, asked)
    layout = pool.layout
    healthy = bytes(buffer)
    node = data.draw(st.sampled_from(walk(buffer, ADDRESS, layout).everything))
    in_backup = data.draw(st.booleans())
    assert node.previous is not None and layout.backup_offset is not None
    start = node.previous + layout.backup_offset if in_backup else node.address + layout.header_offset
    field = data.draw(st.sampled_from([layout.control.pre_node, layout.control.size_and_flag, layout.control.prev]))
    at = start - ADDRESS + field.offset
    new = data.draw(
        st.binary(min_size=field.size, max_size=field.size).filter(lambda one: one != healthy[at : at + field.size])
    )
    buffer[at : at + field.size] = new

    found = diagnose(buffer, ADDRESS, layout)
    restoration = plan(buffer, ADDRESS, layout)
    apply(buffer, ADDRESS, restoration)

    assert len(found) == 1
    assert bytes(buffer) == healthy


@NO_DEADLINE
@given(names, st.binary(max_size=6000))
def test_any_bytes_are_read_or_refused(name: str, data: bytes) -> None:
    layout = Layout.of(liteos.CONFIGS[name])
    try:
        diagnose(data, ADDRESS, layout)
        plan(data, ADDRESS, layout)
    except HeapwitnessError:
        return


@NO_DEADLINE
@given(names, requests, st.integers(0, 8192))
def test_a_pool_that_is_cut_anywhere_has_no_finding_in_what_is_left(
    name: str, asked: list[tuple[int, bool, int]], cut: int
) -> None:
    buffer, pool = made(name, asked)
    try:
        found = diagnose(buffer[:cut], ADDRESS, pool.layout)
    except HeapwitnessError:
        return

    assert found == ()


@NO_DEADLINE
@given(
    st.sampled_from([b":", b"S1", b"\x7fELF\1\1\1", b"\x7fELF\2\1\1", b"\x1f\x8b\x08", b""]), st.binary(max_size=400)
)
def test_any_file_is_an_image_or_refused(start: bytes, rest: bytes) -> None:
    try:
        parse(start + rest, "dump", limit=1 << 20)
    except HeapwitnessError:
        return


@NO_DEADLINE
@given(st.binary(max_size=64), st.sampled_from([":{}\n", "S1{}\n", "S3{}\r\n", ":{}"]))
def test_any_line_is_a_record_or_refused(data: bytes, line: str) -> None:
    raw = bytes([len(data)]) + data
    for closing in (-sum(raw) & 0xFF, ~sum(raw) & 0xFF):
        try:
            parse(line.format((raw + bytes([closing])).hex()).encode(), "dump")
        except HeapwitnessError:
            continue


@settings(max_examples=8, deadline=None)
@given(
    names,
    st.sampled_from(["zero", "own address", "pairs", "same pointer", "headers", "noise"]),
    st.integers(0, 1 << 32),
)
def test_a_megabyte_of_hostile_bytes_is_done_with_in_time(name: str, kind: str, seed: int) -> None:
    layout = Layout.of(liteos.CONFIGS[name])
    data = hostile(kind, layout, seed)

    start = time.process_time()
    for placed in (True, False):
        find_pools(Segment(ADDRESS if placed else 0, memoryview(data)), layout, placed=placed)
    with contextlib.suppress(HeapwitnessError):
        diagnose(data, ADDRESS, layout)
        plan(data, ADDRESS, layout)

    assert time.process_time() - start < SECONDS


def hostile(kind: str, layout: Layout, seed: int) -> bytes:
    """A megabyte that looks like a pool's start, and then like nothing that ends."""
    size, pointer = 1 << 20, layout.pointer
    head = bytearray(layout.first_offset)
    head[:pointer] = ADDRESS.to_bytes(pointer, "little")
    at = layout.pool.pool_size.offset
    head[at : at + 4] = size.to_bytes(4, "little")
    count = (size - len(head)) // pointer
    words: list[int]
    if kind == "zero":
        words = [0] * count
    elif kind == "own address":
        words = [ADDRESS + len(head) + number * pointer for number in range(count)]
    elif kind == "pairs":
        words = [ADDRESS + len(head) + number // 2 * 2 * pointer for number in range(count)]
    elif kind == "same pointer":
        words = [ADDRESS + layout.first_offset] * count
    elif kind == "headers":
        words = [(seed >> number % 8 & 1) * (ADDRESS + layout.first_offset) or 0x80000040 for number in range(count)]
    else:
        words = [seed * (number + 1) * 2654435761 & 0xFFFFFFFF for number in range(count)]
    return bytes(head) + b"".join(word.to_bytes(pointer, "little") for word in words)


@pytest.mark.parametrize("name", ["backup-32", "backup-64", "control-32"])
def test_a_chain_of_sound_headers_that_all_name_the_first_node_ends(name: str) -> None:
    layout = Layout.of(liteos.CONFIGS[name])
    buffer, _ = made(name, [])
    node = bytes(buffer[layout.first_offset : layout.first_offset + layout.smallest_node])
    data = bytes(buffer[: layout.first_offset]) + node * ((1 << 20) // len(node))

    start = time.process_time()
    with contextlib.suppress(HeapwitnessError):
        diagnose(data, ADDRESS, layout)

    assert time.process_time() - start < SECONDS
