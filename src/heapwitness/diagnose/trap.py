"""Faults that a program died of: accesses to the guards of big blocks, which lie behind their spare memory and
before their start."""

import msgspec

from heapwitness.diagnose.blocks import Sites, Tenant, block_of, released_block
from heapwitness.findings import model
from heapwitness.findings.model import Block, Detected, Finding, Frame, Store
from heapwitness.findings.words import count
from heapwitness.heap import Pool, standing
from heapwitness.layout.events import Access, Event, Released, Trap

_NEAR = 128
"""Damage that ends at most so many bytes before the faulting address ran on to there: a store of a vector that does not
fit stores nothing."""

_NO_TRAP = Trap(address=0, pc=0, access=Access.UNKNOWN, pool=0)
_WORDS: dict[Access, model.Access] = {Access.WRITE: "write", Access.READ: "read"}
_VERBS: dict[Access, str] = {Access.WRITE: "wrote to", Access.READ: "read from", Access.UNKNOWN: "touched"}


def guarded_block(pool: Pool, sites: Sites, node: int) -> Block | None:
    """The block of a big pool's node that the engine has just found sound."""
    if not standing(pool, node) or node == pool.end:
        return None
    return block_of(pool, sites, Tenant(node, pool.own(node)))


def into_guard(event: Event, block: Block | None, detected: Detected) -> Finding:
    """The finding of an event with reason GUARD: an access to the guard of a block, and no damage on the way there."""
    trap = event.trap or _NO_TRAP
    below = block is not None and trap.address < block.address
    skipped = block is None or trap.address not in (block.address - 1, block.address + block.size)
    doubt = " Nothing on the way there is damaged: an index too far, or a wild pointer." if skipped else ""
    return Finding(
        kind="heap-buffer-underflow" if below else "heap-buffer-overflow",
        detected=detected,
        culprit=block,
        store=_store(trap, detected),
        access=_WORDS.get(trap.access),
        detail=f"{_where(trap, block)}{doubt}",
    )


def into_grave(event: Event, released: Released, sites: Sites, detected: Detected) -> Finding:
    """The finding of an event with reason GUARD about a big block that is gone: an access to where it lay."""
    trap = event.trap or _NO_TRAP
    return Finding(
        kind="use-after-free-read" if trap.access is Access.READ else "use-after-free-write",
        detected=detected,
        culprit=released_block(sites, released),
        store=_store(trap, detected),
        access=_WORDS.get(trap.access),
        detail=f"The program {_VERBS[trap.access]} {trap.address:#x}, where nothing may be touched since the block was "
        "released or moved, and died of that.",
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
        store=_store(trap, finding.detected),
        access=_WORDS.get(trap.access),
        detail=" ".join((_where(trap, finding.culprit), finding.detail)).strip(),
    )


def _where(trap: Trap, block: Block | None) -> str:
    text = f"The program {_VERBS[trap.access]} {trap.address:#x}"
    if block is None:
        return f"{text}, where nothing may be touched, and died of that."
    return f"{text}, {_distance(trap, block)} of the block, in the guard there, and died of that."


def _distance(trap: Trap, block: Block) -> str:
    past = trap.address - block.address - block.size
    number, side = (past, "past the end") if past >= 0 else (block.address - trap.address, "before the start")
    return f"{count(number, 'byte')} {side}" if number else "right behind the end"


def _store(trap: Trap, detected: Detected) -> Store | None:
    """The access, with the frames below the signal's; None where it is not known what it was."""
    if trap.access is Access.UNKNOWN:
        return None
    stack = detected.stack
    callers = next((stack[number + 1 :] for number, frame in enumerate(stack) if frame.pc == trap.pc), ())
    return Store(address=trap.address, size=0, stack=(Frame(pc=trap.pc), *callers))
