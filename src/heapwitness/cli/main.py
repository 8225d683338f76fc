"""The command `heapwitness`: its subcommands, loaded when they are asked for, and its errors, one sentence each."""

import contextlib
import importlib
import io
import os
import sys
from collections.abc import Iterator, Sequence
from typing import Any

import click

from heapwitness import __version__
from heapwitness.cli import settings
from heapwitness.errors import HeapwitnessError

ERROR_EXIT = 2
INTERRUPTED_EXIT = 130

COMMANDS: dict[str, tuple[str, str]] = {
    "run": ("heapwitness.cli.run:command", "Run a program on a heap whose headers have witnesses."),
    "hunt": ("heapwitness.cli.hunt:command", "Run a program again to catch the store that damages its heap."),
    "report": ("heapwitness.cli.report:command", "Show what a program without a supervisor recorded."),
    "inspect": ("heapwitness.cli.inspect:command", "Find the damage in a heap dump of a LiteOS device."),
    "explain": ("heapwitness.cli.explain:command", "Say what a kind of finding means and what to look at."),
    "restore": ("heapwitness.cli.restore:command", "Repair a heap dump of a LiteOS device."),
    "simulate": ("heapwitness.cli.simulate:command", "Run a trace of allocations, with faults, on a LiteOS heap."),
    "menuconfig": ("heapwitness.cli.menuconfig:command", "Edit a LiteOS kernel's .config in menus."),
    "config": ("heapwitness.cli.config:command", "Read, change and check a LiteOS kernel's .config."),
    "completion": ("heapwitness.cli.completion:command", "Print what completes commands in a shell."),
    "man": ("heapwitness.cli.man:command", "Print the manual page."),
}
"""Subcommands: where each is, and what it is for, so that listing them imports none."""


@contextlib.contextmanager
def _telling() -> Iterator[None]:
    """What the system refuses is one of our errors; click would end the process where nobody reads its output."""
    try:
        yield
    except OSError as error:
        named = error.filename is not None and not isinstance(error.filename, int)
        what = f"{os.fsdecode(error.filename)} cannot be used" if named else "the output could not be written"
        raise HeapwitnessError(f"{what}: {error.strerror or error}.") from error


class _Lazy(click.Group):
    """A group that imports a subcommand's module when it is used."""

    def list_commands(self, context: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        module, _, attribute = COMMANDS[name][0].partition(":")
        found = getattr(importlib.import_module(module), attribute)
        assert isinstance(found, click.Command)
        return found

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name, found, rest = super().resolve_command(ctx, args)
        if name in settings.COMMANDS and found is not None and not (ctx.resilient_parsing or _asks_for_help(rest)):
            ctx.default_map = {name: settings.configured(found, name, lambda: configurable(self, ctx))}
        return name, found, rest

    def make_context(self, *arguments: Any, **more: Any) -> click.Context:
        with _telling():
            return super().make_context(*arguments, **more)

    def invoke(self, ctx: click.Context) -> Any:
        with _telling():
            result = super().invoke(ctx)
            sys.stdout.flush()
            return result

    def format_commands(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, what) for name, (_, what) in COMMANDS.items()])


def _asks_for_help(rest: list[str]) -> bool:
    """Settings that are wrong must not be in the way of it."""
    return rest[:1] in (["--help"], ["-h"])


def configurable(group: click.Group, context: click.Context) -> dict[str, click.Option]:
    """The options of all commands that have settings."""
    found = [group.get_command(context, name) for name in settings.COMMANDS]
    return settings.options_of(*(one for one in found if one is not None))


@click.group(cls=_Lazy, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, message="%(prog)s %(version)s")
def group() -> None:
    """Find who overwrote the heap: every block's neighbour is a witness."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line, `arguments` or the process's own, and exit; errors are one sentence on stderr."""
    _prepare_output()
    try:
        status = group.main(args=arguments, prog_name="heapwitness", standalone_mode=False)
    except click.ClickException as error:
        status = _say(_sentence(error))
    except HeapwitnessError as error:
        status = _say(str(error))
    except (click.Abort, KeyboardInterrupt):
        status = INTERRUPTED_EXIT
    _let_go_of_output()
    sys.exit(status if isinstance(status, int) else 0)


def _prepare_output() -> None:
    """Output that was closed goes nowhere; a character that it cannot have is escaped."""
    if sys.stdout is None:
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115
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


def _sentence(error: click.ClickException) -> str:
    text = error.format_message().strip()
    if text[1:2].islower():
        text = text[0].lower() + text[1:]
    if isinstance(error, click.UsageError) and error.ctx is not None:
        text = f"{text.rstrip('.')}; `{error.ctx.command_path} --help` lists what there is"
    return text if text.endswith(".") else f"{text}."


def _say(text: str) -> int:
    from heapwitness.report.text import harmless

    with contextlib.suppress(OSError):
        print(f"heapwitness: {harmless(' '.join(text.split()))}", file=sys.stderr)
    return ERROR_EXIT
