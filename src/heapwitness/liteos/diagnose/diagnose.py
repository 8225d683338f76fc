"""Findings of a pool: each damage with its kind, the blocks concerned, the bytes, and both copies field by field.

Besides headers and backups it checks what has no backup but follows from the nodes: the pool's info,
the free lists, the statistics, and the word in front of an aligned payload.
"""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import msgspec

from heapwitness.findings.detection import detection
from heapwitness.findings.model import Header, When
from heapwitness.liteos.diagnose.blocks import TaskNames, block_of
from heapwitness.liteos.diagnose.damage import damage_of_run, damage_of_runs
from heapwitness.liteos.diagnose.derived import derived_findings
from heapwitness.liteos.diagnose.evidence import HeaderEvidence
from heapwitness.liteos.diagnose.finding import CopyPair, LiteosFinding
from heapwitness.liteos.diagnose.judge import RunVerdict, judge
from heapwitness.liteos.diagnose.runs import runs_of
from heapwitness.liteos.diagnose.spot import HeaderRun
from heapwitness.liteos.diagnose.stacks import TaskStacks, details, lowest, overflowed, stack_block
from heapwitness.liteos.heap.midway import settled
from heapwitness.liteos.heap.rebuild import rebuild
from heapwitness.liteos.heap.view import PoolView
from heapwitness.liteos.heap.walk import Walk, WalkedNode, walk
from heapwitness.liteos.layout.copies import fields_of
from heapwitness.liteos.layout.layout import Layout

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

FINDINGS_LIMIT = 1000
"""So many findings of one pool are told in full; hostile bytes can hold one for every few bytes."""


def diagnose(
    data: "ReadableBuffer",
    address: int,
    layout: Layout,
    *,
    tasks: TaskNames | None = None,
    when: When = "check",
    midway: bool = False,
    held: bool | None = None,
) -> tuple[LiteosFinding, ...]:
    """Walk the pool at the start of `data` and tell everything that is wrong in it, in order of address.

    Args:
        data: the pool's bytes, which are not changed; longer or (cut off) shorter than the pool.
        address: the pool's address on the target.
        layout: what the bytes mean.
        tasks: names of tasks by their number.
        when: the operation at which this is looked at.
        midway: whether an operation of the kernel may have been stopped half way, as in a dump of a device.
        held: whether the heap's lock is known to have been held then.

    Raises:
        NoPool: the bytes hold no pool of this layout.

    Source: docs/liteos.md.
    """
    view = PoolView(bytes(data), address, layout)
    walked = walk(data, address, layout, midway=midway)
    return findings_of(view, settled(view, walked, held=held) if midway else walked, tasks or {}, when)


def findings_of(
    view: PoolView, walked: Walk, tasks: TaskNames, when: When = "check", stacks: TaskStacks | None = None
) -> tuple[LiteosFinding, ...]:
    """As `diagnose`, of a pool that was walked already; at most FINDINGS_LIMIT of them. `stacks` are the tasks'."""
    evidence = HeaderEvidence(view, walked, rebuild(view, walked))
    found = list(_header_findings(evidence, tasks, when, stacks or {}))
    told = [(one.address, one.address + one.length) for finding in found for one in finding.extents]
    found += derived_findings(evidence, tasks, when, told)
    found.sort(key=lambda finding: 0 if finding.damage is None else finding.damage.address)
    return tuple(found[:FINDINGS_LIMIT])


def _header_findings(
    evidence: HeaderEvidence, tasks: TaskNames, when: When, stacks: TaskStacks
) -> Iterator[LiteosFinding]:
    wild: dict[int, list[tuple[HeaderRun, RunVerdict]]] = {}
    runs = runs_of(evidence)[:FINDINGS_LIMIT]
    below: list[tuple[WalkedNode, list[HeaderRun]]] = []
    for run in reversed(runs):
        stack = overflowed(evidence, run, stacks)
        if stack is not None:
            below.append((stack, [run]))
        elif below and _goes_on_below(evidence, run, below[-1][1][0]):
            below[-1][1].insert(0, run)
    for stack, stretch in below:
        yield _stack_finding(evidence, stack, stretch, tasks, when, stacks)
    told = {run.start for _, stretch in below for run in stretch}
    for run in runs:
        if run.start in told:
            continue
        verdict = judge(evidence, run)
        if verdict.kind != "heap-buffer-overflow":
            # What ends where a payload begins came from there, or went no further.
            # Nothing vouches for link registers: what begins there may have begun earlier.
            began = verdict.kind != "heap-buffer-underflow" or not evidence.registers.touched(run.spots[0], run.start)
            run = msgspec.structs.replace(run, stop=run.certain, exact=began)
        elif verdict.culprit is not None:
            # A linear overflow leaves no byte out: what is right at its beginning was written with that value.
            end = verdict.culprit.address + verdict.culprit.size
            run = msgspec.structs.replace(run, start=min(run.start, end))
        if verdict.kind == "header-overwrite":
            # Two wild writes that hit both copies of one header are told together.
            wild.setdefault(verdict.victim.address, []).append((run, verdict))
        else:
            yield _finding(evidence, [run], verdict, tasks, when)
    for pairs in wild.values():
        details = tuple(dict.fromkeys(detail for _, verdict in pairs for detail in verdict.details))
        verdict = msgspec.structs.replace(pairs[0][1], details=details)
        yield _finding(evidence, [run for run, _ in pairs], verdict, tasks, when)


