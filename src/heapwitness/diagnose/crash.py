"""What a crash says: the signal, the address, and whether the program took that address from released memory.

What the heap writes into released memory is keyed: the pattern of slack and poison by pool and node, the links of a
released block by a check of 32 bits. An address that a crashing instruction used, that stands in a pool at this
moment, and that is what its very node has written there, was read from there. Nothing less is taken for proof.
"""

import signal
from collections.abc import Iterator, Sequence
from typing import Literal

from heapwitness.diagnose.before import with_before, with_type_of_last
from heapwitness.diagnose.blocks import Sites, block_of
from heapwitness.diagnose.cut import cut_block
from heapwitness.diagnose.cut import words as words_of_cut
from heapwitness.diagnose.held import held
from heapwitness.diagnose.operand import Use, use_of
from heapwitness.diagnose.python_objects import with_type
from heapwitness.diagnose.smashed import overwritten_return
from heapwitness.diagnose.stale import Source, source_of
from heapwitness.errors import HeapwitnessError
from heapwitness.findings import model
from heapwitness.findings.detection import bare_stack, with_lines
from heapwitness.findings.model import Crash, Finding
from heapwitness.layout.events import CrashState, CrashWords, Event, Machine
from heapwitness.layout.process import Region, read_process, read_regions, region_at
from heapwitness.layout.reasons import detection_of
from heapwitness.memory import Memory, Unreadable, read_up_to

_MASK = (1 << 64) - 1
_NEAR = 4096
"""An address this near to what a register held was made of it."""

_LONGEST_INSTRUCTION = 15
_STACK_STEP = 64 << 10
_LONGEST_STACK = 64 << 20
_PAGE = 4096
_USER = 1 << 47
_MEMORY = (signal.SIGSEGV, signal.SIGBUS)
_CODE = (signal.SIGILL, signal.SIGFPE)
_PROTECTION, _PAGE_FAULT = 13, 14
_NAMES: dict[int, tuple[str, ...]] = {
    Machine.X86_64: (
        *("rax", "rdx", "rcx", "rbx", "rsi", "rdi", "rbp", "rsp"),
        *(f"r{number}" for number in range(8, 16)),
    ),
    Machine.AARCH64: tuple(f"x{number}" for number in range(31)),
}


def examine_crash(event: Event, words: CrashWords, memory: Memory) -> tuple[Crash, tuple[Finding, ...]]:
    """A crash with bare frames, and a finding where it was a read of released memory.

    Args:
        event: of type crash.
        words: its section.
        memory: of the process at that moment.
    """
    use = _use(words, memory)
    sites = Sites(memory, event.process)
    crash = _told(event, words, use, memory, sites)
    if not words.state & CrashState.LOOKED:
        return crash, ()
    regions = _regions(event, memory)
    if words.signal == signal.SIGABRT:  # as Python does when it meets an object that makes no sense
        return _with_held(crash, words, memory, regions, sites), ()
    if words.signal not in _MEMORY or words.code <= 0:
        return crash, ()
    candidates = _candidates(words, use, memory)
    source = source_of(memory, regions, tuple(candidates)) if candidates else None
    if source is not None:
        finding = _finding(event, crash, source, sites, candidates.get(source.value, ""))
        return crash, (with_lines(finding, sites.lines(event.noticed)),)
    cut = cut_block(memory, regions, sites, crash.address) if crash.address is not None else None
    if cut is not None:
        return _with_note(crash, words_of_cut(*cut)), ()
    smashed = overwritten_return(words, use, crash.address, crash.access, memory)
    if smashed is not None and region_at(regions, words.sp) is None:
        return _with_note(crash, smashed), ()
    used = (*candidates, *((crash.address,) if crash.address is not None else ()))
    return _with_held(crash, words, memory, regions, sites, used), ()


