"""Accesses that a trap caught: to the guards of big blocks, which lie behind their spare memory and before their start,
and to where trapped blocks end, start, or lay."""

import msgspec

from heapwitness.diagnose.blocks import Sites, Tenant, block_of, released_block
from heapwitness.diagnose.instruction import instruction_of
from heapwitness.diagnose.pointer import from_afar, only_block
from heapwitness.findings import model
from heapwitness.findings.model import Block, Detected, Finding, Frame, Store
from heapwitness.findings.words import count
from heapwitness.heap import NodeArea
from heapwitness.layout.events import Access, Event, Released, Trap, TrapState
from heapwitness.memory import Memory

_NEAR = 128
"""Damage that ends at most so many bytes before the faulting address ran on to there: a store of a vector that does not
fit stores nothing."""

_SLACK = 8
"""A trapped block ends so near to its guard that what is left there is fewer bytes."""

_NO_TRAP = Trap(address=0, pc=0, access=Access.UNKNOWN, pool=0)
_WORDS: dict[Access, model.Access] = {Access.WRITE: "write", Access.READ: "read"}
_VERBS: dict[Access, str] = {Access.WRITE: "wrote to", Access.READ: "read from", Access.UNKNOWN: "touched"}


def guarded_block(pool: NodeArea, sites: Sites, node: int) -> Block | None:
    """The block of a big pool's node that the engine has just found sound."""
    if not pool.standing(node) or pool.is_bound(node):
        return None
    return block_of(pool, sites, Tenant(node, pool.own(node)))


def into_guard(event: Event, block: Block | None, detected: Detected, memory: Memory) -> Finding:
    """The finding of an event with reason GUARD: an access to the guard of a block, and no damage on the way there."""
    trap = event.trap or _NO_TRAP
    store = _store(trap, detected, event, memory)
    below = block is not None and trap.address < block.address
    finding = Finding(
        kind="heap-buffer-underflow" if below else "heap-buffer-overflow",
        detected=detected,
        culprit=block,
        store=store,
        access=_WORDS.get(trap.access),
        certain=not _goes_on(trap) or bool(trap.state & TrapState.IS_NEAR),
        detail=f"{_where(trap, block)}{_doubt(trap, block, store)}",
    )
    if block is None or store is None or not _goes_on(trap) or block.address in store.registers.values():
        return finding
    other = only_block(event, store.registers.values(), memory)
    if other is None:
        return finding
    return msgspec.structs.replace(from_afar(finding, store, other), victim=block)


def into_grave(event: Event, released: Released, sites: Sites, detected: Detected, memory: Memory) -> Finding:
    """The finding of an event with reason GUARD about a block that is gone: an access to where it lay."""
    trap = event.trap or _NO_TRAP
    return Finding(
        kind="use-after-free-read" if trap.access is Access.READ else "use-after-free-write",
        detected=detected,
        culprit=released_block(sites, released),
        store=_store(trap, detected, event, memory),
        access=_WORDS.get(trap.access),
        certain=not _goes_on(trap) or bool(trap.state & TrapState.IS_NEAR),
        detail=f"The program {_VERBS[trap.access]} {trap.address:#x}, where nothing may be touched since the block was "
        f"released or moved, {_end(trap)}.{_far(trap)}",
    )


def with_trap(finding: Finding, event: Event) -> Finding:
    """A finding of damage with the fault that the program died of, where the damage leads up to that."""
    trap, damage = event.trap, finding.damage
    if trap is None or damage is None or trap.access is Access.READ:
        return finding
    stop = damage.address + damage.length
    ahead = finding.kind == "heap-buffer-overflow" and 0 <= trap.address - stop <= _NEAR
    back = finding.kind == "heap-buffer-underflow" and 0 < damage.address - trap.address <= _NEAR
    if not ahead and not back and (trap.pool == 0 or trap.pool != event.pool):
        return finding
    return msgspec.structs.replace(
        finding,
        store=_bare_store(trap, finding.detected),
        access=_WORDS.get(trap.access),
        detail=" ".join((_where(trap, finding.culprit), finding.detail)).strip(),
    )


def with_stored(finding: Finding, stored: tuple[int, bytes] | None) -> Finding:
    """A finding with the bytes that its access stored or read, once it was let through.

    Args:
        stored: an address and what lies there then.
    """
    store = finding.store
    if store is None or stored is None or not store.size:
        return finding
    at = (store.start if store.start is not None else store.address) - stored[0]
    value = stored[1][at : at + store.size] if at >= 0 else b""
    if len(value) < store.size:
        return finding
    return msgspec.structs.replace(finding, store=msgspec.structs.replace(store, value=value.hex()))


def _goes_on(trap: Trap) -> bool:
    return bool(trap.state & TrapState.GOES_ON)


def _end(trap: Trap) -> str:
    return "and went on after that" if _goes_on(trap) else "and died of that"


def _doubt(trap: Trap, block: Block | None, store: Store | None) -> str:
    """What else the access may have been: it touches no byte that is next to the block."""
    start = store.start if store is not None and store.start is not None else trap.address
    stop = start + (store.size if store is not None else 0)
    if block is not None:
        slack = _SLACK if _goes_on(trap) else 1
        end = block.address + block.size
        if (start < end + slack and trap.address >= end) or trap.address < block.address <= max(stop, trap.address + 1):
            return _far(trap)
    return f" Nothing on the way there is damaged: an index too far, or a wild pointer.{_far(trap)}"


def _far(trap: Trap) -> str:
    if not _goes_on(trap) or trap.state & TrapState.IS_NEAR:
        return ""
    return " That is far from the block, or about as near to another one: a wild pointer may have led there."


def _where(trap: Trap, block: Block | None) -> str:
    text = f"The program {_VERBS[trap.access]} {trap.address:#x}"
    if block is None:
        return f"{text}, where nothing may be touched, {_end(trap)}."
    return f"{text}, {_distance(trap, block)} of the block, in the guard there, {_end(trap)}."


def _distance(trap: Trap, block: Block) -> str:
    past = trap.address - block.address - block.size
    number, side = (past, "past the end") if past >= 0 else (block.address - trap.address, "before the start")
    return f"{count(number, 'byte')} {side}" if number else "right behind the end"


def _store(trap: Trap, detected: Detected, event: Event, memory: Memory) -> Store | None:
    """The access with the instruction that did it, as far as that is known."""
    bare = _bare_store(trap, detected)
    if bare is None or event.held is None:
        return bare
    instruction = instruction_of(event.held, trap.address, memory)
    if instruction is None:
        return bare
    start = instruction.start if instruction.size and instruction.start != trap.address else None
    return msgspec.structs.replace(
        bare, size=instruction.size, start=start, instruction=instruction.text, registers=instruction.registers
    )


def _bare_store(trap: Trap, detected: Detected) -> Store | None:
    """The access, with the frames below the signal's; None where it is not known what it was."""
    if trap.access is Access.UNKNOWN:
        return None
    stack = detected.stack
    callers = next((stack[number + 1 :] for number, frame in enumerate(stack) if frame.pc == trap.pc), ())
    return Store(address=trap.address, size=0, stack=(Frame(pc=trap.pc), *callers))
