"""What a function is called in text: as its author wrote it, and not longer than a reader bears. JSON has it whole."""

import re

from heapwitness.report.frames import qualified

_LONG = 100
"""Characters; a longer name of C++ is told without its arguments, and those of its templates."""

_CYTHON = re.compile(r"__pyx_(pf|pw|f|gb)_")
_NUMBER = re.compile(r"\d{1,3}")


def spoken(function: str) -> str:
    """A function's name for people."""
    start = _CYTHON.match(function)
    if start is not None:
        return _without_scopes(function[start.end() :]) or function
    if len(function) > _LONG:
        return qualified(function) or function
    return function


def _without_scopes(rest: str) -> str:
    """What stands behind Cython's modules and classes, each of which has its length before it: 7signals_1moving_average
    is moving_average; "" where there is none."""
    scopes = 0
    while found := _NUMBER.match(rest):
        stop = found.end() + int(found[0])
        if rest[stop : stop + 1] != "_":
            break
        rest = rest[stop + 1 :]
        scopes += 1
    return rest.lstrip("0123456789") if scopes else ""