def _with_held(
    crash: Crash,
    words: CrashWords,
    memory: Memory,
    regions: Sequence[Region],
    sites: Sites,
    used: Sequence[int] = (),
) -> Crash:
    import msgspec

    found = held(words, _NAMES.get(words.machine, ()), memory, regions, sites, used)
    return msgspec.structs.replace(crash, stale=found) if found else crash


def _with_note(crash: Crash, note: str) -> Crash:
    import msgspec

    return msgspec.structs.replace(crash, notes=(*crash.notes, note))


def _told(event: Event, words: CrashWords, use: Use | None, memory: Memory, sites: Sites) -> Crash:
    address, access = _access(words, use, memory)
    return Crash(
        signal=_signal_name(words.signal),
        code=words.code,
        pid=event.pid,
        heap=_heap(words.state),
        nodes=words.nodes,
        thread=event.tid,
        thread_name=event.thread,
        address=address,
        access=access,
        sender=words.sender if words.code <= 0 and words.sender not in (0, event.pid) else None,
        stack=(*bare_stack(event.frames), *sites.lines(event.noticed)),
        notes=_notes(words, address, access, memory),
    )


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _heap(state: CrashState) -> Literal["whole", "damaged", "partly checked", "unchecked"]:
    if state & CrashState.FOUND:
        return "damaged"
    if state & CrashState.CHECKED:
        return "whole"
    return "partly checked" if state & CrashState.LOOKED and not state & CrashState.BROKE else "unchecked"


def _notes(words: CrashWords, address: int | None, access: model.Access | None, memory: Memory) -> tuple[str, ...]:
    notes: list[str] = []
    if words.state & CrashState.ENGAGED:
        notes.append("The thread was in an operation of the heap: the memory that it was changing was not checked.")
    if words.state & CrashState.BROKE:
        notes.append("The check of the heap itself met memory that is not there, and was broken off.")
    if not words.state & CrashState.LOOKED:
        notes.append("The process ended before its heap could be looked at.")
    if address is not None and access == "write" and _is_behind_stack(words.sp, address, memory):
        notes.append(
            "The address lies right behind the end of the stack: an array on the stack was written past its end, and "
            "over the frames of those that called, which are lost. No block of the heap is concerned."
        )
    elif address is not None and words.signal in _MEMORY and -_STACK_STEP <= address - words.sp < _PAGE:
        notes.append(
            "The address lies at the stack pointer: the stack has run out, as by a recursion without end, or the "
            "stack pointer was damaged."
        )
    return tuple(notes)


def _is_behind_stack(sp: int, address: int, memory: Memory) -> bool:
    """Whether memory goes on without a gap from the stack pointer to the page of an address, and ends there."""
    page = address - address % _PAGE
    if not 0 < page - sp <= _LONGEST_STACK:
        return False
    return len(read_up_to(memory, sp, page + 1 - sp)) == page - sp


# --- what was accessed ---------------------------------------------------------------------------


def _use(words: CrashWords, memory: Memory) -> Use | None:
    if words.machine != Machine.X86_64 or words.signal not in _MEMORY:
        return None
    # The instruction may be the last before memory that is not there.
    for length in (_LONGEST_INSTRUCTION, _PAGE - words.pc % _PAGE):
        try:
            code = memory.read(words.pc, min(length, _LONGEST_INSTRUCTION))
        except Unreadable:
            continue
        return use_of(code, words.registers)
    return None


def _access(words: CrashWords, use: Use | None, memory: Memory) -> tuple[int | None, model.Access | None]:
    """The address and the kind of the access, as far as processor and instruction tell."""
    if words.code <= 0:
        return None, None
    if words.signal in _CODE:
        return words.address, None
    if words.signal not in _MEMORY:
        return None, None
    if words.machine == Machine.AARCH64:
        return words.address, _on_aarch64(words.error)
    if words.trap == _PAGE_FAULT:
        return words.address, "execute" if words.error & 16 else "write" if words.error & 2 else "read"
    if words.trap != _PROTECTION:
        return words.address or None, None
    asked = [*use.addresses, *_targets(use, memory)] if use is not None else []
    impossible = [one for one in asked if _USER <= one < _MASK - _USER + 1]
    return (impossible[0] if impossible else None), None


