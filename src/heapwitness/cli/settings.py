"""What options are where the command line does not say: from HEAPWITNESS_OPTIONS, then from pyproject.toml.

A table `[tool.heapwitness]` names options as the command line does, without the dashes before them; a table of a
command's name in it (`[tool.heapwitness.hunt]`) is for that command alone. Paths in it begin at its directory.
"""

import os
import shlex
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from heapwitness.cli import project
from heapwitness.cli.project import TABLE, VARIABLE, BadSettings
from heapwitness.outputs import STDOUT

COMMANDS = ("run", "hunt", "report", "pytest")
"""Commands that have settings; those of `pytest --heapwitness` are those of `run`."""

_LARGEST = 1 << 64
_WRITTEN = frozenset({"json", "html", "sarif", "junit"})
_YES, _NO = ("1", "true", "yes", "on"), ("0", "false", "no", "off")


@dataclass(frozen=True, slots=True)
class _Setting:
    """A value of an option as somebody wrote it, and where; relative paths begin at `directory`."""

    where: str
    name: str
    value: Any
    directory: Path


def configured(command: click.Command, name: str, known: Callable[[], Mapping[str, click.Option]]) -> dict[str, Any]:
    """The defaults of a command, by parameter.

    Args:
        command: whose options they are.
        name: its name, one of COMMANDS.
        known: gives the options of all commands that have settings, by name: what another one has is no mistake.

    Raises:
        BadSettings: a name is no option, or a value is none for it.
    """
    own = _by_name(command)
    found: dict[str, Any] = {}
    for one in (*_from_project(name), *_from_environment(known)):
        if one.name in own:
            parameter = own[one.name]
            assert parameter.name is not None
            value = _value(command, parameter, one)
            # A report is looked at where its maker may have put a pyproject.toml beside it.
            if (
                name != "report"
                or one.where == VARIABLE
                or one.name not in _WRITTEN
                or _is_inside(value, one.directory)
            ):
                found[parameter.name] = value
        elif one.name not in known():
            raise BadSettings(f"{one.where}: there is no option {one.name!r}; `heapwitness {name} --help` lists them.")
    return found


def options_of(*commands: click.Command) -> dict[str, click.Option]:
    """The options of commands by name."""
    return {name: option for command in commands for name, option in _by_name(command).items()}


def _by_name(command: click.Command) -> dict[str, click.Option]:
    """Each long name of an option without its dashes, those that turn one off, too."""
    return {
        name.removeprefix("--"): one
        for one in command.params
        if isinstance(one, click.Option)
        for name in (*one.opts, *one.secondary_opts)
        if name.startswith("--")
    }


# --- where settings are ----------------------------------------------------------------------------


def _from_project(command: str) -> Iterator[_Setting]:
    """Those of the nearest pyproject.toml upwards that has the table; the command's own last."""
    found = project.project()
    if found is None:
        return
    file, table = found
    for name, value in table.items():
        if not isinstance(value, dict):
            yield _Setting(f"{file}: [{TABLE}]", name.replace("_", "-"), value, file.parent)
        elif name not in COMMANDS:
            raise BadSettings(f"{file}: [{TABLE}.{name}] is for no command; there are {', '.join(COMMANDS)}.")
    own = table.get(command, {})
    if not isinstance(own, dict):
        raise BadSettings(f"{file}: {TABLE}.{command} must be a table.")
    for name, value in own.items():
        yield _Setting(f"{file}: [{TABLE}.{command}]", name.replace("_", "-"), value, file.parent)


def _from_environment(known: Callable[[], Mapping[str, click.Option]]) -> Iterator[_Setting]:
    """Those of the variable's words: --option, --option VALUE, --option=VALUE or option=VALUE."""
    try:
        words = shlex.split(os.environ.get(VARIABLE, ""))
    except ValueError as error:
        raise BadSettings(f"{VARIABLE}: {str(error).lower()}.") from error
    several: dict[str, list[str]] = {}
    while words:
        name, equals, value = words.pop(0).partition("=")
        dashes, name = name.startswith("--"), name.removeprefix("--")
        option = known().get(name)
        if option is None:
            raise BadSettings(f"{VARIABLE}: there is no option {name!r}; `heapwitness run --help` lists them.")
        if not equals:
            if not option.is_flag and (not dashes or not words):
                raise BadSettings(f"{VARIABLE}: {name} needs a value.")
            value = "true" if option.is_flag else words.pop(0)
        if option.multiple:
            several.setdefault(name, []).append(value)
        else:
            yield _Setting(VARIABLE, name, _spoken(value, name) if option.is_flag else value, Path())
    for name, values in several.items():
        yield _Setting(VARIABLE, name, values, Path())


def _is_inside(path: Path, directory: Path) -> bool:
    """Whether a file that is to be written lies in a directory, wherever links lead; stdout does."""
    return path == STDOUT or Path(os.path.realpath(path)).is_relative_to(os.path.realpath(directory))


def _spoken(value: str, name: str) -> bool:
    if value.lower() not in (*_YES, *_NO):
        raise BadSettings(f"{VARIABLE}: {name} must be true or false.")
    return value.lower() in _YES


# --- what they mean --------------------------------------------------------------------------------


def _value(command: click.Command, option: click.Option, one: _Setting) -> Any:
    if option.is_flag:
        if not isinstance(one.value, bool):
            raise BadSettings(f"{one.where}: {one.name} must be true or false.")
        return one.value == (f"--{one.name}" in option.opts)
    values = one.value if isinstance(one.value, list) else [one.value]
    if isinstance(one.value, list) and not option.multiple:
        raise BadSettings(f"{one.where}: {one.name} takes one value, not several.")
    if not all(isinstance(value, str | int | float) and not isinstance(value, bool) for value in values):
        raise BadSettings(f"{one.where}: {one.name} must be text or a number.")
    if any(isinstance(value, int) and abs(value) > _LARGEST for value in values):
        raise BadSettings(f"{one.where}: {one.name} has a number that is too large for any option.")
    made = [_converted(command, option, one, str(value)) for value in values]
    return made if option.multiple else made[0]


def _converted(command: click.Command, option: click.Option, one: _Setting, value: str) -> Any:
    if "\0" in value:
        raise BadSettings(f"{one.where}: {one.name} has a NUL character in it.")
    if isinstance(option.type, click.Path) and value != "-":
        try:
            value = str(one.directory / Path(value).expanduser())
        except RuntimeError as error:
            raise BadSettings(f"{one.where}: {one.name}: there is no such user.") from error
    try:
        return option.type.convert(value, option, click.Context(command))
    except click.UsageError as error:
        raise BadSettings(f"{one.where}: {one.name}: {error.message.rstrip('.')}.") from error