def _goes_on_below(evidence: HeaderEvidence, run: HeaderRun, upper: HeaderRun) -> bool:
    """Whether a run reaches up to the payload of the node right before that of another one."""
    place = evidence.index[run.spots[-1].place]
    payload = evidence.nodes[place].address + evidence.view.layout.node_size
    return place + 1 == evidence.index[upper.spots[0].place] and run.certain == payload


def _stack_finding(
    evidence: HeaderEvidence, stack: WalkedNode, runs: list[HeaderRun], tasks: TaskNames, when: When, stacks: TaskStacks
) -> LiteosFinding:
    number = evidence.index[runs[0].spots[0].place]
    before = evidence.nodes[number - 1] if number else None
    victim = before if before is not None and before.exact else stack
    said = tuple(details(evidence, runs[0], stack, before, stacks))
    verdict = RunVerdict("task-stack-overflow", victim, stack, details=said)
    finding = _finding(evidence, runs, verdict, tasks, when)
    block, low = stack_block(evidence, stack, stacks), lowest(evidence, stack)
    shown = [damage_of_run(evidence, run, low) for run in runs]
    return msgspec.structs.replace(
        finding, culprit=block, extents=tuple(shown), damage=shown[0] if len(shown) == 1 else finding.damage
    )


def _finding(
    evidence: HeaderEvidence, runs: list[HeaderRun], verdict: RunVerdict, tasks: TaskNames, when: When
) -> LiteosFinding:
    victim = verdict.victim
    previous = None if victim.previous is None else evidence.nodes[evidence.index[victim.previous]]
    owners = dict.fromkeys(spot.owner for run in runs for spot in run.spots)
    pairs = tuple(copy_pair(evidence, evidence.nodes[evidence.index[owner]]) for owner in owners)
    culprit = None if verdict.culprit is None else block_of(evidence, verdict.culprit, tasks)
    start = None
    if culprit is not None:
        start = culprit.address + (culprit.size if verdict.kind == "heap-buffer-overflow" else 0)
    one = len(runs) == 1
    return LiteosFinding(
        kind=verdict.kind,
        detected=detection(when),
        culprit=culprit,
        victim=block_of(evidence, victim, tasks),
        previous=None if previous is None else block_of(evidence, previous, tasks),
        suspect=None if verdict.suspect is None else block_of(evidence, verdict.suspect, tasks),
        damage=damage_of_run(evidence, runs[0], start) if one else damage_of_runs(evidence, runs),
        header=_header(evidence, victim),
        detail=" ".join((*verdict.details, *_lost_details(evidence, owners))),
        node=victim.address,
        extents=tuple(damage_of_run(evidence, run, start) for run in runs),
        pairs=pairs,
    )


def copy_pair(evidence: HeaderEvidence, node: WalkedNode) -> CopyPair:
    """Both copies of a node's header, field by field."""
    header = evidence.header(node)
    rebuilt = evidence.rebuilt.get(node.address)
    trusted = None if header is None or not node.exact else fields_of(evidence.view.layout, header, rebuilt is None)
    if trusted is not None and not node.own_good:
        trusted.pop("linkReg", None)  # of link registers there is no second copy
    return CopyPair(node=node.address, held_by=node.previous, header=_header(evidence, node), trusted=trusted)


def _header(evidence: HeaderEvidence, node: WalkedNode) -> Header:
    layout = evidence.view.layout
    good = node.own_good, node.backup_good
    return Header(
        stored=None if node.own is None else fields_of(layout, node.own, node.own_good),
        backup=None if node.backup is None else fields_of(layout, node.backup, node.backup_good),
        restored_from="backup" if good == (False, True) else "header" if good == (True, False) else None,
    )


def _lost_details(evidence: HeaderEvidence, owners: Mapping[int, None]) -> Iterator[str]:
    for owner in owners:
        node = evidence.nodes[evidence.index[owner]]
        if node.header is not None and node.intact is False and not node.own_good and not node.backup_good:
            yield f"Both copies of the header at {owner:#x} agree, but no node begins where its size leads to."
        rebuilt = evidence.rebuilt.get(owner)
        if rebuilt is None:
            continue
        text = f"Both copies of the header at {owner:#x} are lost: {rebuilt.how}"
        if rebuilt.unknown:
            text += f"; unknown: {', '.join(rebuilt.unknown)}"
        yield text + "."
