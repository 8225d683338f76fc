"""A pool's statistics (with LOSCFG_MEM_TASK_STAT) compared with the nodes that they count.

A task's counter holds the sizes of the nodes it has in use, headers included; tasks beyond the limit share
the last one. The pool's total counts its info, list heads and end node as well. Peaks only grow.
"""

from collections.abc import Iterable, Mapping

import msgspec

from heapwitness.liteos.layout import Header
from heapwitness.liteos.view import PoolView
from heapwitness.liteos.walk import Walk


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
    def expected_peak(self) -> int:
        """The least that the peak can be."""
        return max(self.peak, self.expected)

    @property
    def holds(self) -> bool:
        """Whether the counter agrees with the nodes and its peak is no smaller."""
        return self.used == self.expected and self.peak >= self.used


def counters(view: PoolView, walk: Walk, headers: Mapping[int, Header]) -> tuple[Counter, ...]:
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


def shortfalls(view: PoolView, walk: Walk) -> dict[int, int]:
    """By task, how many bytes more its counter holds than its nodes that can be trusted have."""
    found = counters(view, walk, {})
    return {one.task: one.used - one.expected for one in found if one.task is not None and one.used > one.expected}


def _by_task(headers: Iterable[Header], places: int) -> dict[int, int]:
    sizes: dict[int, int] = {}
    for header in headers:
        place = min(header.task, places - 1)
        sizes[place] = sizes.get(place, 0) + header.size
    return sizes
