"""Where settings are that the command line does not give: HEAPWITNESS_OPTIONS, and the project's pyproject.toml."""

import os
import stat
from pathlib import Path
from typing import Any, NamedTuple

from heapwitness.errors import HeapwitnessError

VARIABLE = "HEAPWITNESS_OPTIONS"
FILE = "pyproject.toml"
TABLE = "tool.heapwitness"

_BYTES_LIMIT = 1 << 20
_DOTS_LIMIT = 4096
"""Dots in a line: the time for a key goes with the square of its parts."""


class BadSettings(HeapwitnessError):
    """A setting has a name or a value that cannot be."""


class Project(NamedTuple):
    """A pyproject.toml, and its table of settings."""

    file: Path
    table: dict[str, Any]


def is_set() -> bool:
    """Whether there are any settings.

    Raises:
        BadSettings: as `project`.
    """
    return bool(os.environ.get(VARIABLE)) or project() is not None


def project() -> Project | None:
    """The nearest pyproject.toml upwards from here that has the table.

    Raises:
        BadSettings: one cannot be read, or is no TOML.
    """
    try:
        here = os.getcwd()
    except OSError:  # the directory was removed
        return None
    while True:
        path = os.path.join(here, FILE)
        if os.path.exists(path) and not _is_planted(path):
            table = _table(Path(path))
            if table is not None:
                return Project(Path(path), table)
        above = os.path.dirname(here)
        if above == here:
            return None
        here = above


def _is_planted(path: str) -> bool:
    """Whether it lies where everybody may put files, as /tmp, and is somebody else's."""
    anybody = os.stat(os.path.dirname(path)).st_mode & stat.S_IWOTH
    return bool(anybody) and any(about(path).st_uid != os.geteuid() for about in (os.stat, os.lstat))


def _table(file: Path) -> dict[str, Any] | None:
    try:
        # What is a pipe or a device is not waited for.
        with open(os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as stream:
            data = stream.read(_BYTES_LIMIT + 1) if stat.S_ISREG(os.fstat(stream.fileno()).st_mode) else b""
    except OSError as error:
        raise BadSettings(f"{file} cannot be read: {error.strerror or error}.") from error
    if b"heapwitness" not in data:
        return None
    if len(data) > _BYTES_LIMIT or any(line.count(b".") > _DOTS_LIMIT for line in data.split(b"\n")):
        raise BadSettings(f"{file} is too long, or a line of it is, to be read for settings.")
    import tomllib

    try:
        document = tomllib.loads(data.decode())
    except RecursionError as error:
        raise BadSettings(f"{file} has too many brackets inside of brackets to be read for settings.") from error
    except ValueError as error:  # a number of too many digits is no error of TOML
        raise BadSettings(f"{file} is no TOML: {str(error).rstrip('.')}.") from error
    tool = document.get("tool")
    table = tool.get("heapwitness") if isinstance(tool, dict) else None
    if table is None:
        return None
    if not isinstance(table, dict):
        raise BadSettings(f"{file}: {TABLE} must be a table.")
    return table
