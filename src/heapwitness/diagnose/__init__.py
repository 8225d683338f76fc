"""Turns damaged nodes and wrong releases into findings.

All judgement is here, on bytes that were read from outside: the same for a process that waits, a record
and a core. What is read may be forged; it costs bounded time and memory, and gives findings.
docs/diagnosis.md says how the kinds are told apart, and what cannot be told.
"""

from collections.abc import Callable, Sequence

import msgspec

from heapwitness.diagnose.before import with_former
from heapwitness.diagnose.blocks import Sites
from heapwitness.diagnose.crash import examine_crash
from heapwitness.diagnose.damage import damages, with_restored
from heapwitness.diagnose.freeing import wrong_release
from heapwitness.diagnose.numbers import with_numbers
from heapwitness.diagnose.python_objects import with_contents
from heapwitness.diagnose.trap import guarded_block, into_grave, into_guard, with_stored, with_trap
from heapwitness.diagnose.unpooled import block_without_pool, overrun
from heapwitness.diagnose.watched import Caught, caught, is_damage_of, with_store
from heapwitness.findings.detection import detection, with_lines
from heapwitness.findings.model import RELEASES, Detected, Finding, Place
from heapwitness.heap import Fault, LostPool, NodeArea, WalkedPool, WalkedRuns, check
from heapwitness.layout.events import Event, Outcome, Reason, Type
from heapwitness.layout.process import BadProcess, read_process
from heapwitness.layout.reasons import detection_of, is_release
from heapwitness.memory import Memory, Unreadable

__all__ = [
    "Caught",
    "caught",
    "diagnose",
    "examine",
    "examine_crash",
    "is_damage_of",
    "with_outcome",
    "with_store",
    "with_stored",
]

_LEFT = (
    "An operation of the heap was left in the middle before, by a jump out of a signal handler or as its thread was "
    "cancelled: of what was found then, one damage may be what that left."
)


def diagnose(event: Event, memory: Memory, elsewhere: Callable[[int], Place] | None = None) -> tuple[Finding, ...]:
    """The findings of one event, at least one for an event of type finding.

    Args:
        event: as it came from the engine; other events than findings give ().
        memory: of the process that sent it, at that moment.
        elsewhere: tells where a pointer leads that was released and is in no heap.

    Returns:
        findings whose frames have a pc and nothing else.
    """
    if event.type is not Type.FINDING:
        return ()
    sites = Sites(memory, event.process)
    told = (with_contents(one, memory, event.process) for one in _diagnosed(event, memory, elsewhere))
    found = tuple(with_lines(with_former(one, sites, memory), sites.lines(event.noticed)) for one in told)
    if event.numbers:
        found = tuple(with_numbers(one, event.numbers, sites) for one in found)
    if not event.left:
        return found
    return tuple(msgspec.structs.replace(one, detail=f"{one.detail} {_LEFT}".strip()) for one in found)


def _diagnosed(event: Event, memory: Memory, elsewhere: Callable[[int], Place] | None) -> tuple[Finding, ...]:
    detected = detection_of(event)
    if is_release(event.reason):
        return (wrong_release(event, memory, detected, elsewhere),)
    sites = Sites(memory, event.process)
    if event.reason is Reason.GUARD and event.released is not None:
        return (into_grave(event, event.released, sites, detected, memory),)
    if event.unpooled is not None:
        if event.reason is Reason.GUARD:
            return (into_guard(event, block_without_pool(event.unpooled, sites), detected, memory),)
        return (with_trap(overrun(event.unpooled, memory, sites, detected), event),)
    try:
        pool = _pool(event, memory)
    except (LostPool, Unreadable) as error:
        return (Finding(kind="header-overwrite", detected=detected, detail=_sentence(error)),)
    if event.reason is Reason.GUARD:
        return (into_guard(event, guarded_block(pool, sites, event.node), detected, memory),)
    windows = [(window.low, window.high) for window in event.windows] if event.reason is Reason.DAMAGE else []
    faults = [
        Fault(event.reason, pool.shift + event.node, pool.shift + low, pool.shift + high)
        for low, high in windows or [(event.node, event.node)]
    ]
    return tuple(with_trap(finding, event) for finding in _all(pool, sites, faults, detected))


def _pool(event: Event, memory: Memory) -> NodeArea:
    """The pool that an event is of, or the run with those beside it.

    Raises:
        LostPool, Unreadable: nothing in it can be verified.
    """
    if not event.run:
        return WalkedPool.open(memory, event.pool, event.pool_bytes or None)
    try:
        process = read_process(memory, event.process)
    except BadProcess as error:
        raise LostPool(str(error)) from error
    return WalkedRuns.open(memory, process, event.pool, event.run)


def examine(
    memory: Memory, base: int, size: int | None = None, *, process: int = 0, detected: Detected | None = None
) -> tuple[Finding, ...]:
    """All damage in one pool, found by walking it: for cores, images and pools of the core library.

    Args:
        base: the pool's address.
        size: in bytes, where it is known from elsewhere.
        process: address of the engine's process block, which leads to the call sites; 0 for none.
        detected: what the findings say of their detection.

    Raises:
        LostPool: there is no pool, or its control block and the copy of it are both lost.
        Unreadable: the memory ends before the pool does.

    Source: docs/format.md for the bytes, docs/diagnosis.md for the verdicts.
    """
    pool = WalkedPool.open(memory, base, size)
    sites = Sites(memory, process)
    return _all(pool, sites, check(pool), detected or detection("check"))


def with_outcome(finding: Finding, outcome: Outcome) -> Finding:
    """The finding as it stands after the engine's repair.

    Wrong releases have nothing to repair. What was quarantined is not repaired: the program goes on
    without it.
    """
    if finding.kind in (*RELEASES, "use-after-free-read"):
        return finding
    mended = (
        *(outcome.headers, outcome.backups, outcome.slacks),
        *(outcome.links, outcome.poisons, outcome.controls),
    )
    if not any(mended):
        return finding
    return msgspec.structs.replace(finding, repaired=True, header=with_restored(finding.header))


def _all(pool: NodeArea, sites: Sites, faults: Sequence[Fault], detected: Detected) -> tuple[Finding, ...]:
    """The findings of several faults; damage that two of them meet in is told once."""
    found: dict[object, Finding] = {}
    # What reaches the pool's end is told by the fault in which it begins.
    to_the_end = any(fault.reason is Reason.DAMAGE and fault.high == pool.end for fault in faults)
    for fault in faults:
        for finding in damages(pool, sites, fault, detected):
            if finding.damage is None and to_the_end and fault.reason is Reason.CONTROL:
                continue
            place = finding.damage.address if finding.damage else (fault, finding.kind)
            found.setdefault(place, finding)
    return tuple(found.values())


def _sentence(error: Exception) -> str:
    text = str(error)
    return text[:1].upper() + text[1:]
