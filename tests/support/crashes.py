"""Crashes of a process whose heap a test has made."""

from heapwitness.layout.events import CrashState, CrashWords, Event, Machine, Type, When
from heapwitness.memory import SegmentsMemory
from support.heaps import PROCESS, Heap

CODE = 0x5555_4000_0000
LOAD = bytes.fromhex("488b18")
"""mov (%rax), %rbx"""

LOAD_FIELD = bytes.fromhex("488b4718")
"""mov 0x18(%rdi), %rax"""

CALL_FIELD = bytes.fromhex("ff5710")
"""call *0x10(%rdi)"""

RAX, RDX, RSI, RDI, RSP = 0, 1, 4, 5, 7
PROTECTION, PAGE_FAULT = 13, 14
WHOLE = CrashState.LOOKED | CrashState.CHECKED


def words(held: dict[int, int], *, trap: int = PROTECTION, address: int = 0, **rest: object) -> CrashWords:
    """SIGSEGV of x86-64, at CODE, with registers by number; by default at an address that no memory can have."""
    fields: dict[str, object] = {
        "machine": Machine.X86_64,
        "signal": 11,
        "code": 128 if trap == PROTECTION else 1,
        "address": address,
        "sender": 0,
        "state": WHOLE,
        "nodes": 9,
        "pc": CODE,
        "sp": 0x7FFF_0000_0000,
        "trap": trap,
        "error": 4,
        "registers": tuple(held.get(number, 0) for number in range(16)),
    }
    return CrashWords(**{**fields, **rest})  # type: ignore[arg-type]


def event(crash: CrashWords) -> Event:
    return Event(
        type=Type.CRASH,
        when=When.CRASH,
        pid=4242,
        tid=77,
        thread="worker",
        process=PROCESS,
        frames=(crash.pc, 0x9100),
        crash=crash,
    )


def memory(heap: Heap, code: bytes = LOAD) -> SegmentsMemory:
    """The heap's memory, and the instruction at CODE."""
    return heap.memory((CODE, code.ljust(64, b"\x90")))
