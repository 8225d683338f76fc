"""`heapwitness hunt [options] -- PROGRAM ARGS...`"""

from pathlib import Path
from typing import Any

import click

from heapwitness.cli.run_options import RunCommand, run_options


@click.command(
    cls=RunCommand,
    context_settings={"allow_interspersed_args": False, "ignore_unknown_options": False},
    options_metavar="[options] --",
)
@run_options
@click.option(
    "--tries",
    type=click.IntRange(1, 1000),
    default=5,
    show_default=True,
    metavar="N",
    help="How often the program is run at most.",
)
@click.option(
    "--from",
    "source",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="The JSON report of an earlier run, made anywhere, in place of the first run.",
)
@click.option(
    "--trap-found/--no-trap-found",
    default=True,
    show_default=True,
    help="Trap in the same run, too, what a site allocates after damage was found.",
)
@click.option(
    "--poison/--no-poison",
    default=None,
    help="Look for writes anywhere in released blocks, which are held back; by default without --from.",
)
@click.option("--before", metavar="COMMAND", help="A shell command that is run before each repetition.")
def command(
    program: tuple[str, ...],
    wait: float,
    tries: int,
    source: Path | None,
    before: str | None,
    poison: bool | None,
    **options: Any,
) -> int:
    """Run a program again and again until the very store that overwrote its heap is caught.

    The first run tells which allocation sites have the blocks that are overrun; in the next ones their blocks end where
    nothing may be touched. All else runs at full speed, and nothing is compiled anew. The exit status is that of the
    last run, or 99 when something was found.
    """
    from heapwitness.supervise import Options
    from heapwitness.supervise.hunt import Hunt, hunt

    asked = Options(command=program, wait_ms=round(wait * 1000), poison=bool(poison), **options)
    return hunt(asked, Hunt(tries=tries, source=source, before=before, look_inside=poison is None))
