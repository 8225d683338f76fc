"""The consoles on which everything is shown: their width is sensible whatever the environment says, and what cannot be
written is an error."""

import os
import sys
from typing import TextIO

from rich.console import Console

NARROWEST, WIDEST = 40, 1000
_USUAL = 80
_HEIGHT = 25


class _Telling(Console):
    """rich ends the process when nobody reads any more; here that is an error like others."""

    def on_broken_pipe(self) -> None:
        raise  # the error that is being handled


def console(stream: TextIO | None = None) -> Console:
    """A console on a stream, stdout unless given. NO_COLOR, FORCE_COLOR, CLICOLOR and CLICOLOR_FORCE are heeded.

    Printing on it raises OSError when that cannot be written.
    """
    # rich sees to NO_COLOR, which wins, and to FORCE_COLOR.
    forced = os.environ.get("CLICOLOR_FORCE", "0") not in ("", "0") or bool(os.environ.get("FORCE_COLOR"))
    refused = os.environ.get("CLICOLOR") == "0" and not forced
    return _Telling(
        file=stream,
        width=_width(stream or sys.stdout),
        height=_HEIGHT,
        force_terminal=True if forced else None,
        no_color=True if refused else None,
    )


def _width(stream: TextIO | None) -> int:
    """Of the terminal, unless COLUMNS says another that can be."""
    asked = os.environ.get("COLUMNS", "")
    if asked.isascii() and asked.isdigit() and len(asked) < 10 and int(asked):
        return max(NARROWEST, min(int(asked), WIDEST))
    try:
        found = os.get_terminal_size(stream.fileno()).columns if stream is not None else 0
    except (OSError, ValueError):
        found = 0
    return max(NARROWEST, min(found, WIDEST)) if found else _USUAL
