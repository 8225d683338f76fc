"""What stands for a program that Python runs: a script, a directory, an archive, or options of Python itself."""

import os
from collections.abc import Sequence

from heapwitness.errors import HeapwitnessError

PYTHON = "python3"
_SCRIPT, _ARCHIVES = ".py", (".pyz", ".pyzw", ".zip")
_OPTIONS = frozenset("BEIOPQRSWXbcdimqsuvx")
"""Letters that options of Python begin with; heapwitness's own are words."""


def starts_python(word: str) -> bool:
    """Whether a word in place of a program is an option of Python, as in `-m pytest` or `-X dev script.py`."""
    return len(word) > 1 and word[0] == "-" and word[1] in _OPTIONS


def python_command(command: Sequence[str]) -> tuple[str, ...] | None:
    """The command with the Python of PATH before it, where that is what runs it; None for other programs.

    What has no slash and is a program in PATH is that program.

    Raises:
        HeapwitnessError: a script's name that leads nowhere.
    """
    name = command[0]
    if starts_python(name):
        return (PYTHON, *command)
    missing = name.endswith(_SCRIPT) and not os.path.exists(name)
    if not (missing or _is_for_python(name)) or _is_in_path(name):
        return None
    if missing:
        raise HeapwitnessError(f"{name} was not found.")
    return (PYTHON, *command)


def _is_in_path(name: str) -> bool:
    import shutil

    return "/" not in name and shutil.which(name) is not None


def _is_for_python(name: str) -> bool:
    if os.path.isdir(name):
        return os.path.isfile(os.path.join(name, "__main__.py"))
    if not os.path.isfile(name):
        return False
    return name.endswith(_SCRIPT) or (name.endswith(_ARCHIVES) and _is_archive(name))


def _is_archive(name: str) -> bool:
    import zipfile

    return zipfile.is_zipfile(name)
