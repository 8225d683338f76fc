"""What click makes of a command line of `run`."""

from typing import Any

import click

from heapwitness.cli import run


def by_click(words: list[str]) -> dict[str, Any] | None:
    """The values that click gives for a command line; None where it refuses it or shows something."""
    try:
        with run.command.make_context("run", list(words)) as context:
            return dict(context.params)
    except (click.ClickException, click.exceptions.Exit):
        return None
