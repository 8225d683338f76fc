"""Traces of allocations: JSON lines as a kernel was recorded with, or a log that is written by hand.

JSON lines (gzip or not), one operation each, blocks named by the address that the recorded kernel gave:

    {"op": "init", "address": 536870912, "size": 16384, "fill": 0}
    {"op": "alloc", "size": 41, "result": 536871740}
    {"op": "free", "pointer": 536871740, "result": 0}

A log, one operation a line, blocks named as one likes; "#" begins a comment:

    init 16384 0x20000000       size, and if one likes address and fill byte
    task 5                      the task that runs from now on
    a = alloc 100
    b = alloc_align 64 32       size and boundary
    m = alloc_module 20 3       size and module
    a = realloc a 200
    free a                      or an address: free 0x20000010
    check                       the kernel's integrity check, and ours
"""

import json
from collections.abc import Iterator
from os import PathLike
from typing import Any, Final, Literal

import msgspec

from heapwitness.errors import HeapwitnessError
from heapwitness.liteos.config.lines import is_word, numbered
from heapwitness.liteos.image import files

OperationKind = Literal["alloc", "alloc_align", "alloc_module", "realloc", "free", "task", "check", "sha256", "info"]
Name = str | int

DEFAULT_SIZE: Final = 65536
DEFAULT_ADDRESS: Final = 0x20000000
_FILE_LIMIT: Final = 64 << 20
_POOL_LIMIT: Final = 64 << 20
OPERATIONS_LIMIT = 1 << 20

# Of each operation in a log, what its words are; a "?" may be left out.
_WORDS: Final[dict[str, tuple[str, ...]]] = {
    "init": ("size", "address?", "fill?"),
    "task": ("task",),
    "alloc": ("size",),
    "alloc_align": ("size", "boundary"),
    "alloc_module": ("size", "module"),
    "realloc": ("pointer", "size"),
    "free": ("pointer",),
    "check": (),
}
_MOST_WORDS: Final = max(map(len, _WORDS.values()))
_JSON_KINDS: Final[dict[str, OperationKind]] = {
    "alloc": "alloc",
    "alloc_align": "alloc_align",
    "malloc_module": "alloc_module",
    "alloc_module": "alloc_module",
    "realloc": "realloc",
    "free": "free",
    "task": "task",
    "check": "check",
    "sha256": "sha256",
    "info": "info",
}


class BadTrace(HeapwitnessError):
    """A file that is no trace; the sentence names the line."""


class Operation(msgspec.Struct, frozen=True, kw_only=True):
    """One operation. `number` counts from 1, `init` not included.

    `pointer` and `result` name blocks: a name of the log, or the address in the recorded kernel (which is
    then also what was answered there). `answered` is what else a recording says: the answer of a free,
    the SHA-256 of the pool.
    """

    number: int
    kind: OperationKind
    size: int = 0
    boundary: int = 0
    module: int = 0
    task: int = 0
    pointer: Name | None = None
    result: Name | None = None
    answered: int | str | None = None

    @property
    def text(self) -> str:
        """The operation in words: "alloc_align 64 32"."""
        pointer = hex(self.pointer) if isinstance(self.pointer, int) else self.pointer
        words = {
            "alloc": (self.size,),
            "alloc_align": (self.size, self.boundary),
            "alloc_module": (self.size, self.module),
            "realloc": (pointer, self.size),
            "free": (pointer,),
            "task": (self.task,),
        }
        return " ".join(str(word) for word in (self.kind, *words.get(self.kind, ())))


class Trace(msgspec.Struct, frozen=True):
    """A pool and what is done with it. `recorded` tells whether blocks are named by recorded addresses."""

    address: int
    size: int
    fill: int
    operations: tuple[Operation, ...]
    recorded: bool
    width: int | None = None


def load(path: str | PathLike[str]) -> Trace:
    """Read a trace.

    Raises:
        HeapwitnessError: the file cannot be read, or is no trace; names the line.
    """
    data = files.read(path, _FILE_LIMIT)
    if files.is_packed(data):
        data = files.unpacked(data, str(path), _FILE_LIMIT)
    try:
        text = data[:].decode("utf-8")
    except UnicodeDecodeError as error:
        raise BadTrace(f"{path} is no text: give a trace of allocations (docs/liteos.md).") from error
    try:
        return parse(text)
    except BadTrace as error:
        raise BadTrace(f"{path}, {error}") from error


