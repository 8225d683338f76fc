"""The options by which every command that has a report writes documents of it, for click."""

import functools
from typing import Any

from heapwitness.accept.asked import with_accepting
from heapwitness.cli import words
from heapwitness.cli.shapes import Command, as_click, shape, with_options
from heapwitness.outputs import with_outputs

FILE = shape(words.FILE)

FORMAT = as_click(words.FORMAT)


def packed(function: Command) -> Command:
    """Lets a function that is given the values of these options have them as `outputs`, and those of what is known
    already as `accepting`."""

    @functools.wraps(function)
    def wrapped(*arguments: Any, **values: Any) -> int:
        return function(*arguments, **with_accepting(with_outputs(values)))

    return wrapped


def document_options(function: Command) -> Command:
    """Adds the options; the function gets them as `outputs`."""
    return with_options(packed(function), words.DOCUMENTS)
