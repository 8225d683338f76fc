"""A bestfit pool as one engine: the heap, faithful or careful, with inspection, modules and the size check."""

from collections.abc import Iterable, Mapping

from heapwitness.liteos.config.config import BadConfig, Config
from heapwitness.liteos.diagnose.finding import Change, LiteosFinding
from heapwitness.liteos.heap.walk import WalkedNode
from heapwitness.liteos.kernel import statistics
from heapwitness.liteos.kernel.console import Console
from heapwitness.liteos.kernel.kernel import Kernel
from heapwitness.liteos.kernel.modules import Modules
from heapwitness.liteos.kernel.ram import Ram
from heapwitness.liteos.kernel.sizecheck import SizeCheck
from heapwitness.liteos.kernel.statistics import HistogramBin, Status, TaskUsage
from heapwitness.liteos.layout.layout import Layout
from heapwitness.liteos.pool.careful import Careful
from heapwitness.liteos.pool.inspection import Inspection, OnFinding


class Bestfit:
    """The engine of a bestfit pool of `size` bytes in `ram`."""

    def __init__(
        self,
        ram: Ram,
        config: Config,
        layout: Layout,
        size: int,
        *,
        faithful: bool,
        tasks: Mapping[int, str],
        console: list[str],
        on_finding: OnFinding | None,
    ) -> None:
        self.ram = ram
        self.config = config
        self.faithful = faithful
        self._size = size
        self.inspection = Inspection(ram, layout, tasks, on_finding)
        self.findings = self.inspection.findings
        self.console = console
        out = Console(
            console,
            config.task_limit,
            lambda task: tasks.get(task, f"task{task}"),
            config.mul_module,
            lk=config.shell_lk,
        )
        self.heap: Kernel
        if faithful:
            self.heap = Kernel(ram, config, layout, out)
        else:
            self.heap = Careful(ram, config, layout, out, size, self.inspection)
        self.modules = Modules(self.heap)
        self.size_check = SizeCheck(self.heap, faithful=faithful)

    def distrust(self) -> None:
        """Have a pool that was made elsewhere inspected before its first operation."""
        if isinstance(self.heap, Careful):
            self.heap.distrust()

    @property
    def task(self) -> int:
        """The task that runs."""
        return self.heap.task

    @task.setter
    def task(self, task: int) -> None:
        self.heap.task = task

    @property
    def pool_size(self) -> int:
        """Size of the pool in bytes; a careful pool does not believe its own info, which can be overwritten."""
        return self.heap.pool_size if self.faithful else self._size

    def alloc(self, size: int) -> int | None:
        """Allocate `size` bytes."""
        return self.heap.alloc(size)

    def alloc_align(self, size: int, boundary: int) -> int | None:
        """Allocate `size` bytes at a multiple of `boundary`."""
        return self.heap.alloc_align(size, boundary)

    def realloc(self, payload: int, size: int) -> int | None:
        """Resize an allocation."""
        return self.heap.realloc(payload, size)

    def free(self, payload: int) -> bool:
        """Free an allocation."""
        return self.heap.free(payload)

    def status(self) -> Status:
        """Totals; of a faithful 64-bit pool zeros, because there the kernel refuses to count."""
        if self.faithful:
            return self.heap.status() or Status(0, 0, 0, 0, 0)
        return self.totals()

    def totals(self) -> Status:
        """Totals over all nodes."""
        if self.faithful:
            return self.heap.totals()
        peak = self.ram.u32(self.heap.total_counters()[1]) if self.config.task_stat else None
        return statistics.totals(self.inspection.walk(), peak)

    def last_used(self) -> int:
        """Address behind the last used node and one header more."""
        if self.faithful:
            return self.heap.last_used()
        last = self.inspection.walk().nodes[-1]
        return last.address + (last.size if last.used else 0) + self.heap.layout.node_size

    def task_usage(self) -> list[TaskUsage]:
        """What each task uses: as the pool counts it, or else as its nodes say."""
        if self.config.task_stat:
            return statistics.counted_usage(self.heap)
        return statistics.walked_usage(self.inspection.walk())

    def histogram(self) -> list[HistogramBin]:
        """Free nodes by list."""
        return statistics.histogram(self.inspection.walk())

    def nodes(self) -> Iterable[WalkedNode]:
        """The nodes from first to last."""
        return self.inspection.walk().nodes

    def check(self) -> list[LiteosFinding]:
        """Everything that is wrong now."""
        return self.inspection.findings_now()

    def restore(self) -> list[Change]:
        """Repair what can be repaired."""
        if isinstance(self.heap, Careful):
            self.heap.forget_damage()
        return self.inspection.restore()

    def integrity_check(self) -> bool:
        """The kernel's own check."""
        return self.heap.integrity_check()

    def bad_node_show(self) -> None:
        """Print all nodes as the kernel does; it also restores, in a careful pool only in a copy."""
        if not self.config.head_backup:
            raise BadConfig("LOS_MemBadNodeShow needs LOSCFG_MEM_HEAD_BACKUP.")
        heap = self.heap
        if not self.faithful:
            ram = Ram(bytearray(heap.ram.view), heap.address, heap.layout.pointer)
            heap = Kernel(ram, heap.config, heap.layout, heap.console)
        heap.bad_node_show()
