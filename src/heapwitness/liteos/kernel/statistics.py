"""Totals, per-task use and the histogram of a pool, as typed records; all sizes in bytes."""

from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from heapwitness.liteos.heap.walk import Walk
    from heapwitness.liteos.kernel.mechanism import Mechanism


class Status(msgspec.Struct, frozen=True):
    """A pool's totals. Sizes are node sizes, headers included; the end node counts as used, as in the kernel.

    `usage_peak` is the most that was ever used, where the pool keeps task statistics.
    """

    total_used: int
    total_free: int
    max_free_node: int
    used_nodes: int
    free_nodes: int
    usage_peak: int | None = None

    def kernel_table(self, address: int, pool_size: int) -> str:
        """The table that the kernel prints."""
        titles = "pool addr          pool size    used size     free size    "
        titles += "max free node size   used node num     free node num"
        rules = "---------------    --------     -------       --------     "
        rules += "--------------       -------------      ------------"
        row = f"{address:<#16x}   0x{pool_size:<8x}   0x{self.total_used:<8x}    0x{self.total_free:<8x}   "
        row += f"0x{self.max_free_node:<16x}   0x{self.used_nodes:<13x}    0x{self.free_nodes:<13x}"
        if self.usage_peak is not None:
            titles += "      UsageWaterLine"
            rules += "      ------------"
            row += f"    0x{self.usage_peak:<13x}"
        return f"{titles}\n{rules}\n{row}\n"


class TaskUsage(msgspec.Struct, frozen=True):
    """What a task's live allocations use, and the most they ever used (None where the pool does not count it)."""

    task: int
    used: int
    peak: int | None


class HistogramBin(msgspec.Struct, frozen=True):
    """Free nodes of at least `size_from` and less than `size_to` bytes: the nodes of one list."""

    size_from: int
    size_to: int
    nodes: int
    total: int


def totals(walked: "Walk", peak: int | None) -> Status:
    """Totals of a walked pool, its end node included."""
    used = [node.size for node in walked.nodes if node.used] + [walked.end.size]
    free = [node.size for node in walked.nodes if not node.used]
    return Status(sum(used), sum(free), max(free, default=0), len(used), len(free), peak)


def histogram(walked: "Walk") -> list[HistogramBin]:
    """Free nodes of a walked pool by the list that they belong on, empty lists included."""
    layout = walked.layout
    sizes: list[list[int]] = [[] for _ in range(layout.list_count)]
    for node in walked.nodes:
        index = max(node.size.bit_length() - 1 - layout.list_min_log2, 0)
        if not node.used and index < layout.list_count:
            sizes[index].append(node.size)
    starts = [1 << layout.list_min_log2 + index for index in range(layout.list_count)]
    return [HistogramBin(start, 2 * start, len(held), sum(held)) for start, held in zip(starts, sizes, strict=True)]


def counted_usage(heap: "Mechanism") -> list[TaskUsage]:
    """Use and peak by task as the pool counts them; tasks that never used anything are left out."""
    fields = heap.layout.pool.stat_fields
    read = heap.ram.u32
    counters = [heap.task_counters(task) for task in range(0 if fields is None else fields.task_count)]
    usage = (TaskUsage(task, read(used), read(peak)) for task, (used, peak) in enumerate(counters))
    return [one for one in usage if one.peak or one.used]


def walked_usage(walked: "Walk") -> list[TaskUsage]:
    """Use by task as the nodes say, where the pool does not count it; without peaks."""
    used: dict[int, int] = {}
    for node in walked.nodes:
        if node.header is not None and node.header.used:
            used[node.header.task] = used.get(node.header.task, 0) + node.size
    return [TaskUsage(task, used[task], None) for task in sorted(used)]
