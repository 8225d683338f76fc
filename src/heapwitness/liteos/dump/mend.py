"""From an examined dump to the repaired file: what `restore` does before it says anything."""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import msgspec

from heapwitness.errors import HeapwitnessError
from heapwitness.liteos.config.config import Config
from heapwitness.liteos.diagnose.diagnose import diagnose
from heapwitness.liteos.diagnose.finding import LiteosFinding, Restoration
from heapwitness.liteos.diagnose.plan import apply, plan
from heapwitness.liteos.dump.examine import ExaminedDump, ExaminedPool
from heapwitness.liteos.errors import KernelDied
from heapwitness.liteos.image.files import packed
from heapwitness.liteos.kernel.console import Console
from heapwitness.liteos.kernel.kernel import Kernel
from heapwitness.liteos.kernel.ram import Ram
from heapwitness.replacing import write_whole


class MendedPool(msgspec.Struct, frozen=True):
    """One pool's repair. `left` are findings that the repaired pool still has.

    `passes` tells whether the kernel's own integrity check passes; None in 64-bit, where it never does, and where an
    operation was stopped half way.
    """

    address: int
    restoration: Restoration
    left: tuple[LiteosFinding, ...]
    passes: bool | None


def mend(examined: ExaminedDump) -> tuple[MendedPool, ...]:
    """Plan the repair of every pool of a dump, and check what comes of it."""
    return tuple(_mend(examined, pool) for pool in examined.pools)


def _mend(examined: ExaminedDump, pool: ExaminedPool) -> MendedPool:
    layout = examined.known.layout
    held = pool.evidence.walk.held
    restoration = plan(pool.data, pool.address, layout, midway=True, held=held)
    mended = bytearray(pool.data)
    apply(mended, pool.address, restoration)
    left = diagnose(mended, pool.address, layout, tasks=examined.names, midway=True, held=held)
    passes = (
        None
        if layout.width == 64 or pool.use.midway
        else _passes(examined.known.config, examined, mended, pool.address)
    )
    return MendedPool(pool.address, restoration, left, passes)


def _passes(config: Config, examined: ExaminedDump, data: bytearray, address: int) -> bool:
    """LOS_MemIntegrityCheck, as if the kernel had been built with it."""
    layout = examined.known.layout
    console = Console([], config.task_limit, lambda task: f"task{task}", config.mul_module)
    try:
        kernel = Kernel(Ram(data, address, layout.pointer), replace(config, integrity_check=True), layout, console)
        return kernel.integrity_check()
    except KernelDied:
        return False


def fixed_file(examined: ExaminedDump, mended: Iterable[MendedPool]) -> bytes:
    """The repaired dump, in the format that it came in."""
    changes = [change for pool in mended for change in pool.restoration.changes]
    data = examined.image.patched(changes)
    return packed(data) if examined.image.compressed else data


def refuse_inputs(output: Path, inputs: Iterable[Path | None]) -> None:
    """Refuse to write over a file that is read, by whatever name.

    Raises:
        HeapwitnessError: `output` is one of the inputs, also through a link.
    """
    for path in inputs:
        if path is None:
            continue
        try:
            same = output.resolve() == path.resolve() or (output.exists() and output.samefile(path))
        except (OSError, RuntimeError, ValueError):
            same = False
        if same:
            raise HeapwitnessError(f"{output} is a file that is read, and those are never overwritten: give another.")


def write(data: bytes, output: Path) -> None:
    """Write a file, which has either all of it or what it had before.

    Raises:
        HeapwitnessError: it cannot be written; says why.
    """
    try:
        write_whole(output, data)
    except (OSError, RuntimeError) as error:
        why = getattr(error, "strerror", None) or error
        raise HeapwitnessError(f"{output} cannot be written: {why}. Give another place.") from error
