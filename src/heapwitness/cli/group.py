"""All subcommands, as click sees them: loaded when they are asked for."""

import importlib
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import click

from heapwitness import __version__
from heapwitness.cli import settings
from heapwitness.cli.failures import telling
from heapwitness.errors import HeapwitnessError

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

_NOTHING_ASKED = 2
"""The exit status where no command was named."""


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
        with telling():
            return super().make_context(*arguments, **more)

    def invoke(self, ctx: click.Context) -> Any:
        with telling():
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


def read(command: click.Command, name: str, words: Sequence[str], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """The values of a command's parameters by a command line.

    Args:
        command: whose line it is.
        name: what it is called in errors.
        words: the line.
        defaults: what holds where it does not say.

    Raises:
        HeapwitnessError: what click finds wrong with it.
    """
    try:
        with telling(), command.make_context(name, list(words), default_map=dict(defaults)) as context:
            return dict(context.params)
    except click.ClickException as error:
        raise HeapwitnessError(_sentence(error)) from error


def require_options(command: click.Command, name: str, words: Sequence[str]) -> None:
    """See that words are options of a command that runs a program, each with its value, and no program.

    Raises:
        HeapwitnessError: they are not: what stands behind them would be the last one's value, or not the program.
    """
    try:
        with telling(), command.make_context(name, list(words)):
            pass
    except click.exceptions.Exit as error:
        raise HeapwitnessError(f"`{name} --help` is to be called as a command.") from error
    except click.MissingParameter as error:
        if error.param is not None and error.param.name == "program" and "--" not in words:
            return
    except click.exceptions.NoArgsIsHelpError:
        return
    except click.ClickException as error:
        raise HeapwitnessError(_sentence(error)) from error
    raise HeapwitnessError(f"{' '.join(words)!r} must be options of `{name}` and no program.")


def call(arguments: Sequence[str]) -> int:
    """Do what a command line says; gives the exit status.

    Raises:
        HeapwitnessError: also for what click finds wrong with it.
        KeyboardInterrupt: also for a question that is not answered.
    """
    try:
        status = group.main(args=list(arguments), prog_name="heapwitness", standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)
        return _NOTHING_ASKED
    except click.ClickException as error:
        raise HeapwitnessError(_sentence(error)) from error
    except click.Abort:
        raise KeyboardInterrupt from None
    return status if isinstance(status, int) else 0


def _sentence(error: click.ClickException) -> str:
    text = error.format_message().strip()
    if text[1:2].islower():
        text = text[0].lower() + text[1:]
    if isinstance(error, click.UsageError) and error.ctx is not None:
        text = f"{text.rstrip('.')}; `{error.ctx.command_path} --help` lists what there is"
    return text if text.endswith(".") else f"{text}."
