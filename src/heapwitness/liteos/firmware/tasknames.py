"""Names of tasks from a file: lines of a number and a name, or a JSON object from numbers to names."""

import json
import string
from os import PathLike

from heapwitness.errors import HeapwitnessError
from heapwitness.liteos.config.lines import numbered
from heapwitness.named import reading

_BETWEEN = ":=,"
_LARGEST_FILE = 1 << 20
_LARGEST_TASK = 0xFFFF
_LONGEST_NUMBER = 20


def load(path: str | PathLike[str]) -> dict[int, str]:
    """Read a file of names. Blank lines and lines that begin with "#" are passed over.

    Raises:
        HeapwitnessError: the file cannot be read, or a line is neither; names the line.
    """
    try:
        with reading(path) as file:
            data = file.read(_LARGEST_FILE + 1)
    except OSError as error:
        raise HeapwitnessError(f"{path} cannot be read ({error.strerror}): give a file of task names.") from error
    if len(data) > _LARGEST_FILE:
        raise HeapwitnessError(f"{path} is too large for a file of task names.")
    text = data.decode("utf-8", "replace")
    names = _object(text, path) if text.lstrip().startswith("{") else _lines(text, path)
    too_large = next((number for number in names if not 0 <= number <= _LARGEST_TASK), None)
    if too_large is not None:
        raise HeapwitnessError(f"{path}: task {too_large} cannot be; a task's number is 0 to {_LARGEST_TASK}.")
    return names


def _object(text: str, path: str | PathLike[str]) -> dict[int, str]:
    try:
        return {int(number, 0): str(name) for number, name in json.loads(text).items()}
    except (ValueError, RecursionError) as error:
        raise HeapwitnessError(f'{path} is no JSON object such as {{"5": "network"}}: {error}.') from error


def _lines(text: str, path: str | PathLike[str]) -> dict[int, str]:
    names: dict[int, str] = {}
    for count, line in numbered(text):
        line = line.strip()
        if not line or line.startswith("#"):
            continue
        named = _named(line)
        if named is None:
            raise HeapwitnessError(f'{path}, line {count}: give a task\'s number and name, such as "5 network".')
        names[named[0]] = named[1]
    return names


def _named(line: str) -> tuple[int, str] | None:
    """The number and the name in a line without blanks around it."""
    end = next((at for at, one in enumerate(line[: _LONGEST_NUMBER + 1]) if one.isspace() or one in _BETWEEN), 0)
    number, name = line[:end], line[end:].lstrip()
    if name[:1] and name[0] in _BETWEEN:
        name = name[1:].lstrip()
    base, digits = (16, number[2:]) if number.startswith("0x") else (10, number)
    if not name or not digits or not set(string.hexdigits if base == 16 else string.digits).issuperset(digits):
        return None
    return int(digits, base), name
