"""`Pool`: the kernel's heap on any writable buffer, for a notebook, a test or a simulation.

    config = Config.load(".config", width=32)
    pool = Pool.init(bytearray(65536), address=0x20000000, config=config)
    block = pool.alloc(100)
    pool.free(block)

With `faithful=True` every operation leaves the bytes and gives the answers of the genuine kernel,
its silence included, and prints into `pool.console` what the kernel prints. By default nothing is
saved that was not verified, both neighbours of a node are checked by each operation, what the
kernel passes over is reported in `pool.findings`, and blocks can be freed in 64-bit.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from heapwitness.liteos.config.config import BadConfig, Config
from heapwitness.liteos.diagnose.finding import Change, LiteosFinding
from heapwitness.liteos.errors import BadPool
from heapwitness.liteos.heap.walk import WalkedNode
from heapwitness.liteos.kernel.mechanism import LinkRegisters
from heapwitness.liteos.kernel.modules import Modules
from heapwitness.liteos.kernel.ram import Ram
from heapwitness.liteos.kernel.sizecheck import CheckLevel, NodeSize
from heapwitness.liteos.kernel.statistics import HistogramBin, Status, TaskUsage
from heapwitness.liteos.layout.layout import Layout
from heapwitness.liteos.pool.attach import init_size, overlapping, recorded_size
from heapwitness.liteos.pool.bestfit import Bestfit
from heapwitness.liteos.pool.engine import Engine
from heapwitness.liteos.pool.inspection import OnFinding
from heapwitness.liteos.pool.known import KnownPool, KnownPools
from heapwitness.liteos.pool.little import Little

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer


_POOLS = KnownPools()


class Pool:
    """One pool in a buffer. Addresses are the target's, sizes are in bytes.

    What the pool's configuration leaves out raises BadConfig.

    Attributes:
        config: the options that the pool was made with.
        faithful: whether it does as the genuine kernel, mistakes included.

    Source: LiteOS's `LOS_Mem...` functions; docs/liteos-pool.md.
    """

    def __init__(self, engine: Engine, config: Config, *, faithful: bool) -> None:
        """Take an engine whose pool is there; use `Pool.init` or `Pool.attach`."""
        self.config = config
        self.faithful = faithful
        self._engine = engine

    @classmethod
    def init(
        cls,
        buffer: "ReadableBuffer",
        address: int,
        config: Config,
        *,
        faithful: bool = False,
        link_registers: LinkRegisters | None = None,
        task: int = 0,
        tasks: Mapping[int, str] | None = None,
        console: list[str] | None = None,
        on_finding: OnFinding | None = None,
    ) -> "Pool":
        """Make a new pool of a whole buffer, as LOS_MemInit does.

        With MUL_POOL the kernel knows its pools: those that were made so in the same memory (parts of one
        buffer, at addresses that fit) and are still in use. The new one joins their list.

        Args:
            buffer: any writable buffer; its length is the pool's size.
            address: where the buffer stands on the target.
            config: the kernel's options.
            faithful: do as the genuine kernel, mistakes included.
            link_registers: gives the (at most three) return addresses that LEAKCHECK records.
            task: the task that runs; it owns the end node.
            tasks: names of tasks; those without are called task0, task1 and so on.
            console: where to print instead of a list of the pool's own.
            on_finding: called with every finding when it is made.

        Raises:
            BadConfig: no such pool can be made.
            BadPool: where the kernel refuses, or the buffer cannot be written or stand there.
        """
        ram = Ram(buffer, address, config.width // 8)
        if config.bestfit_little:
            little = _little(ram, config, faithful, tasks, console, on_finding)
            little.task = task
            known = _known_beside(little, ram.size) if config.mul_pool else []
            little.heap.create(ram.size)
            return cls(little, config, faithful=faithful)._join(known, little.heap.layout.next_pool_at)
        layout = bestfit_layout(config)
        if config.slab:
            raise BadConfig(
                "A pool with LOSCFG_KERNEL_MEM_SLAB_EXTENTION can be inspected, but not made: leave it off."
            )
        size = init_size(layout, address, ram.size)
        engine = _bestfit(ram, config, layout, size, faithful, tasks, console, on_finding)
        engine.task = task
        engine.heap.link_registers = link_registers or tuple
        if size != ram.size:
            engine.heap.console.unaligned(address, ram.size)
        known = _known_beside(engine, size) if config.mul_pool else []
        if not engine.heap.create(size):
            raise BadPool(f"A pool of {size} bytes is too large: no list of free nodes takes that much.")
        field = layout.pool.next_pool
        return cls(engine, config, faithful=faithful)._join(known, None if field is None else field.offset)

    def _join(self, known: Sequence[KnownPool], next_pool_at: int | None) -> "Pool":
        """Become the last of the known pools, whose list runs through the pools themselves."""
        if next_pool_at is not None:
            ram = self._engine.ram
            ram.set_word(ram.address + next_pool_at, 0)
            if known:
                last = known[-1].memory
                last.set_word(last.address + next_pool_at, ram.address)
            _POOLS.add(self)
        return self

    def deinit(self) -> bool:
        """Let the kernel know the pool no more (LOS_MemDeInit), so that its place can be used again."""
        return _POOLS.forget(self)

    @classmethod
    def attach(
        cls,
        buffer: "ReadableBuffer",
        address: int,
        config: Config,
        *,
        layout: Layout | None = None,
        faithful: bool = False,
        link_registers: LinkRegisters | None = None,
        task: int = 0,
        tasks: Mapping[int, str] | None = None,
        console: list[str] | None = None,
        on_finding: OnFinding | None = None,
    ) -> "Pool":
        """Take a pool that is in a buffer already, such as a dump, damaged or not.

        By default the first operation inspects all of it; before that, `check` tells what is wrong.

        Args:
            buffer: any writable buffer, whose first byte is the pool's first; it may be longer than the pool.
            layout: the pool's layout where it is not that of `config` (`dwarf`, `guess`).

        The other arguments are those of `init`.

        Raises:
            BadPool: no pool of this configuration lies there, or the buffer cannot be written.
        """
        ram = Ram(buffer, address, config.width // 8)
        if config.bestfit_little:
            little = _little(ram, config, faithful, tasks, console, on_finding)
            little.task = task
            little.recognize()
            return cls(little, config, faithful=faithful)
        layout = layout or bestfit_layout(config)
        size = recorded_size(ram, layout)
        engine = _bestfit(ram, config, layout, size, faithful, tasks, console, on_finding)
        engine.task = task
        engine.heap.link_registers = link_registers or tuple
        engine.distrust()
        return cls(engine, config, faithful=faithful)

    @property
    def address(self) -> int:
        """Where the pool starts on the target."""
        return self._engine.ram.address

    @property
    def size(self) -> int:
        """The pool's size; less than the buffer's where the kernel aligned it."""
        return self._engine.pool_size

    @property
    def buffer(self) -> memoryview:
        """The pool's bytes, live."""
        return self._engine.ram.view

    @property
    def layout(self) -> Layout:
        """The layout of a bestfit pool."""
        return self._bestfit().heap.layout

    @property
    def findings(self) -> list[LiteosFinding]:
        """What was wrong so far, in the order in which operations met it; empty in a faithful pool."""
        return self._engine.findings

    @property
    def console(self) -> list[str]:
        """What a faithful pool printed, in pieces."""
        return self._engine.console

    @property
    def memory(self) -> Ram:
        """The target's memory that the pool lies in."""
        return self._engine.ram

    @property
    def task(self) -> int:
        """The task that runs: it owns what is allocated from now on."""
        return self._engine.task

    @task.setter
    def task(self, task: int) -> None:
        if not 0 <= task <= 0xFFFF:
            raise BadPool(f"A task's number has 16 bits, {task} does not fit.")
        self._engine.task = task

    # --- operations --------------------------------------------------------------------------------------------

    def alloc(self, size: int) -> int | None:
        """Allocate `size` bytes; the block's address, or None where the kernel gives none."""
        return self._engine.alloc(size) if _is_u32(size) else None

    def alloc_align(self, size: int, boundary: int) -> int | None:
        """Allocate `size` bytes at a multiple of `boundary`, a power of two and a multiple of the pointer size."""
        return self._engine.alloc_align(size, boundary) if _is_u32(size, boundary) else None

    def realloc(self, pointer: int | None, size: int) -> int | None:
        """Resize a block: a null pointer allocates, size 0 frees. None where nothing was moved or resized."""
        return self._engine.realloc(self._pointer(pointer), size) if _is_u32(size) else None

    def free(self, pointer: int | None) -> bool:
        """Free a block; False where that is refused. By default the reason is in `findings`, except for null."""
        return self._engine.free(self._pointer(pointer))

    def alloc_module(self, size: int, module: int) -> int | None:
        """Allocate for a module (needs LOSCFG_MEM_MUL_MODULE)."""
        return self._with_modules().alloc(size, module) if _is_u32(size) else None

    def alloc_align_module(self, size: int, boundary: int, module: int) -> int | None:
        """Allocate aligned for a module."""
        return self._with_modules().alloc_align(size, boundary, module) if _is_u32(size, boundary) else None

    def realloc_module(self, pointer: int | None, size: int, module: int) -> int | None:
        """Resize a module's block, which becomes `module`'s."""
        return self._with_modules().realloc(self._pointer(pointer), size, module) if _is_u32(size) else None

    def free_module(self, pointer: int | None, module: int) -> bool:
        """Free a module's block. Another module's is freed too, as by the kernel, and told."""
        return self._with_modules().free(self._pointer(pointer), module)

    def module_usage(self, module: int) -> int:
        """What a module uses, headers included; 0 for a module that cannot be."""
        used = self._with_modules().used
        return used[module] if 0 <= module < len(used) else 0

    def _pointer(self, pointer: int | None) -> int:
        return 0 if pointer is None else pointer & (1 << self.config.width) - 1

    def _with_modules(self) -> Modules:
        if not self.config.mul_module:
            raise BadConfig("Allocation by module needs LOSCFG_MEM_MUL_MODULE.")
        return self._bestfit().modules

    def _bestfit(self) -> Bestfit:
        if not isinstance(self._engine, Bestfit):
            raise BadConfig("This needs LOSCFG_KERNEL_MEM_BESTFIT; the pool has bestfit_little.")
        return self._engine

    # --- inspection --------------------------------------------------------------------------------------------

    def check(self) -> list[LiteosFinding]:
        """Everything that is wrong in the pool now; changes nothing."""
        return self._engine.check()

    def restore(self) -> list[Change]:
        """Repair what can be repaired, so that the pool passes its own integrity check; every change that it took."""
        return self._engine.restore()

    def integrity_check(self) -> bool:
        """The kernel's own check (LOS_MemIntegrityCheck): True without its option. It prints and changes nothing."""
        return self._engine.integrity_check()

    def bad_node_show(self) -> None:
        """Print all nodes as LOS_MemBadNodeShow does. In a faithful pool it also restores, as the kernel does."""
        self._bestfit().bad_node_show()

    def nodes(self) -> Iterator[WalkedNode]:
        """The nodes from first to last, each with both copies of its header and which of them can be trusted."""
        return iter(self._engine.nodes())

    def status(self) -> Status:
        """Totals of the pool. A faithful 64-bit pool says only zeros, because there the kernel refuses to count."""
        return self._engine.status()

    def total_used(self) -> int:
        """Bytes in use, headers and end node included (LOS_MemTotalUsedGet)."""
        return self._engine.totals().total_used

    def used_blocks(self) -> int:
        """Number of used nodes, the end node included (LOS_MemUsedBlksGet)."""
        return self._engine.totals().used_nodes

    def free_blocks(self) -> int:
        """Number of free nodes (LOS_MemFreeBlksGet)."""
        return self._engine.totals().free_nodes

    def last_used(self) -> int:
        """Address behind the last used node and one header more (LOS_MemLastUsedGet)."""
        return self._engine.last_used()

    def task_usage(self) -> list[TaskUsage]:
        """What each task uses and used at most; tasks that never used anything are left out."""
        return self._engine.task_usage()

    def histogram(self) -> list[HistogramBin]:
        """Free nodes by list, as LOS_MemFreeNodeShow counts them."""
        return self._engine.histogram()

    @property
    def check_level(self) -> CheckLevel:
        """How `size_check` searches (LOS_MemCheckLevelSet); off at first."""
        return self._bestfit().size_check.level

    @check_level.setter
    def check_level(self, level: CheckLevel) -> None:
        self._bestfit().size_check.level = CheckLevel(level)

    def size_check(self, pointer: int) -> NodeSize:
        """How large the node around a pointer is (LOS_MemNodeSizeCheck)."""
        if not self.config.size_check:
            raise BadConfig("The node size check needs LOSCFG_BASE_MEM_NODE_SIZE_CHECK.")
        return self._bestfit().size_check(pointer)


