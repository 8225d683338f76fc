"""What a crash is called: only what stands in the heap with its key is a read of released memory."""

import struct

import pytest
from support import crashes
from support.crashes import CALL_FIELD, LOAD, LOAD_FIELD, PAGE_FAULT, RAX, RDI, RDX, RSI
from support.heaps import SECRET, Heap

from heapwitness.diagnose import examine_crash
from heapwitness.findings.model import Crash, Finding
from heapwitness.layout import witness
from heapwitness.layout.events import CrashState, CrashWords, Machine


def examined(heap: Heap, crash: CrashWords, code: bytes = LOAD) -> tuple[Crash, tuple[Finding, ...]]:
    return examine_crash(crashes.event(crash), crash, crashes.memory(heap, code))


def heap_with(how: str, size: int = 40) -> tuple[Heap, int]:
    """A heap, and a node in it that was released."""
    heap = Heap()
    blocks = [heap.allocate(size, pc=0x1000 + number) for number in range(9)]
    node = blocks[5]
    if how == "pending":
        heap.give_to_owner(node, pc=0x2005)
    elif how in ("cached", "poisoned"):
        heap.cache(node, pc=0x2005, poison=how == "poisoned")
    elif how == "merged":
        heap.cache(node, pc=0x2005)
        site = max(heap.sites)
        heap.release(blocks[4])
        heap.pool.release(node, site=site)
    else:
        heap.release(node, pc=0x2005)
    return heap, node


def word_at(heap: Heap, node: int, offset: int) -> int:
    at = heap.start(node) + offset
    return int.from_bytes(heap.room[at : at + 8], "little")


RETURN = b"\xc3"
STACK, NO_CODE = 0x7FFF_0000_0000, 0x4141_4141_4141_4141


@pytest.mark.parametrize(("stands", "told"), [(STACK, True), (STACK + 8, False)])
def test_return_that_is_refused_is_an_overwritten_stack_where_its_address_stands_there(stands: int, told: bool) -> None:
    heap = Heap()
    memory = heap.memory((crashes.CODE, RETURN.ljust(64, b"\x90")), (stands, NO_CODE.to_bytes(8, "little") * 2))
    words = crashes.words({crashes.RSP: STACK}, sp=STACK)

    crash, found = examine_crash(crashes.event(words), words, memory)

    assert not found
    assert any("overwritten" in note and '"AAAAAAAA"' in note for note in crash.notes) == told


@pytest.mark.parametrize("how", ["cached", "poisoned", "free", "merged", "pending"])
def test_the_links_of_a_released_block_as_an_address_name_that_block_and_its_stacks(how: str) -> None:
    heap, node = heap_with(how)
    value = word_at(heap, node, 8)

    crash, (finding,) = examined(heap, crashes.words({RAX: value}))

    assert (finding.kind, finding.access, finding.pointer) == ("use-after-free-read", "read", value)
    assert finding.culprit is not None and finding.culprit.address == heap.payload(node)
    assert finding.culprit.allocated and finding.culprit.allocated.stack[0].pc == 0x1005
    assert finding.culprit.freed and finding.culprit.freed.stack[0].pc == 0x2005
    assert finding.detected.when == "crash" and finding.detected.stack[0].pc == crashes.CODE
    assert "after the release" in finding.detail and "Rax held it" in finding.detail
    assert (crash.heap, crash.nodes, crash.address, crash.signal) == ("whole", 9, value, "SIGSEGV")


@pytest.mark.parametrize("shift", [0, 8, 100])
def test_poison_as_an_address_names_the_block_even_with_a_field_added(shift: int) -> None:
    heap, node = heap_with("poisoned")
    value = int.from_bytes(witness.poison(witness.pattern(SECRET, node)), "little") + shift

    _, (finding,) = examined(heap, crashes.words({RDI: value}), LOAD_FIELD)

    assert finding.kind == "use-after-free-read"
    assert finding.culprit is not None and finding.culprit.address == heap.payload(node)


@pytest.mark.parametrize("turn", [1, 3, 7])
def test_poison_that_was_read_from_an_odd_place_is_known(turn: int) -> None:
    heap, node = heap_with("poisoned", size=64)
    value = word_at(heap, node, 24 + turn)

    _, (finding,) = examined(heap, crashes.words({RAX: value}))

    assert finding.culprit is not None and finding.culprit.address == heap.payload(node)


def test_a_call_through_poison_is_known_by_what_it_loads() -> None:
    heap, node = heap_with("poisoned")

    crash, (finding,) = examined(heap, crashes.words({RDI: heap.payload(node)}), CALL_FIELD)

    assert finding.culprit is not None and finding.culprit.address == heap.payload(node)
    assert crash.address == word_at(heap, node, 16)


def test_links_that_are_left_in_a_block_in_use_are_released_or_uninitialised_memory() -> None:
    heap, node = heap_with("cached")
    value = word_at(heap, node, 8)
    fault = heap.pool.uncache(node, 40, site=heap.site(0x3000))

    _, (finding,) = examined(heap, crashes.words({RAX: value}))

    assert fault
    assert finding.culprit is not None
    assert (finding.culprit.state, finding.culprit.freed) == ("used", None)
    assert "uninitialised" in finding.detail


