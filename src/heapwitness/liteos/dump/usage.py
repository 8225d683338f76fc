"""Who uses a pool: totals, tasks, free sizes, and what was allocated where and never freed; sizes in bytes."""

from collections.abc import Mapping

import msgspec

from heapwitness.findings.model import Frame
from heapwitness.liteos.diagnose.blocks import TaskNames, task_name
from heapwitness.liteos.diagnose.derived import is_midway
from heapwitness.liteos.diagnose.evidence import HeaderEvidence
from heapwitness.liteos.dump.naming import StackOf, stack_of
from heapwitness.liteos.heap.counters import Counter, counters
from heapwitness.liteos.kernel import statistics
from heapwitness.liteos.kernel.statistics import HistogramBin, Status

LEAKS_LIMIT = 100
"""So many call sites of live blocks are told, those with most memory first."""


class TaskUse(msgspec.Struct, frozen=True):
    """One task's live blocks by the nodes, and the peak that the pool counts (None where it counts none).

    `counted` is what the pool counts as in use; less than `used` where blocks are of an earlier holder of the number.
    """

    task: int
    name: str
    used: int
    blocks: int
    peak: int | None
    counted: int | None = None


class CallSite(msgspec.Struct, frozen=True):
    """Live blocks that were allocated with the same link registers (LOSCFG_MEM_LEAKCHECK), innermost first."""

    stack: tuple[Frame, ...]
    blocks: int
    total: int


class PoolUse(msgspec.Struct, frozen=True, kw_only=True):
    """One pool as it is used.

    `largest_free` is what the largest free node can give; `fragmentation` is the share of free memory that
    lies outside of the largest free node, 0 to 1. `backup_bytes` is what head backup costs. `uncounted` is by how
    much the pool's total is above its nodes: nodes freed after the statistics of their task had been cleared.
    `midway` tells that an operation was stopped half way, `lock_held` whether the heap's lock was held (None where
    nobody knows).
    """

    address: int
    size: int
    width: int
    status: Status
    largest_free: int
    fragmentation: float
    backup_bytes: int
    tasks: tuple[TaskUse, ...]
    histogram: tuple[HistogramBin, ...]
    call_sites: tuple[CallSite, ...]
    uncounted: int = 0
    midway: bool = False
    lock_held: bool | None = None


def usage(evidence: HeaderEvidence, names: TaskNames, stack: StackOf) -> PoolUse:
    """Sum up a walked pool.

    Args:
        evidence: the walked pool.
        names: names of tasks by number.
        stack: what a return address is called.
    """
    walked, layout = evidence.walk, evidence.view.layout
    counted = counters(evidence.view, walked, {})
    by_task = {one.task: one for one in counted}
    total = by_task.get(None)
    status = statistics.totals(walked, None if total is None else total.peak)
    largest = max(status.max_free_node - layout.node_size, 0)
    return PoolUse(
        address=walked.address,
        size=walked.info.size,
        width=layout.width,
        status=status,
        largest_free=largest,
        fragmentation=1 - status.max_free_node / status.total_free if status.total_free else 0.0,
        backup_bytes=0 if layout.backup_offset is None else (len(walked.nodes) + 1) * layout.control.size,
        tasks=_tasks(evidence, names, by_task),
        histogram=tuple(one for one in statistics.histogram(walked) if one.nodes),
        call_sites=_call_sites(evidence, stack),
        midway=is_midway(evidence),
        uncounted=0 if total is None else max(total.above, 0),
    )


def _tasks(evidence: HeaderEvidence, names: TaskNames, counted: Mapping[int | None, Counter]) -> tuple[TaskUse, ...]:
    if not evidence.view.layout.has_magic:
        return ()
    used: dict[int, list[int]] = {task: [] for task, one in counted.items() if task is not None and one.peak}
    for node in evidence.walk.nodes:
        if node.header is not None and node.header.used:
            used.setdefault(node.header.task, []).append(node.size)
    return tuple(
        TaskUse(
            task,
            task_name(task, names),
            sum(sizes),
            len(sizes),
            None if task not in counted else counted[task].peak,
            None if task not in counted else counted[task].used,
        )
        for task, sizes in sorted(used.items())
    )


def _call_sites(evidence: HeaderEvidence, stack: StackOf) -> tuple[CallSite, ...]:
    if evidence.view.layout.control.link_registers is None:
        return ()
    sites: dict[tuple[int, ...], list[int]] = {}
    for node in evidence.walk.nodes:
        if node.own is not None and node.own_good and node.own.used:
            sites.setdefault(node.own.link_registers, []).append(node.size)
    ordered = sorted(sites.items(), key=lambda site: (-sum(site[1]), site[0]))
    return tuple(
        CallSite(stack_of(registers, stack), len(sizes), sum(sizes)) for registers, sizes in ordered[:LEAKS_LIMIT]
    )
