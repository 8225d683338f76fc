"""What the genuine kernel would print about a dump, in its words and order: its steps on a copy of the bytes."""

from collections.abc import Iterator

from heapwitness.errors import HeapwitnessError
from heapwitness.liteos.config.config import Config
from heapwitness.liteos.dump.examine import ExaminedDump, ExaminedPool
from heapwitness.liteos.errors import KernelDied
from heapwitness.liteos.kernel.console import Console
from heapwitness.liteos.kernel.kernel import Kernel
from heapwitness.liteos.kernel.ram import Ram


def bad_nodes(examined: ExaminedDump) -> Iterator[str]:
    """What LOS_MemBadNodeShow prints of each pool.

    Raises:
        HeapwitnessError: the kernel has no such function in this configuration.
    """
    config = examined.known.config
    if not config.head_backup:
        raise HeapwitnessError("Without LOSCFG_MEM_HEAD_BACKUP the kernel has no LOS_MemBadNodeShow: leave it out.")
    for pool in examined.pools:
        kernel, out = _kernel(examined, config, pool)
        try:
            kernel.bad_node_show()
        except KernelDied as died:
            out.append(f"{died}\n")
        yield "".join(out)


def release(examined: ExaminedDump, pointer: int) -> str:
    """What LOS_MemFree prints for a pointer: in the pool that it lies in, else in the first."""
    config = examined.known.config
    inside = (pool for pool in examined.pools if pool.address <= pointer < pool.address + len(pool.data))
    kernel, out = _kernel(examined, config, next(inside, examined.pools[0]))
    try:
        kernel.free(pointer)
    except KernelDied as died:
        out.append(f"{died}\n")
    return "".join(out)


def _kernel(examined: ExaminedDump, config: Config, pool: ExaminedPool) -> tuple[Kernel, list[str]]:
    out: list[str] = []
    console = Console(out, config.task_limit, examined.tasks.kernels, config.mul_module, lk=config.shell_lk)
    layout = examined.known.layout
    ram = Ram(bytearray(pool.data), pool.address, layout.pointer)
    return Kernel(ram, config, layout, console), out
