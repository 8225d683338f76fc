"""Words for a crash."""

from collections.abc import Iterator

from heapwitness.findings.model import Block, Crash
from heapwitness.findings.words import count
from heapwitness.report import text

_CODES = {
    ("SIGSEGV", 1): "where nothing is mapped",
    ("SIGSEGV", 2): "which is not allowed there",
    ("SIGSEGV", 128): "",
    ("SIGBUS", 1): "which is not aligned",
    ("SIGBUS", 2): "where a file has ended",
    ("SIGFPE", 1): "division by zero",
    ("SIGFPE", 2): "integer overflow",
}
_ACCESS = {"read": "reading", "write": "writing", "execute": "going on at"}
_RAISED = (0, -6)
"""si_code of signals that were sent: by kill, and to a thread, as abort does."""

_NULL = 4096


def headline(crash: Crash) -> str:
    """A crash in one sentence."""
    return f"ended by {crash.signal}{_why(crash)}{text.by(crash.stack, ', in').replace(', in by ', ', in ')}"


def _why(crash: Crash) -> str:
    if crash.sender is not None:
        return f", sent by process {crash.sender}"
    if crash.code <= 0:
        return ", which it raised itself" if crash.code in _RAISED else ""
    reason = _CODES.get((crash.signal, crash.code), "")
    if crash.signal in ("SIGSEGV", "SIGBUS"):
        if crash.address is None:
            return ": an access to an address that no memory can have"
        how = _ACCESS.get(crash.access or "", "an access to")
        if crash.code == 128:
            reason = "that no memory can have"
        null = ", a null pointer" if crash.address < _NULL else ""
        return f": {how} address {crash.address:#x}{null or (f', {reason}' if reason else '')}"
    return f": {reason}" if reason else ""


def heap(crash: Crash) -> str:
    """What the heap was like."""
    nodes = count(crash.nodes, "node")
    return {
        "whole": f"whole: {nodes} checked, nothing was overwritten",
        "damaged": "damaged: see the findings",
        "partly checked": f"nothing was found overwritten, but not all of it ({nodes}) could be checked",
        "unchecked": "not checked",
    }[crash.heap]


def _reused(register: str, inside: int, block: Block, *, alone: bool) -> str:
    into = f"byte {inside} of " if inside else ""
    made = text.by(block.allocated.stack if block.allocated is not None else None, "allocated")
    # At the start of a block something else than an object may begin, with a wild pointer in it; and a damage may have
    # made that pointer.
    sure = "probably" if inside and alone else "it may be that"
    meant = "it" if len(block.before) == 1 else "one of them"
    if block.freed is not None:
        where = f"and released{text.by(block.freed.stack)}, where no object is"
    else:
        where = "out of which the address was read, and no object is there"
    return (
        f"{register} held the address of {into}{text.sized(block)}{made}{' ' if block.freed else ', '}{where}. Before, "
        f"{text.formers(block.before)} lay there: {sure} a reference to {meant} was released once too often, and its "
        f"memory {'was' if block.freed else 'is'} another block's {'since' if block.freed else 'now'}."
    )


def stale(crash: Crash) -> Iterator[str]:
    """Registers that lead to released blocks."""
    for one in crash.stale:
        block = one.block
        made = text.by(block.allocated.stack if block.allocated is not None else None, "allocated")
        released = text.by(block.freed.stack if block.freed is not None else None)
        held = f"{one.register} held the address of {text.sized(block)}{made} that was released{released}."
        if one.inside is not None:
            yield _reused(one.register, one.inside, block, alone=crash.heap != "damaged" and not crash.notes)
        elif block.type is not None:
            yield f"{held} If it is still used, a reference to it was released once too often."
        else:
            yield f"{held} That may be the fault, if it is still used: its first word reads as 0 or 1 now."
