"""The options of a run, which other commands that run a program have, too."""

import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from heapwitness.cli.documents import FILE, FORMAT, document_options
from heapwitness.supervise.options import TRAP_KINDS

_FILE = click.Path(dir_okay=False, path_type=Path)
_MOST_SHARES = 1 << 30


class RunCommand(click.Command):
    """A command whose last words are a program, or options of Python and what it runs."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """See `click.Command`; where an option of Python stands, the program begins."""
        from heapwitness.supervise.python_command import starts_python

        takes_value = {
            name: isinstance(one, click.Option) and not one.is_flag for one in self.params for name in one.opts
        }
        at = 0
        while at < len(args) and args[at].startswith("--") and args[at] != "--":
            at += 2 if takes_value.get(args[at]) else 1
        if at < len(args) and starts_python(args[at]):
            args = [*args[:at], "--", *args[at:]]
        return super().parse_args(ctx, args)


class _Signal(click.ParamType[signal.Signals]):
    """A signal by name, with or without SIG, or by number, that a program can catch."""

    name = "SIGNAL"

    def convert(self, value: Any, parameter: click.Parameter | None, context: click.Context | None) -> signal.Signals:
        if isinstance(value, signal.Signals):
            return value
        text = str(value).upper()
        try:
            found = signal.Signals(int(text)) if text.isdecimal() else signal.Signals[f"SIG{text.removeprefix('SIG')}"]
        except (ValueError, KeyError):
            self.fail(f"{value!r} is no signal", parameter, context)
        if found in (signal.SIGKILL, signal.SIGSTOP, signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL):
            self.fail(f"{found.name} cannot be used to ask for something", parameter, context)
        return found


class _OneIn(click.ParamType[int]):
    """One in so many, written as 1/N; 0 for none."""

    name = "1/N"

    def convert(self, value: Any, parameter: click.Parameter | None, context: click.Context | None) -> int:
        if isinstance(value, int):
            return value
        one, slash, number = str(value).partition("/")
        if not slash or one.strip() != "1" or not number.strip().isdecimal() or not 0 < int(number) <= _MOST_SHARES:
            self.fail(f"{value!r} is no share; 1/1000 is one block in a thousand", parameter, context)
        return int(number)


_OPTIONS: tuple[Callable[[Callable[..., int]], Callable[..., int]], ...] = (
    click.option(
        "--on-error",
        type=click.Choice(["continue", "abort", "stop"]),
        default="continue",
        show_default=True,
        help="After a finding: repair and go on; die by SIGABRT; or wait for a debugger.",
    ),
    click.option(
        "--stacks",
        type=click.Choice(["caller", "fast", "full"]),
        default="fast",
        show_default=True,
        help="How much of the call stack is kept for each block.",
    ),
    click.option(
        "--check-every",
        type=click.IntRange(min=0),
        default=0,
        metavar="N",
        help="Check the next 256 KiB of the heap every N allocations and releases of a thread; 0 for never.",
    ),
    click.option("--check-signal", type=_Signal(), help="Check the whole heap when the program gets this signal."),
    click.option(
        "--trap-sample",
        type=_OneIn(),
        default=0,
        help="Let one block in N, of any site, end where nothing may be touched; 1/1: as many as can be.",
    ),
    click.option(
        "--trap-kind",
        type=click.Choice(["auto", *TRAP_KINDS]),
        default="auto",
        show_default=True,
        help="Where trapped blocks lie: their end at a guard, their start, or their very last byte.",
    ),
    click.option(
        "--wait",
        type=click.FloatRange(min=0.1, max=3600),
        default=10.0,
        show_default=True,
        metavar="SECONDS",
        help="How long a thread that found something waits for heapwitness before it goes on by itself.",
    ),
    click.option(
        "--no-python-lines",
        is_flag=True,
        help="Keep no Python lines of blocks: Python programs run faster.",
    ),
    click.option("--json", type=FILE, metavar="FILE", help="Write the report to a file, as JSON; - for stdout."),
    document_options,
    click.option(
        "--map",
        is_flag=True,
        help="Add maps of the heap to the report: at the first finding, at a check signal, at exit.",
    ),
    FORMAT,
    click.option("--output", type=_FILE, metavar="FILE", help="Write the report's text to a file instead of stderr."),
    click.option(
        "--log", type=_FILE, metavar="FILE", help="Where findings are recorded that heapwitness is not there to hear."
    ),
    click.option(
        "--error-exitcode",
        type=click.IntRange(0, 255),
        default=99,
        show_default=True,
        metavar="N",
        help="Exit status when there was a finding; 0 for the program's own.",
    ),
    click.option("--quiet", is_flag=True, help="Say nothing when nothing was found."),
)


def run_options(command: Callable[..., int]) -> Callable[..., int]:
    """Give a command the options of a run, and the program with its arguments."""
    command = click.argument("program", nargs=-1, required=True, type=click.UNPROCESSED, metavar="PROGRAM [ARGS]...")(
        command
    )
    for option in reversed(_OPTIONS):
        command = option(command)
    return command
