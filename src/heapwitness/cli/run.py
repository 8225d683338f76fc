"""`heapwitness run [options] -- PROGRAM ARGS...`"""

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
@click.option("--poison", is_flag=True, help="Hold released blocks back and look for writes anywhere in them.")
@click.option(
    "--trap",
    multiple=True,
    metavar="SITE",
    help="Let the blocks of an allocation site end where nothing may be touched; `hunt` finds and names sites.",
)
@click.option(
    "--traps",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="The same of the sites of a file: one on a line, or the report of a run, as JSON.",
)
@click.option("--trap-found", is_flag=True, help="Trap what a site allocates after damage of its blocks was found.")
def command(program: tuple[str, ...], wait: float, trap: tuple[str, ...], traps: Path | None, **options: Any) -> int:
    """Run a program on a heap whose headers have witnesses; it needs no rebuilding.

    A PROGRAM that is a script (.py), a directory or an archive with a __main__.py, or that begins with an option of
    Python (-m MODULE, -c CODE, -X dev SCRIPT), is run by the python3 of PATH. The exit status is the program's own, or
    99 when something was found.
    """
    from heapwitness.supervise import Options, run

    wanted: tuple[Any, ...] = ()
    if trap or traps is not None:
        from heapwitness.supervise.traps import traps_asked_for

        wanted = traps_asked_for(trap, traps)
    return run(Options(command=program, wait_ms=round(wait * 1000), traps=wanted, **options))
