"""The options of a run, which other commands that run a program have, too, for click."""

from collections.abc import Iterable

import click

from heapwitness.cli.documents import packed
from heapwitness.cli.shapes import Command, with_options
from heapwitness.cli.words import RUNNING, Option
from heapwitness.supervise.python_command import starts_python


class RunCommand(click.Command):
    """A command whose last words are a program, or options of Python and what it runs."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """See `click.Command`; where an option of Python stands, the program begins."""
        takes_value = {
            name: isinstance(one, click.Option) and not one.is_flag for one in self.params for name in one.opts
        }
        at = 0
        while at < len(args) and args[at].startswith("--") and args[at] != "--":
            at += 2 if takes_value.get(args[at]) else 1
        if at < len(args) and starts_python(args[at]):
            args = [*args[:at], "--", *args[at:]]
        return super().parse_args(ctx, args)


def running(command: Command, options: Iterable[Option] = RUNNING) -> Command:
    """Give a command options, and the program with its arguments."""
    named = click.argument("program", nargs=-1, required=True, type=click.UNPROCESSED, metavar="PROGRAM [ARGS]...")
    return with_options(named(command), options)


def run_options(command: Command) -> Command:
    """Give a command the options of a run, and the program with its arguments."""
    return running(packed(command))
