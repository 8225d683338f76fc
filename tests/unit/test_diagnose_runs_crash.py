"""Crashes of a process with runs: an address that stands in a released block, or in slack, was read from there."""

import pytest
from support import crashes
from support.crashes import LOAD, LOAD_FIELD, RAX, RDI
from support.runs import PROCESS, RunHeap

from heapwitness.diagnose import examine_crash
from heapwitness.findings.model import Crash, Finding
from heapwitness.layout import runs
from heapwitness.layout.events import CrashWords
from heapwitness.layout.witness import poison


def examined(heap: RunHeap, crash: CrashWords, code: bytes = LOAD) -> tuple[Crash, tuple[Finding, ...]]:
    memory = heap.memory((crashes.CODE, code.ljust(64, b"\x90")))
    return examine_crash(crashes.event(crash), crash, memory)


def released(size: int, how: str) -> tuple[RunHeap, tuple[int, int]]:
    heap = RunHeap(100, size)
    heap.fill(0, 100)
    blocks = heap.fill(1, size)
    getattr(heap, how)(blocks[4], 0x2004)
    return heap, blocks[4]


def word_at(heap: RunHeap, block: tuple[int, int], offset: int) -> int:
    at = heap.start(block) + offset
    return int.from_bytes(heap.room[at : at + 8], "little")


@pytest.mark.parametrize("size", [24, 200, 3000])
@pytest.mark.parametrize("how", ["release", "hold"])
@pytest.mark.parametrize("offset", [0, 8])
def test_the_links_of_a_released_block_as_an_address_name_that_block(size: int, how: str, offset: int) -> None:
    heap, block = released(size, how)
    value = word_at(heap, block, offset)

    _, (finding,) = examined(heap, crashes.words({RAX: value}))

    assert (finding.kind, finding.access, finding.pointer) == ("use-after-free-read", "read", value)
    assert finding.culprit is not None and finding.culprit.address == heap.payload(block)
    assert finding.culprit.size == size
    assert finding.culprit.allocated and finding.culprit.allocated.stack[0].pc == 0x1004
    assert finding.culprit.freed and finding.culprit.freed.stack[0].pc == 0x2004


@pytest.mark.parametrize("shift", [0, 8, 100])
def test_poison_as_an_address_names_the_block_even_with_a_field_added(shift: int) -> None:
    heap, block = released(500, "hold")
    value = int.from_bytes(poison(runs.pattern(heap.place(block))), "little") + shift

    _, (finding,) = examined(heap, crashes.words({RDI: value}), LOAD_FIELD)

    assert finding.kind == "use-after-free-read"
    assert finding.culprit is not None and finding.culprit.address == heap.payload(block)


def test_slack_as_an_address_was_read_behind_the_block() -> None:
    heap = RunHeap(1400)
    block = heap.fill(0, 1400)[6]
    value = word_at(heap, block, 1400)

    _, (finding,) = examined(heap, crashes.words({RAX: value}))

    assert finding.culprit is not None and finding.culprit.address == heap.payload(block)
    assert "behind the last byte" in finding.detail


def test_a_copy_of_links_in_another_place_is_no_finding() -> None:
    heap, block = released(24, "release")
    value = word_at(heap, block, 8)
    start = heap.start(block)
    heap.room[start : start + 16] = bytes(16)
    elsewhere = heap.start((0, 1))
    heap.room[elsewhere : elsewhere + 8] = value.to_bytes(8, "little")

    _, findings = examined(heap, crashes.words({RAX: value}))

    assert findings == ()


def test_a_register_that_leads_into_a_released_block_is_told() -> None:
    heap, block = released(300, "release")

    crash, _ = examined(heap, crashes.words({RDI: heap.payload(block) + 40}, signal=6, code=-6))

    assert [one.block.address for one in crash.stale] == [heap.payload(block)]
    assert crashes.PROCESS == PROCESS
