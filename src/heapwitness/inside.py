"""Asking the engine from within a Python program that runs under `heapwitness run`.

    heapwitness.check()              the whole heap, now
    with heapwitness.watch(): ...    the same behind a block
    @heapwitness.checked             behind each call of a function
    heapwitness.watch(library)       behind each call of a library of ctypes or cffi

Without an engine in the process all of it does nothing.
"""

import contextlib
import ctypes
import functools
import json
import os
import socket
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType, SimpleNamespace
from typing import TYPE_CHECKING, Any, NamedTuple, ParamSpec, TypeVar, overload

from heapwitness.findings.words import count as counted

if TYPE_CHECKING:
    from heapwitness.findings.model import Finding

_Given = ParamSpec("_Given")
_Result = TypeVar("_Result")

_QUESTION = b"HEAPWITNESS?"
_PATIENCE = 10.0
_STEP = 0.01
"""Seconds to wait until findings have their names, and between looks."""

_ANSWER_LIMIT = 1 << 20
_ARGUMENTS_SHOWN = 12
_HERE, _STANDARD = (os.path.join(os.path.dirname(one), "") for one in (__file__, os.__file__))


class Counts(NamedTuple):
    """What was checked in this process so far, and found: operations, nodes that there are now, findings, repairs.

    Source: docs/python.md.
    """

    operations: int = 0
    nodes: int = 0
    findings: int = 0
    repaired: int = 0


class HeapCorruption(RuntimeError):
    """Damage of the heap was found (docs/python.md).

    Attributes:
        count: how many findings came since the last check.
        findings: these, as the report of the run has them (`heapwitness.Finding`), as far as they could be had.
        finding: the first of them, or None.
        call: the call of a watched library, or of a `checked` function, behind which it was found:
            "fill(c_char_Array_37, int) at main.py:12"; "" where it was none.
    """

    def __init__(self, count: int, told: "tuple[Told, ...]" = (), call: str = "") -> None:
        since = f"behind {call}" if call else "since the last check"
        first = f": {told[0].sentence}" if told else "; the report of heapwitness tells of them"
        super().__init__(f"{counted(count, 'finding')} in the heap {since}{first}")
        self.count = count
        self.findings: tuple[Finding, ...] = tuple(one.finding for one in told)
        self.finding: Finding | None = self.findings[0] if told else None
        self.call = call


class Told(NamedTuple):
    """A finding as the supervisor tells it; `accepted` says why it does not count, "" where it does."""

    finding: "Finding"
    sentence: str
    accepted: str = ""


@functools.cache
def engine() -> ctypes.CDLL | None:
    """The engine in this process; None where there is none."""
    program = ctypes.CDLL(None)
    try:
        program.heapwitness_check.restype = ctypes.c_uint64
        program.heapwitness_supervisor.restype = ctypes.c_char_p
    except AttributeError:
        return None
    return program


class _Seen:
    """How many findings this process knows of, by the engine's count and by the supervisor's."""

    pid = 0
    found = 0
    told = 0


def _seen() -> type[_Seen]:
    # The child of a fork counts from 0 on.
    if os.getpid() != _Seen.pid:
        _Seen.pid, _Seen.found, _Seen.told = os.getpid(), 0, 0
    return _Seen


def is_inside() -> bool:
    """Whether this process runs with the engine."""
    return engine() is not None


@functools.cache
def _say_absent() -> None:
    print(
        "heapwitness: there is no engine in this process, so nothing is checked; start it with `heapwitness run`.",
        file=sys.stderr,
    )


def total() -> int:
    """Check the whole heap; how many findings there were in this process."""
    program = engine()
    return program.heapwitness_check() if program is not None else 0


def noticed() -> int:
    """The same without a check."""
    program = engine()
    return _counts(program).findings if program is not None else 0


def _counts(program: ctypes.CDLL) -> Counts:
    counts = (ctypes.c_uint64 * 4)()
    program.heapwitness_count(counts)
    return Counts(*counts)


def switch(name: str, value: int) -> int:
    """Change `poison` (0 or 1) or `check_every` (operations) while the program runs; gives what it was."""
    program = engine()
    if program is None:
        return 0
    function = getattr(program, f"heapwitness_{name}")
    kind = ctypes.c_int if name == "poison" else ctypes.c_uint64
    function.argtypes, function.restype = [kind], kind
    before: int = function(value)
    return before


