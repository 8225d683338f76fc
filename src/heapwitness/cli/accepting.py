"""The options by which findings are accepted: they are counted, and neither shown in full nor a failure."""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from heapwitness.accept.asked import Accepting

_FILE = click.Path(dir_okay=False, path_type=Path)

_OPTIONS = (
    click.option(
        "--suppressions",
        type=_FILE,
        multiple=True,
        metavar="FILE",
        help="Count the findings that a line of this file speaks of, and do not fail for them. Repeatable.",
    ),
    click.option(
        "--baseline",
        type=_FILE,
        metavar="FILE",
        help="Fail for findings only that are not in this JSON report of an earlier run.",
    ),
)


def accepting_options(function: Callable[..., int]) -> Callable[..., int]:
    """Adds the options; the function gets them as `accepting`."""

    @functools.wraps(function)
    def wrapped(*arguments: Any, suppressions: tuple[Path, ...], baseline: Path | None, **rest: Any) -> int:
        accepting = Accepting(suppressions=suppressions, baseline=baseline)
        return function(*arguments, accepting=accepting, **rest)

    return functools.reduce(lambda inner, option: option(inner), reversed(_OPTIONS), wrapped)
