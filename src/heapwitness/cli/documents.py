"""The options by which every command that has a report writes documents of it."""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from heapwitness.outputs import Outputs

FILE = click.Path(dir_okay=False, allow_dash=True, path_type=Path)

FORMAT = click.option(
    "--format",
    type=click.Choice(["short", "full"]),
    default="full",
    show_default=True,
    help="Show each finding in full, or in one line.",
)

_OPTIONS = (
    click.option("--html", type=FILE, metavar="FILE", help="Write the report as one HTML page."),
    click.option("--sarif", type=FILE, metavar="FILE", help="Write the report as SARIF 2.1.0, for forges and editors."),
    click.option("--junit", type=FILE, metavar="FILE", help="Write the report as JUnit XML."),
    click.option(
        "--annotations",
        type=click.Choice(["github", "azure", "plain", "none"]),
        help="Print a line for each finding that a CI shows at the source line; by itself where the CI is known.",
    ),
    click.option(
        "--source-root",
        type=click.Path(file_okay=False, path_type=Path),
        metavar="DIR",
        help="The repository: paths in SARIF and annotations are relative to it. By itself the CI's checkout, or here.",
    ),
)


def document_options(function: Callable[..., int]) -> Callable[..., int]:
    """Adds the options; the function gets them as `outputs`."""

    @functools.wraps(function)
    def wrapped(
        *arguments: Any,
        html: Path | None,
        sarif: Path | None,
        junit: Path | None,
        annotations: Any,
        source_root: Path | None,
        **rest: Any,
    ) -> int:
        outputs = Outputs(html=html, sarif=sarif, junit=junit, annotations=annotations, source_root=source_root)
        return function(*arguments, outputs=outputs, **rest)

    return functools.reduce(lambda inner, option: option(inner), reversed(_OPTIONS), wrapped)
