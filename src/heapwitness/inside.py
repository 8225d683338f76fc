"""Asking the engine from within a Python program that runs under `heapwitness run`.

    heapwitness.check()              the whole heap, now
    with heapwitness.watch(): ...    the same behind a block
    @heapwitness.checked             behind each call of a function

Without an engine in the process all of it does nothing.
"""

import ctypes
import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import ParamSpec, TypeVar

_Given = ParamSpec("_Given")
_Result = TypeVar("_Result")


class HeapCorruption(RuntimeError):
    """Damage of the heap was found; the report of the run tells of it.

    Attributes:
        count: how many findings came since the last check.
    """

    def __init__(self, count: int) -> None:
        noun = "finding" if count == 1 else "findings"
        super().__init__(f"{count} {noun} in the heap since the last check; the report of heapwitness tells of them")
        self.count = count


@functools.cache
def _engine() -> Callable[[], int] | None:
    try:
        function = ctypes.CDLL(None).heapwitness_check
    except AttributeError:
        return None
    function.restype = ctypes.c_uint64
    function.argtypes = []
    return function


_seen = 0


def is_inside() -> bool:
    """Whether this process runs with the engine."""
    return _engine() is not None


def findings() -> int:
    """Check the whole heap; how many findings came since this was last asked, in all of the process."""
    global _seen
    engine = _engine()
    if engine is None:
        return 0
    count = engine()
    # The child of a fork counts from 0 on.
    fresh, _seen = count - _seen if count >= _seen else count, count
    return fresh


def check() -> None:
    """Check the whole heap now; nothing without an engine in the process (docs/python.md).

    Raises:
        HeapCorruption: there was a finding since the last check.
    """
    fresh = findings()
    if fresh:
        raise HeapCorruption(fresh)


@contextmanager
def watch() -> Iterator[None]:
    """Check the heap behind a block, whatever was found before it (docs/python.md).

    Raises:
        HeapCorruption: there was a finding since the block began; not where the block raises itself.
    """
    findings()
    yield
    check()


def checked(function: Callable[_Given, _Result]) -> Callable[_Given, _Result]:
    """Let a function check the heap behind each of its calls, as `watch` does (docs/python.md)."""

    @functools.wraps(function)
    def call(*arguments: _Given.args, **named: _Given.kwargs) -> _Result:
        with watch():
            return function(*arguments, **named)

    return call