def parse(text: str) -> Trace:
    """As `load`, of text that is here already."""
    recorded = text.lstrip().startswith("{")
    lines = _json_lines(text) if recorded else _log_lines(text)
    init: dict[str, Any] = {"address": DEFAULT_ADDRESS, "size": DEFAULT_SIZE, "fill": 0}
    operations: list[Operation] = []
    for line, kind, values in lines:
        if kind == "init":
            if operations:
                raise BadTrace(f"line {line}: init must come first; one trace is one pool.")
            init |= values
        else:
            if len(operations) == OPERATIONS_LIMIT:
                raise BadTrace(f"line {line}: it has more than {OPERATIONS_LIMIT:,} operations: give a part.")
            operations.append(_operation(line, len(operations) + 1, kind, values, recorded))
    if not 0 < init["size"] <= _POOL_LIMIT:
        raise BadTrace(
            f"line 1: a pool of {init['size']} bytes cannot be simulated; up to {_POOL_LIMIT >> 20} MiB can."
        )
    if not operations:
        raise BadTrace("line 1: there is no operation in it: give a trace of allocations (docs/liteos.md).")
    width = init.get("width")
    return Trace(init["address"], init["size"], init["fill"] & 0xFF, tuple(operations), recorded, width)


def _json_lines(text: str) -> Iterator[tuple[int, str, dict[str, Any]]]:
    for number, line in numbered(text):
        if not line.strip():
            continue
        try:
            values = json.loads(line)
            kind = values.pop("op")
        except (ValueError, KeyError, AttributeError, TypeError, RecursionError) as error:
            raise BadTrace(f'line {number}: it is no JSON object with an "op".') from error
        if kind != "init" and kind not in _JSON_KINDS:
            raise BadTrace(f"line {number}: {kind!r} is no operation that can be simulated.")
        for name, value in values.items():
            if name not in ("config", "result", "value") and not _is_number(value):
                raise BadTrace(f"line {number}: {name} is a number of 64 bits at most, not {value!r}.")
        yield number, kind, values


def _is_number(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 64


def _log_lines(text: str) -> Iterator[tuple[int, str, dict[str, Any]]]:
    for number, line in numbered(text):
        line = line.split("#")[0].strip()
        if not line:
            continue
        result, kind, words = _split(line)
        if kind not in _WORDS:
            known = ", ".join(_WORDS)
            raise BadTrace(f"line {number}: {line[:40]!r} is no operation; there are {known}.")
        names = _WORDS[kind]
        least = sum(not name.endswith("?") for name in names)
        if not least <= len(words) <= len(names):
            raise BadTrace(f"line {number}: {kind} takes {' '.join(names) or 'nothing'}.")
        values: dict[str, Any] = {}
        for name, word in zip(names, words, strict=False):
            values[name.rstrip("?")] = word if name == "pointer" and word[0].isalpha() else _number(word, number)
        if result:
            values["result"] = result
        yield number, kind, values


def _split(line: str) -> tuple[str, str, list[str]]:
    """The name before "=" ("" for none), the operation, and its words, of which some that are too many stay one."""
    result, equals, rest = line.partition("=")
    result = result.strip()
    if not equals:
        result, rest = "", line
    elif not is_word(result) or not (result[0].isalpha() or result[0] == "_"):
        return "", "", []
    kind, *words = rest.split(None, _MOST_WORDS + 1) or [""]
    return result, kind, words


def _number(word: str, line: int) -> int:
    try:
        value = int(word, 0)
    except ValueError as error:
        raise BadTrace(f"line {line}: {word!r} is no number.") from error
    if not 0 <= value < 1 << 64:
        raise BadTrace(f"line {line}: {word} is out of range.")
    return value


def _operation(line: int, number: int, kind: str, values: dict[str, Any], recorded: bool) -> Operation:
    result = values.get("result")
    if recorded:
        names = ("size", "boundary", "module", "pointer")
        missing = [one for one in _json_needs(kind) if one not in values]
        if missing:
            raise BadTrace(f"line {line}: {kind} needs {' and '.join(missing)}.")
        fields = {name: values[name] for name in names if name in values}
        fields["task"] = values.get("id", 0)
        answered = values.get("value") if kind == "sha256" else result if kind == "free" else None
        block = result if kind not in ("free", "info", "sha256") and isinstance(result, int) else None
    else:
        fields = {name: value for name, value in values.items() if name != "result"}
        answered, block = None, result
    return Operation(
        number=number,
        kind=_JSON_KINDS[kind],
        result=block,
        answered=answered,
        **fields,
    )


def _json_needs(kind: str) -> tuple[str, ...]:
    needs = {
        "alloc": ("size",),
        "alloc_align": ("size", "boundary"),
        "malloc_module": ("size", "module"),
        "alloc_module": ("size", "module"),
        "realloc": ("pointer", "size"),
        "free": ("pointer",),
        "task": ("id",),
        "sha256": ("value",),
    }
    return needs.get(kind, ())
