"""The map of a process with an engine, read from outside while one of its threads waits."""

import time
from collections.abc import Sequence
from typing import Literal

from heapwitness.errors import HeapwitnessError
from heapwitness.findings.model import Finding, Frame, HeapMap
from heapwitness.heap.walked_pool import WalkedPool
from heapwitness.layout.process import Region, RegionKind, read_process, read_regions, read_site
from heapwitness.memory import Memory
from heapwitness.survey.near import WHOLE_LIMIT, near, places
from heapwitness.survey.nodes import Budget, count
from heapwitness.survey.runs import count_runs
from heapwitness.survey.tally import Tally


def heap_map(
    memory: Memory,
    process: int,
    taken: Literal["finding", "check", "exit", "crash"],
    findings: Sequence[Finding] = (),
    *,
    pid: int = 0,
    seconds: float = 5.0,
) -> HeapMap | None:
    """The map of all pools of a process; None where there is no engine in it.

    Args:
        process: address of its process block.
        findings: what was found; the blocks around are told one by one.
        seconds: how long it may take; a map that was not finished then says so.
    """
    try:
        block = read_process(memory, process)
    except HeapwitnessError:
        return None
    regions = read_regions(memory, block)
    size = sum(region.size for region in regions)
    small = size <= WHOLE_LIMIT
    tally = Tally(size, len(regions), fine=not small)
    budget = Budget(time.monotonic() + seconds)
    looked_at = places(findings)
    unread = 0
    for region in _in_order(regions, looked_at):
        if budget.is_spent():
            break
        shown = ((0, region.size),) if small else near(region.base, region.size, looked_at)
        try:
            if region.kind is RegionKind.RUNS:
                count_runs(memory, region, tally, budget, shown)
            else:
                count(WalkedPool.open(memory, region.base, region.size), tally, budget, shown)
        except HeapwitnessError:
            unread += 1
    notes = []
    if budget.spent:
        notes.append(
            f"Counting all blocks would have kept the program waiting for more than {seconds:.0f} seconds: "
            "what is shown is a part (--wait gives more time)."
        )
    if unread:
        notes.append(f"{unread} of {len(regions)} pools could not be read to their end.")

    def stack(number: int) -> tuple[Frame, ...]:
        site = read_site(memory, block, number)
        return () if site is None else tuple(Frame(pc=pc) for pc in site.pcs)

    return tally.map(HeapMap(taken=taken, pid=pid, whole=not notes, notes=tuple(notes)), stack)


def _in_order(regions: Sequence[Region], looked_at: Sequence[int]) -> list[Region]:
    """Those with something to look at first, then the large ones."""
    return sorted(regions, key=lambda one: (not near(one.base, one.size, looked_at), -one.size))
