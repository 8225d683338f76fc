"""Totals, per-task use and the histogram of a pool, as typed records; all sizes in bytes."""

import msgspec


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
