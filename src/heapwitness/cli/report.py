"""`heapwitness report FILE`: the report of findings that were recorded where nobody listened, or of a JSON report."""

from pathlib import Path

import click

from heapwitness.accept.asked import Accepting
from heapwitness.cli.documents import FILE, document_options
from heapwitness.cli.shapes import with_options
from heapwitness.cli.words import ACCEPTING
from heapwitness.outputs import FORMATS, Outputs


@click.command()
@click.argument("file", type=click.Path(path_type=Path), metavar="FILE")
@click.option("--json", type=FILE, metavar="OUT", help="Write the report to a file, as JSON; - for stdout.")
@document_options
@lambda function: with_options(function, ACCEPTING)
@click.option(
    "--format",
    type=click.Choice(["short", "full", *FORMATS]),
    default="full",
    show_default=True,
    help="Show each finding in full, or in one line; or print a document instead.",
)
@click.option("--quiet/--no-quiet", help="Say nothing when the file has no finding.")
def command(file: Path, json: Path | None, outputs: Outputs, format: str, quiet: bool, accepting: Accepting) -> int:
    """Show what the engine recorded in FILE (HEAPWITNESS_LOG, or `run --log`), or a report that --json wrote.

    The exit status is 99 when there is a finding in it.
    """
    from heapwitness.supervise.recorded import report

    return report(file, json, quiet=quiet, outputs=outputs, format=format, accepting=accepting)
