"""`heapwitness report FILE`: the report of findings that were recorded where nobody listened."""

from pathlib import Path

import click


@click.command()
@click.argument("file", type=click.Path(path_type=Path), metavar="FILE")
@click.option(
    "--json",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="OUT",
    help="Write the report to a file, as JSON.",
)
@click.option("--quiet", is_flag=True, help="Say nothing when the file has no finding.")
def command(file: Path, json: Path | None, quiet: bool) -> int:
    """Show what the engine recorded in FILE (HEAPWITNESS_LOG, or `run --log`).

    The exit status is 99 when there is a finding in it.
    """
    from heapwitness.supervise.recorded import report

    return report(file, json, quiet=quiet)
