"""Names of tasks from a file: lines of a number and a name, or a JSON object from numbers to names."""

import json
import re
from os import PathLike
from pathlib import Path

from heapwitness.errors import HeapwitnessError

_LINE = re.compile(r"(?P<number>0x[0-9a-fA-F]+|\d+)\s*[\s:=,]\s*(?P<name>\S.*?)\s*")
_LARGEST_FILE = 1 << 20
_LARGEST_TASK = 0xFFFF


def load(path: str | PathLike[str]) -> dict[int, str]:
    """Read a file of names. Blank lines and lines that begin with "#" are passed over.

    Raises:
        HeapwitnessError: the file cannot be read, or a line is neither; names the line.
    """
    try:
        with Path(path).open("rb") as file:
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
    for count, line in enumerate(text.splitlines(), 1):
        line = line.strip()
        if not line or line.startswith("#"):
            continue
        match = _LINE.fullmatch(line)
        if match is None:
            raise HeapwitnessError(f'{path}, line {count}: give a task\'s number and name, such as "5 network".')
        number = match["number"]
        names[int(number, 16 if number.startswith("0x") else 10)] = match["name"]
    return names
