"""Reports of every kind, diagnosed in heaps that were really damaged, with names as a program would have them."""

from collections.abc import Callable
from typing import Any

import msgspec

from heapwitness.diagnose import diagnose
from heapwitness.findings.model import (
    Block,
    Crash,
    Detected,
    Finding,
    Frame,
    HeapMap,
    Program,
    Report,
    Site,
    Store,
    Summary,
)
from heapwitness.layout.events import Origin
from heapwitness.survey.process import heap_map
from support.heaps import Heap, Reason

NAMES = {
    0x1000: ("new_record", "/src/app/src/record.c", 41),
    0x2000: ("drop_record", "/src/app/src/record.c", 66),
    0x3000: ("close_all", "/src/app/src/main.c", 20),
    0x9000: ("free_record", "/src/app/src/record.c", 60),
    0x9100: ("main", "/src/app/src/main.c", 12),
}


def frame(pc: int) -> Frame:
    """A frame of the program's at an address."""
    function, file, line = NAMES.get(pc, (f"function_{pc:x}", "/src/app/src/other.c", pc % 1000 + 1))
    return Frame(
        pc=pc, module="/opt/app/bin/app", build_id="ab" * 10, offset=pc & 0xFFF, function=function, file=file, line=line
    )


def named(document: Any) -> Any:
    """A record with names for all frames in it."""
    if isinstance(document, Frame):
        return frame(document.pc)
    if isinstance(document, tuple):
        return tuple(named(one) for one in document)
    if isinstance(document, msgspec.Struct):
        changes = {name: named(getattr(document, name)) for name in document.__struct_fields__ if name != "schema"}
        return msgspec.structs.replace(document, **changes)
    return document


def _heap() -> tuple[Heap, list[int]]:
    heap = Heap()
    return heap, [heap.allocate(24) for _ in range(30)]


def _damage(write: Callable[[Heap, list[int]], object]) -> Finding:
    heap, blocks = _heap()
    write(heap, blocks)
    found: Finding = named(heap.findings()[0])
    return found


def _release(reason: Reason, node: int, **rest: object) -> Finding:
    heap, blocks = _heap()
    if reason is Reason.DOUBLE:
        heap.release(blocks[node])
    pointer = heap.payload(blocks[node]) + (8 if reason is Reason.INVALID else 0)
    event = heap.event(reason, blocks[node], pointer=pointer, **rest)
    found: Finding = named(diagnose(event, heap.memory())[0])
    return found


def _after_free(heap: Heap, blocks: list[int]) -> None:
    heap.release(blocks[3])
    heap.write(heap.start(blocks[3]), b"written after the end")


BLOCK = Block(
    address=0x7F5A00000220,
    size=72,
    state="cached",
    origin="malloc",
    allocated=Site(thread=77, stack=(frame(0x1000), frame(0x9100))),
    freed=Site(thread=77, stack=(frame(0x2000), frame(0x9100))),
)
DETECTED = Detected(when="crash", thread=77, thread_name="worker", pid=4242, stack=(frame(0x9000), frame(0x9100)))


def findings() -> dict[str, Finding]:
    """One finding of each kind."""
    task = Block(address=0x20001000, size=2048, state="used", origin="malloc", task="network")
    overflow = _damage(lambda heap, blocks: heap.write(heap.end(blocks[3]), b"h" * 20))
    return {
        "heap-buffer-overflow": overflow,
        "heap-buffer-underflow": _damage(lambda heap, blocks: heap.write(heap.start(blocks[3]) - 6, b"minus!")),
        "header-overwrite": _damage(lambda heap, blocks: heap.write(heap.start(blocks[3]) - 26, b"wild")),
        "use-after-free-write": _damage(_after_free),
        "use-after-free-read": Finding(
            kind="use-after-free-read", detected=DETECTED, culprit=BLOCK, pointer=0x5A5A5A5A5A5A5A5A, access="read"
        ),
        "double-free": _release(Reason.DOUBLE, 3),
        "invalid-free": _release(Reason.INVALID, 3),
        "mismatched-free": _release(Reason.MISMATCH, 3, family=Origin.NEW),
        "task-stack-overflow": msgspec.structs.replace(
            overflow, kind="task-stack-overflow", culprit=task, victim=None, suspect=None
        ),
    }


def trapped() -> Finding:
    """A finding whose store was caught."""
    store = Store(address=0x7F5A00000300, size=8, stack=(frame(0x9300), frame(0x9100)))
    found = findings()["heap-buffer-overflow"]
    return msgspec.structs.replace(found, store=store, access="write", repaired=True, count=3)


def crash() -> Crash:
    """A crash with a stack."""
    return Crash(
        signal="SIGSEGV",
        code=1,
        pid=4242,
        heap="whole",
        nodes=1204,
        thread=77,
        thread_name="worker",
        address=0,
        access="read",
        stack=(frame(0x9000), frame(0x9100)),
    )


def mapped() -> HeapMap:
    """The map of a heap with live, released and damaged blocks."""
    heap = Heap(size=1 << 18)
    blocks = [heap.allocate(16 + number * 7 % 200) for number in range(400)]
    for node in blocks[::5]:
        heap.release(node)
    heap.write(heap.end(blocks[101]), b"overrun")
    found = heap_map(heap.memory(), 0x5555_0000_0000, "finding", heap.findings(), pid=4242)
    assert found is not None
    whole: HeapMap = named(found)
    return whole


def report_of(*found: Finding, **more: Any) -> Report:
    """A report with these findings."""
    return Report(
        program=Program(argv=("./app", "--fast"), pid=4242, exit_status=0),
        findings=found,
        summary=Summary(
            operations=1000,
            nodes=30,
            findings=sum(one.count for one in found),
            repaired=sum(one.repaired for one in found),
            processes=1,
        ),
        **more,
    )


def everything() -> Report:
    """A report with a finding of each kind, one that a trap caught, a crash, a warning and a map."""
    return report_of(
        *findings().values(), trapped(), crashes=(crash(),), warnings=("something was guessed.",), maps=(mapped(),)
    )