def test_slack_as_an_address_was_read_behind_the_block() -> None:
    heap = Heap()
    node = [heap.allocate(36) for _ in range(9)][5]
    value = word_at(heap, node, 40)

    _, (finding,) = examined(heap, crashes.words({RAX: value}))

    assert finding.culprit is not None and finding.culprit.address == heap.payload(node)
    assert "behind the last byte" in finding.detail


def test_a_value_near_the_address_counts_without_an_instruction_that_is_known() -> None:
    heap, node = heap_with("cached")
    value = word_at(heap, node, 8)

    _, (finding,) = examined(heap, crashes.words({RDX: value}, trap=PAGE_FAULT, address=value + 64), b"\x06" * 15)

    assert finding.pointer == value


def test_on_aarch64_the_address_itself_tells() -> None:
    heap, node = heap_with("poisoned")
    value = word_at(heap, node, 16)
    registers = (*[0] * 8, value, *[0] * 22)
    words = crashes.words(
        {},
        machine=Machine.AARCH64,
        registers=registers,
        code=1,
        address=value & 0x00FF_FFFF_FFFF_FFFF,
        error=0x92000004,
    )

    crash, (finding,) = examined(heap, words)

    assert finding.pointer == value and "X8 held it" in finding.detail
    assert crash.access == "read"


@pytest.mark.parametrize(
    "registers",
    [
        {RAX: 0},
        {RAX: 0x8181818181818181},  # a pattern's shape, of no node
        {RAX: 0x9F9F9F9F9F9F9F9F},
        {RAX: 0xFFFFFFFFFFFFFFFF},
        {RAX: 0x12345678FFFFFFFF},  # links of no node
        {RAX: 0x4141414141414141},
    ],
)
def test_an_address_that_the_heap_did_not_write_is_no_finding(registers: dict[int, int]) -> None:
    heap, _ = heap_with("poisoned")

    _, findings = examined(heap, crashes.words(registers))

    assert findings == ()


def test_a_register_that_the_instruction_did_not_use_is_no_proof() -> None:
    heap, node = heap_with("cached")

    _, findings = examined(heap, crashes.words({RSI: word_at(heap, node, 8)}, trap=PAGE_FAULT, address=0))

    assert findings == ()


def test_half_of_a_pattern_is_no_proof() -> None:
    heap, node = heap_with("poisoned")
    value = word_at(heap, node, 16) & 0xFFFFFFFF | 0x4141414100000000

    _, findings = examined(heap, crashes.words({RAX: value}))

    assert findings == ()


def test_a_copy_of_links_at_another_place_is_no_proof() -> None:
    heap, node = heap_with("cached")
    value = word_at(heap, node, 8)
    other = heap.allocate(400)
    start = heap.start(other)
    heap.room[start : start + 400] = struct.pack("<Q", value) * 50
    heap.room[heap.start(node) + 8 : heap.start(node) + 16] = bytes(8)

    _, findings = examined(heap, crashes.words({RAX: value}))

    assert findings == ()


def test_a_register_that_leads_to_a_released_block_is_shown_but_proves_nothing() -> None:
    heap, node = heap_with("cached")

    crash, findings = examined(heap, crashes.words({RDI: heap.payload(node)}, trap=PAGE_FAULT, address=0))

    assert findings == ()
    assert [(one.register, one.block.address) for one in crash.stale] == [("rdi", heap.payload(node))]


def test_a_block_in_use_is_not_shown_as_released() -> None:
    heap, _ = heap_with("cached")
    node = heap.allocate(200)

    crash, _ = examined(heap, crashes.words({RDI: heap.payload(node)}, trap=PAGE_FAULT, address=0))

    assert crash.stale == ()


@pytest.mark.parametrize(("error", "access"), [(4, "read"), (6, "write"), (20, "execute")])
def test_the_processor_says_what_was_tried(error: int, access: str) -> None:
    crash, _ = examined(Heap(), crashes.words({}, trap=PAGE_FAULT, address=0x10, error=error))

    assert (crash.address, crash.access) == (0x10, access)


@pytest.mark.parametrize(
    ("state", "heap"),
    [
        (CrashState(0), "unchecked"),
        (CrashState.LOOKED | CrashState.CHECKED, "whole"),
        (CrashState.LOOKED | CrashState.CHECKED | CrashState.FOUND, "damaged"),
        (CrashState.LOOKED | CrashState.ENGAGED, "partly checked"),
        (CrashState.LOOKED | CrashState.BROKE, "unchecked"),
    ],
)
def test_what_was_checked_is_said(state: CrashState, heap: str) -> None:
    crash, _ = examined(Heap(), crashes.words({}, state=state))

    assert crash.heap == heap


def test_a_stack_that_has_run_out_is_said() -> None:
    words = crashes.words({}, trap=PAGE_FAULT, address=0x7FFE_FFFF_FFF8, error=6)

    crash, _ = examined(Heap(), words)

    assert any("stack has run out" in note for note in crash.notes)


def test_who_sent_the_signal_is_said_and_nothing_is_made_of_the_registers() -> None:
    heap, node = heap_with("cached")
    words = crashes.words({RAX: word_at(heap, node, 8)}, signal=6, code=-6, sender=4242)

    crash, findings = examined(heap, words)
    other, _ = examined(heap, crashes.words({}, signal=11, code=0, sender=99))

    assert findings == ()
    assert (crash.signal, crash.address, crash.sender) == ("SIGABRT", None, None)
    assert (other.signal, other.sender) == ("SIGSEGV", 99)
