"""One run on the core in this process: a damaged pool is found, told, mended and used on."""

import random
from collections.abc import Iterator
from dataclasses import replace

from damage import ROWS, Row, inflict, lost, spots
from program import BASE, Diverged, Program, Saved
from truth import Mode, Repair, Result, Truth, judge

from heapwitness.diagnose import diagnose
from heapwitness.errors import HeapwitnessError
from heapwitness.findings.model import Finding
from heapwitness.layout import witness
from heapwitness.layout.events import Event, Reason, Type, Window
from heapwitness.layout.witness import State
from heapwitness.pool import Damaged, Pool

DAMAGES = 40
"""So many different damages are done to each heap, one at a time."""

_STEPS = 25
_TRIES = 20


def runs(seed: int, first: int, count: int) -> Iterator[tuple[int, Result]]:
    """Runs `first` to before `first + count` of a campaign, each with its number."""
    heap = -1
    program: Program | None = None
    saved: Saved | None = None
    for number in range(first, first + count):
        if number // DAMAGES != heap or program is None or saved is None:
            heap = number // DAMAGES
            program = Program(random.Random(f"{seed} heap {heap}"))
            saved = program.save()
        else:
            program.restore(saved)
        result = _run(random.Random(f"{seed} run {number}"), program, ROWS[number % len(ROWS)])
        if result is not None:
            yield number, result


def _run(choose: random.Random, program: Program, row: Row) -> Result | None:
    for _ in range(_TRIES):
        truth = inflict(choose, program, row)
        if truth is not None:
            break
    else:
        return None
    if choose.random() < 0.6:
        return _checked(program, truth)
    return _used(choose, program, truth)


def _checked(program: Program, truth: Truth, when: str = "check", misled: bool = False) -> Result:
    """Look at the whole pool at once, as at exit or on a signal."""
    gone = not misled and lost(program)
    findings = _findings(program)
    repair, remark = _repair(program, gone, misled)
    finished = repair == "yes" or _goes_on_without(program, truth)
    mode: Mode = "operations" if misled else "check"
    return _result(truth, mode, when if findings else "", findings, repair, finished, remark, extents=not misled)


def _used(choose: random.Random, program: Program, truth: Truth) -> Result:
    """Go on using the heap until an operation meets the damage, and to the end."""
    found: list[Finding] = []
    when, moved = "", False
    node = (truth.block - BASE) >> program.pool.granule_log2 if truth.block else 0
    node -= witness.OVERHEAD >> program.pool.granule_log2
    block = program.blocks.get(node)
    gone = lost(program)
    if gone:  # the twin is no model any more once nodes are given up
        return _checked(program, truth)

    def guard() -> None:
        nonlocal when, moved
        moved = moved or (when == "" and program.blocks.get(node) != block)
        when = when or "operation"
        found.extend(_findings(program))
        program.pool.repair()

    remark = ""
    try:
        for _ in range(_STEPS):
            program.step(choose, guard)
    except Diverged as error:
        if not found:
            # A damaged index that still verifies leads to another free block, or says that there is none.
            return _checked(program, truth, "exit", misled=True)
        remark = str(error)
    except Damaged as error:
        remark = str(error)
    if not found:
        found = _findings(program)
        when = "exit" if found else ""
        moved = program.blocks.get(node) != block
    if moved:
        # The block was resized, or released and its memory used again, before anything was noticed.
        truth = replace(truth, block=0)
    repair, wrong = _repair(program)
    return _result(truth, "operations", when, found, repair, not remark, remark or wrong, extents=False)


def _findings(program: Program) -> list[Finding]:
    """What the engine would tell, diagnosed one event after the other as in a process."""
    found: list[Finding] = []
    pool = program.pool
    for fault in pool.check():
        windows = (Window(fault.low, fault.high),) if fault.reason is Reason.DAMAGE else ()
        event = Event(
            type=Type.FINDING,
            reason=fault.reason,
            pool=BASE,
            pool_bytes=pool.size,
            node=fault.node,
            windows=windows,
        )
        found.extend(diagnose(event, program.memory))
    return found


def _repair(program: Program, gone: bool = False, misled: bool = False) -> tuple[Repair, str]:
    """Mend the pool; what is wrong afterwards.

    `gone`: something cannot be restored; `misled`: the twin is another heap by now.
    """
    try:
        program.pool.repair()
    except HeapwitnessError as error:
        return "no", str(error)
    faults = program.pool.check()
    if faults:
        return "no", f"the repaired pool has {len(faults)} faults"
    if gone:
        return "lost", ""
    for start, stop in spots(program):
        if not misled and not program.same(start, stop):
            cached = any(
                block.state is State.CACHED and program.start(node) <= start < program.start(node) + max(block.size, 16)
                for node, block in program.blocks.items()
            )
            return "no", f"bytes {start} to {stop} of {'a cached block' if cached else 'the pool'} were not restored"
    return "yes", ""


def _goes_on_without(program: Program, truth: Truth) -> bool:
    """Whether every block that the damage did not reach is there with what it held, and can be released."""
    pool = program.pool
    low, high = truth.start - BASE, truth.stop - BASE
    for node, block in program.blocks.items():
        start, end = program.start(node), program.end(node)
        if block.state is not State.USED or (end > low and start < high):
            continue
        if not program.same(start, end) or not _release(pool, node):
            return False
    return not pool.check()


def _release(pool: Pool, node: int) -> bool:
    try:
        pool.release(node)
    except HeapwitnessError:
        # Inside of a stretch that was given up there are no nodes any more; the engine keeps what is released there.
        return any(one.site == 0xFFFFFF and one.offset <= node < one.offset + one.size for one in pool.nodes())
    return True


def _result(
    truth: Truth,
    mode: Mode,
    when: str,
    findings: list[Finding],
    repair: Repair,
    finished: bool,
    remark: str,
    extents: bool = True,
) -> Result:
    judged = judge(truth, findings, extents=extents)
    return Result(
        truth=truth,
        mode=mode,
        when=when,
        told=tuple(one.kind for one in findings),
        right=judged.right,
        culprit=judged.culprit,
        extent=judged.extent,
        repair=repair,
        finished=finished,
        remark="; ".join(filter(None, (*judged.remarks, remark))),
    )
