"""From options as plain data to click's."""

import functools
from collections.abc import Callable, Iterable
from math import isnan
from pathlib import Path
from typing import Any

import click

from heapwitness.cli.words import AnyWord, FilePath, OneIn, OneOf, Option, Real, SignalName, Whole, WordKind

Command = Callable[..., int]


class _Read(click.ParamType[Any]):
    """A word that is read by a `WordKind`, which says what is wrong with it."""

    def __init__(self, name: str, reading: WordKind) -> None:
        self.name = name
        self._reading = reading

    def convert(self, value: Any, parameter: click.Parameter | None, context: click.Context | None) -> Any:
        if not isinstance(value, str):
            return value
        try:
            return self._reading.read(value)
        except ValueError as error:
            self.fail(str(error), parameter, context)


class _Real(click.FloatRange):
    """A number; what is called one and is none is out of every range."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        number = super().convert(value, param, ctx)
        if isnan(number):
            self.fail(f"{value} is no number.", param, ctx)
        return number


def with_options(command: Command, options: Iterable[Option]) -> Command:
    """Give a command options, in this order."""
    return functools.reduce(lambda inner, option: as_click(option)(inner), reversed(tuple(options)), command)


def as_click(option: Option) -> Callable[[Command], Command]:
    """What gives a command an option."""
    if option.reading is None:
        return click.option(f"{option.name}/{option.opposite}", help=option.help)
    return click.option(
        option.name,
        type=shape(option.reading),
        default=option.default,
        show_default=bool(option.default),
        metavar=option.metavar,
        multiple=option.many,
        help=option.help,
    )


def shape(reading: WordKind) -> click.ParamType[Any]:
    """click's type for what a word may be."""
    match reading:
        case AnyWord():
            return click.STRING
        case OneOf():
            return click.Choice(reading.words)
        case Whole():
            return click.IntRange(reading.least, reading.most)
        case Real():
            return _Real(reading.least, reading.most)
        case FilePath():
            return click.Path(
                file_okay=not reading.directory,
                dir_okay=reading.directory,
                allow_dash=reading.stdout,
                path_type=Path,
            )
        case SignalName():
            return _Read("SIGNAL", reading)
        case OneIn():
            return _Read("1/N", reading)
    raise TypeError(reading)
