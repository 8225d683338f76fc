"""Where a released pointer leads that is no block, by what its process has mapped."""

import ctypes
import mmap
import os
import subprocess
import threading
import time
from pathlib import Path

import pytest

from heapwitness.findings.model import Place
from heapwitness.supervise.pointee import pointee

MAPS = """\
00400000-00401000 r-xp 00000000 08:01 55 /usr/bin/prog
00a00000-00b00000 rw-p 00000000 00:00 0 [heap]
7f0000000000-7f0000001000 ---p 00000000 00:00 0
7f0000001000-7f0000801000 rw-p 00000000 00:00 0
7f0000900000-7f0000901000 r--p 00000000 08:01 56 /home/me/table.bin
{more}7ffc00000000-7ffc00021000 rw-p 00000000 00:00 0 [stack]
"""
JEMALLOC = "7f0000a00000-7f0000b00000 r-xp 00000000 08:01 57 /usr/lib/libjemalloc.so.2\n"


def place(pointer: int, more: str = "") -> Place:
    return pointee(pointer, MAPS.format(more=more))


@pytest.mark.parametrize(
    ("pointer", "expected"),
    [
        (0x10, Place(kind="unmapped")),
        (0xA00010, Place(kind="break")),
        (0x7F0000002000, Place(kind="mapped")),
        (0x7F0000900008, Place(kind="file", module="/home/me/table.bin")),
        (0x7FFC00000100, Place(kind="stack")),
    ],
)
def test_a_record_tells_by_the_mapping(pointer: int, expected: Place) -> None:
    assert place(pointer) == expected


def test_another_allocator_that_is_loaded_is_named() -> None:
    assert place(0x7F0000002000, JEMALLOC) == Place(kind="mapped", module="/usr/lib/libjemalloc.so.2")


def test_text_that_is_no_list_of_mappings_leads_nowhere() -> None:
    assert pointee(0x1000, "0-0 nonsense\n\0") == Place(kind="unmapped")


def here(pointer: int) -> Place:
    return pointee(pointer, Path("/proc/self/maps").read_text(), os.getpid())


def test_a_waiting_threads_stack_is_told_with_its_name() -> None:
    """A thread that sleeps in the kernel has its stack pointer in /proc."""
    address, number = [], []
    ready, done = threading.Event(), threading.Event()

    def sleep() -> None:
        name = ctypes.create_string_buffer(b"sleeper")
        ctypes.CDLL(None).prctl(15, name)
        libc = ctypes.CDLL(None)
        attributes, start, size = ctypes.create_string_buffer(64), ctypes.c_void_p(), ctypes.c_size_t()
        libc.pthread_self.restype = ctypes.c_void_p
        libc.pthread_getattr_np(ctypes.c_void_p(libc.pthread_self()), attributes)
        libc.pthread_attr_getstack(attributes, ctypes.byref(start), ctypes.byref(size))
        address.append((start.value or 0) + size.value // 2)
        number.append(threading.get_native_id())
        ready.set()
        done.wait(20)

    thread = threading.Thread(target=sleep)
    thread.start()
    ready.wait(20)
    syscall = Path(f"/proc/self/task/{number[0]}/syscall")
    while syscall.read_text().startswith("running"):
        time.sleep(0.001)
    try:
        found = here(address[0])
    finally:
        done.set()
        thread.join()

    assert found == Place(kind="stack", thread=number[0], thread_name="sleeper")


@pytest.mark.parametrize("flags", [mmap.MAP_SHARED, mmap.MAP_PRIVATE])
def test_memory_without_a_file_is_mapped_and_nobodys_stack(flags: int) -> None:
    area = mmap.mmap(-1, 1 << 20, flags | mmap.MAP_ANONYMOUS)
    address = ctypes.addressof(ctypes.c_char.from_buffer(area))

    assert here(address + 64).kind == "mapped"


def test_a_process_that_has_ended_has_no_thread_to_name() -> None:
    process = subprocess.Popen(["/bin/true"])
    process.wait()
    assert pointee(0x7FFC00000100, MAPS.format(more=""), process.pid) == Place(kind="stack")
