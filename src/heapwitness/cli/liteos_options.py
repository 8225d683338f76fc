"""What `inspect`, `restore` and `simulate` are told in the same way."""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import click

from heapwitness.liteos.dump.examine import DumpOptions


class Address(click.ParamType[int]):
    """An address of the target: hexadecimal with 0x, else decimal."""

    name = "ADDR"

    def convert(self, value: Any, parameter: click.Parameter | None, context: click.Context | None) -> int:
        if isinstance(value, int):
            return value
        try:
            address = int(str(value), 0)
        except ValueError:
            self.fail(f"{value!r} is no address; give one such as 0x20000000", parameter, context)
        if not 0 <= address < 1 << 64:
            self.fail(f"{value!r} is no address of 64 bits at most", parameter, context)
        return address


FILE = click.Path(path_type=Path)
WIDTH = click.Choice(["32", "64"])


def image_options(function: Callable[..., int]) -> Callable[..., int]:
    """The argument and options that say what a dump is; the function gets them as `options`."""

    @click.argument("image", type=FILE, metavar="IMAGE")
    @click.option("--config", type=FILE, metavar="FILE", help="The kernel's .config.")
    @click.option("--elf", type=FILE, metavar="FILE", help="The firmware with debug information; knows better.")
    @click.option("--base", type=Address(), help="Address of a raw image's first byte.")
    @click.option("--width", type=WIDTH, help="Bits of a pointer, where --config and IMAGE do not tell.")
    @click.option("--pool", "pools", type=Address(), multiple=True, help="Look at this pool only; may be repeated.")
    @click.option("--tasks", type=FILE, metavar="FILE", help='Names of tasks, a line such as "5 network" for each.')
    @functools.wraps(function)
    def wrapped(
        image: Path,
        config: Path | None,
        elf: Path | None,
        base: int | None,
        width: str | None,
        pools: tuple[int, ...],
        tasks: Path | None,
        **rest: Any,
    ) -> int:
        options = DumpOptions(
            image=image, config=config, elf=elf, tasks=tasks, base=base, width=pointer_width(width), pools=pools
        )
        return function(options, **rest)

    return wrapped


def pointer_width(value: str | int | None) -> Literal[32, 64] | None:
    """A width in bits, as --width or a trace gives it."""
    return None if value is None else 32 if int(value) == 32 else 64