def findings() -> int:
    """Check the whole heap; how many findings came since this was last asked, in all of the process."""
    program = engine()
    if program is None:
        return 0
    seen = _seen()
    count: int = program.heapwitness_check()
    fresh, seen.found = max(0, count - seen.found), count
    return fresh


def raise_found(fresh: int, call: str = "") -> None:
    """Raise `HeapCorruption` for so many findings that came, unless they are accepted beforehand."""
    told = told_since() if fresh else ()
    counting = tuple(one for one in told if not one.accepted)
    left = fresh - (len(told) - len(counting))
    if left > 0:
        raise HeapCorruption(left, counting, call)


def told_since() -> tuple[Told, ...]:
    """What the supervisor tells of the findings since this was last asked; it waits until they have names."""
    seen = _seen()
    answer = _answered(seen.told)
    if answer is None:
        return ()
    seen.told = answer.told
    return tuple(map(Told, answer.findings, answer.sentences, answer.accepted))


class ShownFinding(NamedTuple):
    """A finding as the report shows it; `accepted` as in `Told`. `text` is "" where that was too long; `alike` is the
    number, from 0, of the first one that is told as the same."""

    sentence: str
    text: str
    accepted: str
    alike: int


def shown_since(since: int) -> tuple[int, tuple[ShownFinding, ...]]:
    """What the supervisor tells of this process and those that it started: how many findings there were, and those that
    came after so many; it waits until they have names."""
    answer = _answered(since, family=True, texts=True)
    if answer is None:
        return since, ()
    return answer.told, tuple(map(ShownFinding, answer.sentences, answer.texts, answer.accepted, answer.alike))


def _answered(since: int, **how: bool) -> Any:
    """The supervisor's answer when its findings have names, or the last before that takes too long."""
    until = time.monotonic() + _PATIENCE
    while (answer := _asked(since, **how)) is not None and not answer.ready and time.monotonic() < until:
        time.sleep(_STEP)
    return answer


def _asked(since: int, **how: bool) -> Any:
    """The supervisor's answer (`supervise/heard.py`); None when there is none."""
    program = engine()
    place: bytes = program.heapwitness_supervisor() if program is not None else b""
    question = _QUESTION + json.dumps({"pid": os.getpid(), "since": since, **how}).encode()
    # In another root the socket has a name, but no place.
    for address in (place, b"\0" + place) if place else ():
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as connection:
            connection.settimeout(_PATIENCE)
            connection.connect(address)
            connection.send(question)
            return _decoded(connection.recv(_ANSWER_LIMIT))
    return None


def _decoded(answer: bytes) -> Any:
    if not answer:
        return None
    try:
        import msgspec

        from heapwitness.findings.model import Finding
    except ImportError:  # the program's Python need not have what heapwitness's own has: the names are the same
        return json.loads(answer, object_hook=lambda fields: SimpleNamespace(**fields))
    fields = json.loads(answer)
    fields["findings"] = [msgspec.convert(one, Finding) for one in fields["findings"]]
    return SimpleNamespace(**fields)


def check(*, say: bool = False) -> Counts:
    """Check the whole heap now; nothing without an engine in the process (docs/python.md).

    Args:
        say: say once on standard error when there is no engine.

    Returns:
        what was checked and found so far, all 0 without an engine.

    Raises:
        HeapCorruption: there was a finding since the last check.
    """
    program = engine()
    if program is None:
        if say:
            _say_absent()
        return Counts()
    raise_found(findings())
    return _counts(program)


@overload
def watch(library: None = None, *, say: bool = False) -> contextlib.AbstractContextManager[None]: ...
@overload
def watch(library: _Result, *, say: bool = False) -> _Result: ...
def watch(library: Any = None, *, say: bool = False) -> Any:
    """Check the heap behind a block, or behind each call of a library (docs/python.md).

        with heapwitness.watch(): ...
        library = heapwitness.watch(ctypes.CDLL("libfill.so"))

    Args:
        library: of ctypes or cffi; its functions are called as before, and the heap is checked before and after each
            call. Without an engine it is returned as it is.
        say: say once on standard error when there is no engine.

    Raises:
        HeapCorruption: there was a finding since the block, or the call, began; not where that raises itself.
        TypeError: it is the name of a library.
    """
    if isinstance(library, str | bytes | os.PathLike):
        raise TypeError(f"heapwitness.watch takes a library that is loaded, as ctypes.CDLL({library!r}) is.")
    if engine() is None:
        if say:
            _say_absent()
        return contextlib.nullcontext() if library is None else library
    return _block() if library is None else _WatchedLibrary(library)


