"""What `Pool` asks of an algorithm: `bestfit` or `little`."""

from collections.abc import Iterable
from typing import Protocol

from heapwitness.liteos.diagnose.finding import Change, LiteosFinding
from heapwitness.liteos.heap.walk import WalkedNode
from heapwitness.liteos.kernel.ram import Ram
from heapwitness.liteos.kernel.statistics import HistogramBin, Status, TaskUsage


class Engine(Protocol):
    """One pool's operations, addresses in and out. None and False: refused."""

    ram: Ram
    task: int
    findings: list[LiteosFinding]
    console: list[str]

    @property
    def pool_size(self) -> int:
        """Size of the pool in bytes."""

    def alloc(self, size: int) -> int | None:
        """Allocate `size` bytes."""

    def alloc_align(self, size: int, boundary: int) -> int | None:
        """Allocate `size` bytes at a multiple of `boundary`."""

    def realloc(self, payload: int, size: int) -> int | None:
        """Resize an allocation: null allocates, size 0 frees."""

    def free(self, payload: int) -> bool:
        """Free an allocation."""

    def status(self) -> Status:
        """Totals over all nodes, zeros where the kernel refuses to say."""

    def totals(self) -> Status:
        """Totals over all nodes."""

    def last_used(self) -> int:
        """Address behind the last used node and one header more."""

    def task_usage(self) -> list[TaskUsage]:
        """What each task uses."""

    def histogram(self) -> list[HistogramBin]:
        """Free nodes by size."""

    def nodes(self) -> Iterable[WalkedNode]:
        """The nodes from first to last."""

    def check(self) -> list[LiteosFinding]:
        """Everything that is wrong now; changes nothing."""

    def restore(self) -> list[Change]:
        """Repair what can be repaired."""

    def integrity_check(self) -> bool:
        """The kernel's own check."""
