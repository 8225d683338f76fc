"""`heapwitness run` as it is mostly called, read without click: that takes longer to load than all else before a start.

What is not understood here, mistakes and calls for help among it, is left to click, which is given the same options.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from heapwitness.accept.asked import with_accepting
from heapwitness.cli.words import RUN, Option
from heapwitness.outputs import with_outputs
from heapwitness.supervise.options import Options
from heapwitness.supervise.python_command import starts_python

_KNOWN = {option.name: option for option in RUN}
_OPPOSITES = {option.opposite: option for option in RUN if option.reading is None}


def given(words: Sequence[str]) -> dict[str, Any] | None:
    """What stands behind `run`: the values of all options by their parameters, and the `program`.

    Returns:
        None where click is to read it.
    """
    values = {option.parameter: option.initial for option in RUN}
    at = 0
    while at < len(words) and words[at].startswith("-"):
        word = words[at]
        if word == "--" or starts_python(word):
            break
        if word in _OPPOSITES:
            values[_OPPOSITES[word].parameter] = False
            at += 1
            continue
        name, given_with_it, text = word.partition("=")
        option = _KNOWN.get(name)
        if option is None:
            return None
        if option.reading is not None and not given_with_it:
            at += 1
            if at == len(words):
                return None
            text = words[at]
        if not _take(option, text, given_with_it != "", values):
            return None
        at += 1
    program = words[at + 1 :] if words[at : at + 1] == ["--"] else words[at:]
    return {**values, "program": tuple(program)} if program else None


def _take(option: Option, text: str, joined: bool, values: dict[str, Any]) -> bool:
    """Take down an option's value; whether it can have that one."""
    if option.reading is None:
        values[option.parameter] = True
        return not joined
    try:
        value = option.reading.read(text)
    except ValueError:
        return False
    values[option.parameter] = (*values[option.parameter], value) if option.many else value
    return True


def run(**values: Any) -> int:
    """Run a program, with the values of all options of `run` by their parameters; gives the exit status."""
    from heapwitness import supervise

    return supervise.run(options(**values))


def options(program: tuple[str, ...], wait: float, trap: tuple[str, ...], traps: Path | None, **others: Any) -> Options:
    """These values as the options of a run."""
    wanted: tuple[Any, ...] = ()
    if trap or traps is not None:
        from heapwitness.supervise.traps import traps_asked_for

        wanted = traps_asked_for(trap, traps, watch=others["trap_kind"] == "watch")
    return Options(command=program, wait_ms=round(wait * 1000), traps=wanted, **with_accepting(with_outputs(others)))
