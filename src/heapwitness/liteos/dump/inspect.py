"""`inspect` for programs: the same as `heapwitness inspect`, without what is printed."""

from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import Literal

from heapwitness.liteos.dump.examine import DumpOptions, ExaminedDump, examine


def inspect(
    image: str | PathLike[str],
    *,
    config: str | PathLike[str] | None = None,
    elf: str | PathLike[str] | None = None,
    tasks: str | PathLike[str] | None = None,
    base: int | None = None,
    width: Literal[32, 64] | None = None,
    pools: Sequence[int] = (),
) -> ExaminedDump:
    """Find the pools in a dump of a LiteOS device, and all damage in them, as `heapwitness inspect` does.

    Args:
        image: the dump's file: raw, gzip, Intel HEX, S-records or ELF.
        config: the kernel's `.config`.
        elf: the firmware with debug information, which knows better than `config`.
        tasks: a file with the names of tasks.
        base: the target's address of a raw image's first byte, in bytes.
        width: of a pointer, in bits, where nothing else says it.
        pools: addresses of pools to look at; none: they are searched for.

    Returns:
        the pools with their findings (`pools`, `findings`), and what was guessed, in sentences (`warnings`).

    Raises:
        HeapwitnessError: a file cannot be read, what was said contradicts itself, or no pool is found.

    Source: docs/liteos.md; the layouts are those of LiteOS's `kernel/base/mem/bestfit`.
    """

    def file(given: str | PathLike[str] | None) -> Path | None:
        return None if given is None else Path(given)

    return examine(
        DumpOptions(
            image=Path(image),
            config=file(config),
            elf=file(elf),
            tasks=file(tasks),
            base=base,
            width=width,
            pools=tuple(pools),
        )
    )
