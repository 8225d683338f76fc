"""`heapwitness config`: read, change and check a LiteOS kernel's .config in scripts."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from heapwitness.liteos.config.config import Config


@click.command()
@click.option(
    "--config",
    "path",
    type=click.Path(dir_okay=False, path_type=Path),
    default=Path(".config"),
    show_default=True,
    help="The kernel's .config.",
)
@click.option(
    "--set",
    "assignments",
    multiple=True,
    metavar="SYMBOL=VALUE",
    help="Set a symbol (y, n or a number) and write the file; what it needs must be set too. Repeatable.",
)
@click.option("--get", "names", multiple=True, metavar="SYMBOL", help="Print a symbol's value. Repeatable.")
@click.option("--check", is_flag=True, help="Say which dependency fails, and what a node costs.")
def command(path: Path, assignments: tuple[str, ...], names: tuple[str, ...], check: bool) -> None:
    """Read, change and check the options of a LiteOS kernel that its heap depends on.

    Without --set, --get and --check, prints all of them.
    """
    from heapwitness.liteos.config.config import Config, parse, read
    from heapwitness.liteos.config.dotconfig import DotConfig, split_assignments
    from heapwitness.report.text import harmless

    if assignments:
        edited = DotConfig(path)
        for name in edited.set(split_assignments(assignments)):
            click.echo(f"{name} is off now: what it needs is off.", err=True)
        edited.save()
    if names:
        values = parse(read(path))
        for name in names:
            click.echo(harmless(values.get(name) or _absent(name, path)))
    if check:
        click.echo(_verdict(Config.load(path)))
    if not assignments and not names and not check:
        for name, value in DotConfig(path).values().items():
            click.echo(f"{name}={value}")


def _absent(name: str, path: Path) -> str:
    from heapwitness.liteos.config import symbols
    from heapwitness.liteos.config.config import BadConfig

    if name == symbols.TSK_LIMIT:
        return str(symbols.DEFAULT_TASK_LIMIT)
    if name in symbols.BOOLEANS:
        return "n"
    raise BadConfig(f"{name} is not in {path}.")


def _verdict(config: "Config") -> str:
    from heapwitness.liteos.layout.layout import Layout

    if config.bestfit_little:
        return "ok: bestfit_little, without head backup"
    layout = Layout.of(config)
    backup = f", of them {layout.control.size} for the backup" if config.head_backup else ", without head backup"
    return f"ok: bestfit, {layout.node_size} bytes a node in {config.width}-bit{backup}"