@contextmanager
def _block() -> Iterator[None]:
    _forget_found()
    yield
    raise_found(findings())


def checked(function: Callable[_Given, _Result]) -> Callable[_Given, _Result]:
    """Let a function check the heap behind each of its calls, as `watch` does (docs/python.md).

    Of a coroutine function that is when what it gave was awaited, whatever ran in between; of a generator
    function it is behind each step.

    Raises:
        TypeError: it is no function.
    """
    if isinstance(function, type) or not callable(function):
        raise TypeError(f"heapwitness.checked is for functions and methods, and {function!r} is none.")
    if engine() is None:
        return function
    from heapwitness.around import around

    name = getattr(function, "__qualname__", type(function).__qualname__)
    return around(function, _forget_found, functools.partial(_raise_fresh, name))


def _forget_found() -> None:
    if findings():
        told_since()


def _raise_fresh(name: str, arguments: Sequence[object]) -> None:
    """Raise `HeapCorruption` for what came since the last time, behind a call of that name."""
    fresh = findings()
    if fresh:
        types = [*map(_type_name, arguments[:_ARGUMENTS_SHOWN]), *(["..."] if arguments[_ARGUMENTS_SHOWN:] else [])]
        frame = _caller(sys._getframe(1))
        place = f"{os.path.basename(frame.f_code.co_filename)}:{frame.f_lineno}"
        raise_found(fresh, f"{name}({', '.join(types)}) at {place}")


def _caller(frame: FrameType) -> FrameType:
    """From which line the call came; of what a task awaits, which the event loop calls, who started that."""
    outer: FrameType | None = frame
    first = None
    while outer is not None:
        file = outer.f_code.co_filename
        if not file.startswith(_HERE):
            first = first or outer
            if not _is_standard(file):
                return outer
        outer = outer.f_back
    return first or frame


def _is_standard(file: str) -> bool:
    """Whether a file is of Python's own library."""
    return file.startswith("<frozen ") or (
        file.startswith(_STANDARD) and "site-packages" not in file and "dist-packages" not in file
    )


class _WatchedLibrary:
    """A library whose functions are watched; all else is the library's own."""

    def __init__(self, library: Any) -> None:
        object.__setattr__(self, "_library", library)
        object.__setattr__(self, "_functions", {})

    def __getattr__(self, name: str) -> Any:
        return self._watched(name, getattr(self._library, name))

    def __getitem__(self, name: str) -> Any:
        return self._watched(str(name), self._library[name])

    def __setattr__(self, name: str, value: object) -> None:
        setattr(self._library, name, value)

    def __dir__(self) -> list[str]:
        return dir(self._library)

    def __repr__(self) -> str:
        return f"<watched {self._library!r}>"

    def _watched(self, name: str, value: Any) -> Any:
        if not callable(value):
            return value
        known = self._functions.get(name)
        if known is None or known._function is not value:
            known = self._functions[name] = _WatchedFunction(name, value)
        return known


class _WatchedFunction:
    """A function of a library; its attributes (`argtypes`, `restype`) are the function's own."""

    def __init__(self, name: str, function: Any) -> None:
        object.__setattr__(self, "_name", name)
        object.__setattr__(self, "_function", function)

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        _forget_found()
        result = self._function(*arguments, **named)
        _raise_fresh(self._name, arguments)
        return result

    def __getattr__(self, name: str) -> Any:
        if name == "_as_parameter_":  # as an argument of another function
            return self._function
        return getattr(self._function, name)

    def __setattr__(self, name: str, value: object) -> None:
        setattr(self._function, name, value)

    def __repr__(self) -> str:
        return f"<watched {self._function!r}>"


def _type_name(value: object) -> str:
    kind = type(value)
    if kind.__module__ != "_cffi_backend":
        return kind.__qualname__
    before, _, rest = repr(value).partition("'")  # <cdata 'int *' 0x...>
    name, quote, _ = rest.partition("'")
    return name if before == "<cdata " and quote else kind.__qualname__
