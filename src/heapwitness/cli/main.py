"""The command `heapwitness`: how it is called and how it ends; its errors are one sentence each."""

import contextlib
import gc
import io
import os
import sys
from collections.abc import Sequence

from heapwitness.cli.failures import telling
from heapwitness.cli.streams import patient
from heapwitness.errors import HeapwitnessError

ERROR_EXIT = 2
INTERRUPTED_EXIT = 130
_COMPLETION = "_HEAPWITNESS_COMPLETE"
"""With this, shells ask how a command line goes on."""

_SENTENCE_LIMIT = 2000
"""Characters of an error that are shown."""

_NEW_OBJECTS = 50_000
"""So many until Python looks for garbage: more than are made by loading all, which makes none."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line, `arguments` or the process's own, and exit; errors are one sentence on stderr."""
    gc.set_threshold(_NEW_OBJECTS)
    _prepare_output()
    try:
        status = _called(sys.argv[1:] if arguments is None else list(arguments))
    except HeapwitnessError as error:
        status = _say(str(error))
    except MemoryError:
        status = _say("there is not enough memory for this; give it more (`ulimit -v` and `ulimit -d` show limits).")
    except KeyboardInterrupt:
        status = INTERRUPTED_EXIT
    _let_go_of_output()
    if sys.flags.inspect:  # PYTHONINSPECT is meant for a program that we run
        os._exit(status)
    gc.freeze()  # nor does Python have to look through all that there is before it ends
    sys.exit(status)


def _called(words: list[str]) -> int:
    """The exit status of what the words ask for; a program is run without click, where these are plain and there
    are no settings."""
    if words[:1] == ["run"] and _COMPLETION not in os.environ:
        from heapwitness.cli import project, straight

        values = straight.given(words[1:])
        if values is not None and not project.is_set():
            with telling():
                status = straight.run(**values)
                sys.stdout.flush()
                return status
    from heapwitness.cli import group

    return group.call(words)


def _prepare_output() -> None:
    """Output that was closed goes nowhere, what has no room is waited for, and a character that it cannot have is
    escaped."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        setattr(sys, name, open(os.devnull, "w") if stream is None else patient(stream))  # noqa: SIM115
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


def _let_go_of_output() -> None:
    """What could not be written is dropped: Python must not complain about it once more at its end."""
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream is not None:
                stream.flush()
        except (OSError, ValueError):
            with contextlib.suppress(OSError, ValueError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _say(text: str) -> int:
    # A file that is named wrongly may be cited by what is wrong in it, whatever its length.
    if len(text) > _SENTENCE_LIMIT:
        text = f"{text[: _SENTENCE_LIMIT // 2]} ... {text[-_SENTENCE_LIMIT // 2 :]}"
    text = " ".join(text.split())
    try:
        from heapwitness.report.plain import harmless

        text = harmless(text)
    except (OSError, ImportError):  # there may be no descriptor for it
        text = ascii(text)[1:-1]
    with contextlib.suppress(OSError):
        print(f"heapwitness: {text}", file=sys.stderr)
    return ERROR_EXIT
