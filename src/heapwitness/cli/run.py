"""`heapwitness run [options] -- PROGRAM ARGS...`, as click reads it: with help, and a word about each mistake."""

from typing import Any

import click

from heapwitness.cli import straight
from heapwitness.cli.run_options import RunCommand, running
from heapwitness.cli.words import RUN


@click.command(
    cls=RunCommand,
    context_settings={"allow_interspersed_args": False, "ignore_unknown_options": False},
    options_metavar="[options] --",
)
@lambda command: running(command, RUN)
def command(**values: Any) -> int:
    """Run a program on a heap whose headers have witnesses; it needs no rebuilding.

    A PROGRAM that is a script (.py), a directory or an archive with a __main__.py, or that begins with an option of
    Python (-m MODULE, -c CODE, -X dev SCRIPT), is run by the python3 of PATH. The exit status is the program's own, or
    99 when something was found.
    """
    return straight.run(**values)
