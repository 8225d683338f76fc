"""What a function is called in text: as its author wrote it, and not longer than a reader bears. JSON has it whole."""

from heapwitness.findings.cython import source_name
from heapwitness.report.frames import qualified

_LONG = 100
"""Characters; a longer name of C++ is told without its arguments, and those of its templates."""


def spoken(function: str) -> str:
    """A function's name for people."""
    source = source_name(function)
    if source != function:
        return source.rpartition(".")[2]
    if len(function) > _LONG:
        return qualified(function) or function
    return function
