"""A pool's statistics (with LOSCFG_MEM_TASK_STAT) compared with the nodes that they count.

A task's counter holds the sizes of the nodes it has in use, headers included; tasks beyond the limit share
the last one. The pool's total counts its info, list heads and end node as well. Peaks only grow.

The kernel clears a task's counters when the task ends, though its blocks may live on and its number be given
again. So a counter may lawfully be below what the nodes add up to. A node that is freed while its task's counter
is below its size is taken off neither counter: so the total may be above the nodes, and all tasks together are
above theirs by no more than the total is.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence

import msgspec

from heapwitness.liteos.heap.view import PoolView
from heapwitness.liteos.heap.walk import Walk
from heapwitness.liteos.layout.layout import ControlHeader, Layout


class Counter(msgspec.Struct, frozen=True):
    """One used counter and the peak beside it: where they lie, what they hold, what the nodes ask for.

    `task` is None for the pool's total; the last task's place counts all that have none of their own.
    """

    task: int | None
    address: int
    peak_address: int
    used: int
    peak: int
    expected: int

    @property
    def above(self) -> int:
        """Bytes that it holds beyond what the nodes add up to; negative where it holds less."""
        return self.used - self.expected


class WrongCounter(msgspec.Struct, frozen=True):
    """A counter (or, with `peak`, the peak beside it) that no run of the kernel can leave; `expected` is the least
    change that mends it."""

    counter: Counter
    address: int
    expected: int
    actual: int
    peak: bool


def counters(view: PoolView, walk: Walk, headers: Mapping[int, ControlHeader]) -> tuple[Counter, ...]:
    """Every counter of a pool; () where the configuration keeps none or they are not in the bytes.

    `headers` gives, by address, the headers of nodes whose copies are both lost.
    """
    stat, fields = view.layout.pool.stat, view.layout.pool.stat_fields
    if stat is None or fields is None or stat.offset + fields.size > len(view.data):
        return ()
    known = (headers.get(node.address) or node.header for node in walk.nodes)
    by_task = _by_task((header for header in known if header is not None and header.used), fields.task_count)
    total = view.layout.first_offset + view.layout.node_size + sum(by_task.values())
    places: list[tuple[int | None, int, int, int]] = [
        (None, stat.offset + fields.total_used.offset, stat.offset + fields.total_peak.offset, total)
    ]
    for task in range(fields.task_count):
        at = stat.offset + fields.tasks.offset + task * fields.task_stride
        places.append((task, at + fields.task_used.offset, at + fields.task_peak.offset, by_task.get(task, 0)))
    return tuple(
        Counter(task, view.address + at, view.address + peak, view.u32(at), view.u32(peak), expected)
        for task, at, peak, expected in places
    )


def wrong_counters(found: Sequence[Counter], layout: Layout, lag: int = 0) -> Iterator[WrongCounter]:
    """Those of a pool's counters that its nodes contradict, whatever tasks have ended and come again.

    `lag` is by how many bytes counters may differ because an operation is changing nodes.
    """
    if not found:
        return
    total, *tasks = found
    can_be = _can_be_above(total, layout) or (abs(total.above) <= lag and not total.above % layout.align)
    right: dict[int | None, int] = {None: total.used if can_be else total.expected}
    most = max(total.above if can_be else 0, 0) + lag
    lawful = sum(one.above for one in tasks if one.above > 0) <= most
    for one in tasks:
        can_be = not one.used % layout.align and (one.above <= 0 or lawful)
        right[one.task] = one.used if can_be else one.expected
    for one in found:
        used = right[one.task]
        if one.used != used:
            yield WrongCounter(one, one.address, used, one.used, peak=False)
        least = max(used, one.expected) if one.task is None else used
        if one.peak < least - lag:
            yield WrongCounter(one, one.peak_address, least, one.peak, peak=True)


def _can_be_above(total: Counter, layout: Layout) -> bool:
    """Whether nodes that were freed uncounted explain a total above the nodes."""
    return layout.smallest_node <= total.above and total.used <= total.peak and not total.above % layout.align


def released_first(found: Sequence[Counter], walked: Walk) -> int:
    """The size of a node that is counted no more though it is still in use: a release that was just beginning, or 0."""
    if not walked.midway or not found or found[0].above >= 0:
        return 0
    size = -found[0].above
    tasks = {one.task: one.above for one in found if one.task is not None}
    last = len(tasks) - 1
    fitting = (node.header for node in walked.nodes if node.size == size and node.header is not None)
    return size if any(one.used and tasks[min(one.task, last)] <= -size for one in fitting) else 0


def shortfalls(view: PoolView, walk: Walk) -> dict[int, int]:
    """By task, how many bytes more its counter holds than its nodes that can be trusted have."""
    found = counters(view, walk, {})
    return {one.task: one.used - one.expected for one in found if one.task is not None and one.used > one.expected}


def name_of(counter: Counter) -> str:
    """A counter in words."""
    return "the statistics' total" if counter.task is None else f"the statistics of task {counter.task}"


def _by_task(headers: Iterable[ControlHeader], places: int) -> dict[int, int]:
    sizes: dict[int, int] = {}
    for header in headers:
        place = min(header.task, places - 1)
        sizes[place] = sizes.get(place, 0) + header.size
    return sizes
