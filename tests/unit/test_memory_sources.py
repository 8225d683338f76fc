"""Bytes by address from buffers, records, live processes and cores."""

import ctypes
import os
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from heapwitness.errors import HeapwitnessError
from heapwitness.memory import (
    READ_LIMIT,
    BufferMemory,
    CoreMemory,
    Memory,
    ProcessMemory,
    SegmentsMemory,
    Unreadable,
    read_up_to,
)


def test_a_buffer_gives_its_bytes_at_its_address() -> None:
    memory = BufferMemory(0x1000, b"abcdef")
    assert memory.read(0x1002, 3) == b"cde"
    assert memory.read(0x1006, 0) == b""


@pytest.mark.parametrize(("address", "length"), [(0xFFF, 1), (0x1000, 7), (0x1007, 1), (0x1000, -1), (0, 1 << 63)])
def test_a_buffer_refuses_what_it_does_not_have(address: int, length: int) -> None:
    with pytest.raises(Unreadable):
        BufferMemory(0x1000, b"abcdef").read(address, length)


def test_a_buffer_shows_what_its_owner_writes_later() -> None:
    data = bytearray(b"abc")
    memory = BufferMemory(0, data)
    data[1] = ord("x")
    assert memory.read(0, 3) == b"axc"


def test_a_read_runs_from_one_segment_into_the_next() -> None:
    memory = SegmentsMemory([(0x2000, b"cd"), (0x1FFE, b"ab"), (0x3000, b"z")])
    assert memory.read(0x1FFF, 2) == b"bc"
    with pytest.raises(Unreadable):
        memory.read(0x2001, 2)


def test_the_later_of_overlapping_segments_holds() -> None:
    memory = SegmentsMemory([(100, b"aaaaaaaa"), (98, b"bbbb"), (103, b"c"), (106, b"dd")])
    assert memory.read(98, 10) == b"bbbbacaadd"


def test_a_live_process_is_read_while_it_waits() -> None:
    code = (
        "import ctypes, sys; b = ctypes.create_string_buffer(b'witness', 5000);"
        "print(ctypes.addressof(b), flush=True); sys.stdin.read()"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        address = int(child.stdout.readline())
        with ProcessMemory(child.pid) as memory:
            assert memory.read(address, 8) == b"witness\0"
            with pytest.raises(Unreadable):
                memory.read(16, 1)
            child.communicate()
            with pytest.raises(Unreadable):
                memory.read(address, 8)


def test_no_such_process_is_one_sentence() -> None:
    with pytest.raises(HeapwitnessError, match="process 4194999"):
        ProcessMemory(4194999)


@pytest.mark.parametrize("length", [READ_LIMIT + 1, 1 << 62, -1])
def test_a_forged_length_costs_no_memory(length: int) -> None:
    with ProcessMemory(os.getpid()) as memory, pytest.raises(Unreadable):
        memory.read(4096, length)


def test_an_address_beyond_all_memory_is_unreadable() -> None:
    with ProcessMemory(os.getpid()) as memory:
        for address in ((1 << 64) - 8, 1 << 63, 1 << 70):
            with pytest.raises(Unreadable):
                memory.read(address, 16)


@pytest.mark.parametrize("there", [1, 15, 4095, 4096, 4097, 20_000, 100_001])
def test_as_much_as_there_is_ends_at_the_first_missing_byte(there: int) -> None:
    data = (bytes(range(251)) * 500)[:there]
    memory = SegmentsMemory([(7000, data)])
    assert read_up_to(memory, 7000, 1 << 20) == data
    assert read_up_to(memory, 7000, there - 1) == data[:-1]
    assert read_up_to(memory, 7000 + there - 1, 77) == data[-1:]
    assert read_up_to(memory, 6999, 100) == b""


def _core(path: Path, address: int, data: bytes) -> Path:
    """The smallest ELF core file with one segment."""
    header = struct.pack("<16sHHIQQQIHHHHHH", b"\x7fELF\2\1\1", 4, 62, 1, 0, 64, 0, 0, 64, 56, 1, 0, 0, 0)
    segment = struct.pack("<IIQQQQQQ", 1, 6, 0x1000, address, 0, len(data), len(data), 0x1000)
    path.write_bytes((header + segment).ljust(0x1000, b"\0") + data)
    return path


def test_a_core_file_is_read_like_a_process(tmp_path: Path) -> None:
    memory = CoreMemory(_core(tmp_path / "core", 0x7F0000000000, b"0123456789" * 1000))
    assert memory.read(0x7F0000000002, 5) == b"23456"
    for address, length in ((0x7F0000000000 + 9999, 2), (0x1000, 1), (0x7F0000000000, READ_LIMIT + 1), (-1, 4)):
        with pytest.raises(Unreadable):
            memory.read(address, length)


def test_what_is_no_core_file_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("no core")
    for name in ("text", "missing"):
        with pytest.raises(HeapwitnessError, match=name):
            CoreMemory(tmp_path / name)


def test_every_source_is_a_memory() -> None:
    here = ctypes.create_string_buffer(b"same")
    with ProcessMemory(os.getpid()) as process:
        sources: list[tuple[Memory, int]] = [
            (BufferMemory(5, b"same"), 5),
            (SegmentsMemory([(5, b"same")]), 5),
            (process, ctypes.addressof(here)),
        ]
        assert [memory.read(address, 4) for memory, address in sources] == [b"same"] * 3
