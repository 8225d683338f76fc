"""Who uses a pool: totals, tasks, free sizes, and what was allocated where and never freed; sizes in bytes."""

import msgspec

from heapwitness.liteos import statistics
from heapwitness.liteos.blocks import TaskNames, task_name
from heapwitness.liteos.counters import counters
from heapwitness.liteos.evidence import Evidence
from heapwitness.liteos.naming import StackOf, stack_of
from heapwitness.liteos.statistics import HistogramBin, Status
from heapwitness.report.model import Frame

LEAKS_LIMIT = 100
"""So many call sites of live blocks are told, those with most memory first."""


class TaskUse(msgspec.Struct, frozen=True):
    """One task's live blocks by the nodes, and the peak that the pool counts (None where it counts none)."""

    task: int
    name: str
    used: int
    blocks: int
    peak: int | None


class CallSite(msgspec.Struct, frozen=True):
    """Live blocks that were allocated with the same link registers (LOSCFG_MEM_LEAKCHECK), innermost first."""

    stack: tuple[Frame, ...]
    blocks: int
    total: int


class PoolUse(msgspec.Struct, frozen=True, kw_only=True):
    """One pool as it is used.

    `largest_free` is what the largest free node can give; `fragmentation` is the share of free memory that
    lies outside of the largest free node, 0 to 1. `backup_bytes` is what head backup costs.
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


def usage(evidence: Evidence, names: TaskNames, stack: StackOf) -> PoolUse:
    """Sum up a walked pool.

    Args:
        evidence: the walked pool.
        names: names of tasks by number.
        stack: what a return address is called.
    """
    walked, layout = evidence.walk, evidence.view.layout
    counted = counters(evidence.view, walked, {})
    peaks = {one.task: one.peak for one in counted}
    status = statistics.totals(walked, peaks.get(None))
    largest = max(status.max_free_node - layout.node_size, 0)
    return PoolUse(
        address=walked.address,
        size=walked.info.size,
        width=layout.width,
        status=status,
        largest_free=largest,
        fragmentation=1 - status.max_free_node / status.total_free if status.total_free else 0.0,
        backup_bytes=0 if layout.backup_offset is None else (len(walked.nodes) + 1) * layout.control.size,
        tasks=_tasks(evidence, names, peaks),
        histogram=tuple(one for one in statistics.histogram(walked) if one.nodes),
        call_sites=_call_sites(evidence, stack),
    )


def _tasks(evidence: Evidence, names: TaskNames, peaks: dict[int | None, int]) -> tuple[TaskUse, ...]:
    if not evidence.view.layout.has_magic:
        return ()
    used: dict[int, list[int]] = {task: [] for task, peak in peaks.items() if task is not None and peak}
    for node in evidence.walk.nodes:
        if node.header is not None and node.header.used:
            used.setdefault(node.header.task, []).append(node.size)
    return tuple(
        TaskUse(task, task_name(task, names), sum(sizes), len(sizes), peaks.get(task))
        for task, sizes in sorted(used.items())
    )


def _call_sites(evidence: Evidence, stack: StackOf) -> tuple[CallSite, ...]:
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
