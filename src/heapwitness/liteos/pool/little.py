"""A bestfit_little pool as one engine: without a backup there is little to tell and nothing to restore from."""

from collections.abc import Iterable, Mapping

from heapwitness.findings.detection import detection
from heapwitness.findings.model import Block, Kind, When
from heapwitness.liteos.config.config import Config
from heapwitness.liteos.diagnose.blocks import task_name
from heapwitness.liteos.diagnose.finding import Change, LiteosFinding
from heapwitness.liteos.errors import BadPool
from heapwitness.liteos.heap.walk import WalkedNode
from heapwitness.liteos.kernel.little import LittleHeap
from heapwitness.liteos.kernel.ram import Ram
from heapwitness.liteos.kernel.statistics import HistogramBin, Status, TaskUsage
from heapwitness.liteos.layout.layout import LIST_COUNT, LIST_MIN_LOG2, USED_FLAG, ControlHeader
from heapwitness.liteos.pool.inspection import OnFinding


class Little:
    """The engine of a bestfit_little pool. A careful one reports pointers to no block, and lists that don't add up."""

    def __init__(
        self,
        ram: Ram,
        config: Config,
        *,
        faithful: bool,
        tasks: Mapping[int, str],
        console: list[str],
        on_finding: OnFinding | None,
    ) -> None:
        self.ram = ram
        self.heap = LittleHeap(ram, config, trusting=faithful)
        self.faithful = faithful
        self.findings: list[LiteosFinding] = []
        self.console = console
        self._tasks = tasks
        self._on_finding = on_finding
        self._told: int | None = None

    @property
    def task(self) -> int:
        """The task that runs."""
        return self.heap.task

    @task.setter
    def task(self, task: int) -> None:
        self.heap.task = task

    @property
    def pool_size(self) -> int:
        """Size of the pool in bytes."""
        return self.heap.pool_size

    def recognize(self) -> None:
        """Raise BadPool where the buffer holds no bestfit_little pool."""
        heap = self.heap
        first = heap.address + heap.layout.manager_size
        if self.ram.size <= heap.layout.manager_size + heap.layout.node_size:
            raise BadPool(f"{self.ram.size} bytes are too few for a bestfit_little pool: give all of it.")
        if heap.head != first or heap.pool_size > self.ram.size:
            raise BadPool(f"No bestfit_little pool starts at {heap.address:#x}: check address and configuration.")

    # --- operations --------------------------------------------------------------------------------------------

    def alloc(self, size: int) -> int | None:
        """Allocate `size` bytes."""
        if not self._adds_up("malloc"):
            return None
        payload = self.heap.alloc(size)
        if payload is None and size:
            self.console.append(f"[ERR] there's not enough whole to alloc {size + 3 & ~3:#x} Bytes!\n")
        return payload

    def alloc_align(self, size: int, boundary: int) -> int | None:
        """Allocate `size` bytes at a multiple of `boundary`."""
        return self.heap.alloc_align(size, boundary) if self._adds_up("malloc") else None

    def realloc(self, payload: int, size: int) -> int | None:
        """Move an allocation into a new one."""
        if not self._adds_up("realloc") or not self._is_block(payload, "realloc"):
            return None
        return self.heap.realloc(payload, size)

    def free(self, payload: int) -> bool:
        """Free an allocation."""
        return self._adds_up("free") and self._is_block(payload, "free") and self.heap.free(payload)

    # --- inspection --------------------------------------------------------------------------------------------

    def status(self) -> Status:
        """Totals over all nodes."""
        return self.totals()

    def totals(self) -> Status:
        """Totals over all nodes."""
        return self.heap.totals()

    def last_used(self) -> int:
        """Address behind the last used node and one header more."""
        heap = self.heap
        return heap.tail + heap.layout.node_size + (heap.payload_size(heap.tail) if heap.is_used(heap.tail) else 0)

    def task_usage(self) -> list[TaskUsage]:
        """What each task uses, with TASK_STAT; nodes do not say it without."""
        return self.heap.task_usage()

    def histogram(self) -> list[HistogramBin]:
        """Free nodes by powers of two, headers included."""
        sizes: list[list[int]] = [[] for _ in range(LIST_COUNT)]
        for node in self.nodes():
            if not node.used:
                sizes[max(node.size.bit_length() - 1 - LIST_MIN_LOG2, 0)].append(node.size)
        starts = [1 << LIST_MIN_LOG2 + index for index in range(LIST_COUNT)]
        return [HistogramBin(start, 2 * start, len(held), sum(held)) for start, held in zip(starts, sizes, strict=True)]

    def nodes(self) -> Iterable[WalkedNode]:
        """The nodes from first to last, as far as they add up; each has one copy of its header."""
        heap, broken = self.heap, self.heap.broken()
        node: int | None = heap.address + heap.layout.manager_size
        while node is not None:
            size = heap.layout.node_size + heap.payload_size(node)
            before = self.ram.word(node)
            flags = USED_FLAG if heap.is_used(node) else 0
            header = ControlHeader(0, 0, before, 0, 0, 0, (), size | flags, 0, heap.task_of(node), 0)
            good = node != broken
            yield WalkedNode(node, size, before or None, header if good else None, header, None, good, False)
            node = heap.following(node) if good else None

    def check(self) -> list[LiteosFinding]:
        """A finding at the first node that does not add up."""
        node = self.heap.broken()
        return [] if node is None else [self._damage("check", node)]

    def restore(self) -> list[Change]:
        """Nothing: there is no second copy of a header."""
        return []

    def integrity_check(self) -> bool:
        """The kernel's own check: True without its option."""
        return not self.heap.config.integrity_check or self.heap.broken() is None

    def _adds_up(self, when: When) -> bool:
        if self.faithful:
            return True
        node = self.heap.broken()
        if node is not None and node != self._told:
            self._tell(self._damage(when, node))
        self._told = node
        return node is None

    def _is_block(self, payload: int, when: When) -> bool:
        """Whether a pointer names a block or null; told where it does not. The kernel's own tests are the heap's."""
        if self.faithful or payload == 0:
            return True
        heap = self.heap
        start = payload - heap.gap(payload)
        for node in self.nodes():
            if not node.address <= payload < node.address + node.size:
                continue
            right = start == node.address + heap.layout.node_size
            if right and node.used:
                return True
            kind: Kind = "double-free" if not node.used else "invalid-free"
            where = "a block that is in use" if node.used else "a block that is free already"
            offset = payload - node.address - heap.layout.node_size
            self._tell(self._pointer(kind, payload, when, f"The pointer lies {offset} bytes into {where}.", node))
            return False
        self._tell(self._pointer("invalid-free", payload, when, "The pointer lies outside of the pool's nodes.", None))
        return False

    def _pointer(self, kind: Kind, payload: int, when: When, detail: str, node: WalkedNode | None) -> LiteosFinding:
        block = None if node is None else self._block(node)
        return LiteosFinding(kind=kind, detected=detection(when), culprit=block, pointer=payload, detail=detail)

    def _damage(self, when: When, node: int) -> LiteosFinding:
        before = [one for one in self.nodes() if one.address <= node]
        detail = f"The size of the node at {node:#x} and the node that should follow it contradict each other."
        return LiteosFinding(
            kind="header-overwrite",
            detected=detection(when),
            victim=self._block(before[-1]) if before else None,
            previous=self._block(before[-2]) if len(before) > 1 else None,
            detail=detail,
            node=node,
        )

    def _block(self, node: WalkedNode) -> Block:
        head = self.heap.layout.node_size
        task = None
        if self.heap.config.task_stat and node.header is not None and node.header.used:
            task = task_name(node.header.task, self._tasks)
        return Block(
            address=node.address + head,
            size=max(node.size - head, 0),
            state="quarantined" if node.header is None else "used" if node.used else "free",
            origin="malloc",
            task=task,
        )

    def _tell(self, finding: LiteosFinding) -> None:
        self.findings.append(finding)
        if self._on_finding is not None:
            self._on_finding(finding)