def _targets(use: Use, memory: Memory) -> Iterator[int]:
    """Where an instruction goes on that loads that from memory."""
    for address in use.addresses if use.target else ():
        try:
            yield int.from_bytes(memory.read(address, 8), "little")
        except Unreadable:
            continue


def _on_aarch64(syndrome: int) -> model.Access | None:
    match syndrome >> 26 & 63:
        case 0x20 | 0x21:
            return "execute"
        case 0x24 | 0x25:
            return "write" if syndrome & 64 else "read"
    return None


def _candidates(words: CrashWords, use: Use | None, memory: Memory) -> dict[int, str]:
    """The values that the accessed address was made of, with the register that held each, or "" for memory."""
    names = _NAMES.get(words.machine, ())
    addresses = set(use.addresses) if use is not None else set()
    if words.address:
        addresses = {one for one in addresses if abs(one - words.address) < _NEAR} | {words.address}
    elif words.trap == _PAGE_FAULT:
        addresses = {0}
    found: dict[int, str] = {}
    for number, name in enumerate(names[: len(words.registers)]):
        value = words.registers[number]
        part = use is not None and number in use.registers
        if part or any(_distance(value, one, words.machine) < _NEAR for one in addresses):
            found.setdefault(value, name)
    for value in _targets(use, memory) if use is not None else ():
        found.setdefault(value, "")
    if not _is_there(memory, words.pc):
        found.setdefault(words.pc, "the program counter")
    return {value: name for value, name in found.items() if _PAGE <= value < _MASK - _PAGE}


def _is_there(memory: Memory, address: int) -> bool:
    try:
        return len(memory.read(address, 1)) == 1
    except Unreadable:
        return False


def _distance(one: int, other: int, machine: int) -> int:
    # On AArch64 the upper byte of an address is not part of what is reported.
    mask = _MASK >> 8 if machine == Machine.AARCH64 else _MASK
    apart = one - other & mask
    return min(apart, mask + 1 - apart)


# --- where it was read ---------------------------------------------------------------------------


def _regions(event: Event, memory: Memory) -> tuple[Region, ...]:
    try:
        return read_regions(memory, read_process(memory, event.process))
    except HeapwitnessError:
        return ()


def _finding(event: Event, crash: Crash, source: Source, sites: Sites, register: str) -> Finding:
    block = with_type(block_of(source.pool, sites, source.tenant), source.pool.memory)
    if block.domain == "PyObject_Malloc" and block.type is None:
        block = with_type_of_last(block, sites, source.pool.memory)
    if block.domain is not None and block.type is None:
        former = with_before(block, sites, source.pool.memory)
        known = block.domain == "PyObject_Malloc" or any(one.type is not None for one in former.before)
        block = former if known else block
    return Finding(
        kind="use-after-free-read",
        detected=detection_of(event, "crash"),
        culprit=block,
        pointer=source.value,
        access="read",
        detail=_detail(source, block, register),
    )


def _detail(source: Source, block: model.Block, register: str) -> str:
    holder = f"{register[:1].upper()}{register[1:]} held it" if register else "It was read from there just then"
    what = {
        "pattern": "the pattern that the heap fills such memory with",
        "links": "what the heap writes at the start of a released block",
    }[source.kind]
    first = f"It used {source.value:#x} as an address. {holder}; that is {what}."
    if block.freed is not None or block.state in ("free", "cached"):
        return f"{first} So it was read from this block after the release."
    if source.behind:
        return f"{first} It stands behind the last byte of this block: it was read from there."
    return (
        f"{first} Nothing was stored there since this block was allocated: it was read uninitialised, or as part of a "
        "block that was here before."
    )