def bestfit_layout(config: Config) -> Layout:
    """The layout of a configuration with bestfit.

    Raises:
        BadConfig: it has bestfit_little, whose headers have neither this layout nor a backup.
    """
    if config.bestfit_little:
        raise BadConfig("This configuration has bestfit_little, whose headers have no backup: nothing can be compared.")
    return Layout.of(config)


def _bestfit(
    ram: Ram,
    config: Config,
    layout: Layout,
    size: int,
    faithful: bool,
    tasks: Mapping[int, str] | None,
    console: list[str] | None,
    on_finding: OnFinding | None,
) -> Bestfit:
    out = [] if console is None else console
    names = {} if tasks is None else tasks
    return Bestfit(ram, config, layout, size, faithful=faithful, tasks=names, console=out, on_finding=on_finding)


def _little(
    ram: Ram,
    config: Config,
    faithful: bool,
    tasks: Mapping[int, str] | None,
    console: list[str] | None,
    on_finding: OnFinding | None,
) -> Little:
    out = [] if console is None else console
    return Little(ram, config, faithful=faithful, tasks=tasks or {}, console=out, on_finding=on_finding)


def _known_beside(engine: Engine, size: int) -> list[KnownPool]:
    """The pools that the kernel knows in the same memory; BadPool where a new one of `size` bytes overlaps one."""
    address = engine.ram.address
    known = _POOLS.beside(engine.ram)
    other = overlapping(address, size, known)
    if other is not None:
        both = ((address, size), (other.address, other.size))
        spans = (f"[{start:#x}, {start + length:#x})" for start, length in both)
        engine.console.append("[ERR] pool {} conflict with pool {}\n".format(*spans))
        raise BadPool(f"A pool of {size} bytes at {address:#x} overlaps the pool at {other.address:#x}.")
    return known


def _is_u32(*values: int) -> bool:
    return all(0 <= value <= 0xFFFFFFFF for value in values)
