"""A finding in a Python program, in short: its sentence, its lines and their source; no addresses, bytes, headers."""

import itertools
import os
from collections.abc import Iterator, Sequence

from heapwitness.findings.model import Finding, Frame, Report
from heapwitness.findings.stacks import stacks
from heapwitness.report.facts import Fact, facts
from heapwitness.report.frames import is_foreign, is_own, is_packaged

FRAMES = 8
"""Frames of a stack that are shown."""

_OWN = 2
"""Of the program's own, at least."""

_LEFT_OUT = ("stored", "read", "thread", "victim", "nearest", "previous", "damaged")
_OURS = os.path.dirname(os.path.dirname(__file__)) + os.sep
_CHECKS = os.path.join(_OURS, "integrations", "")


def is_about_python(finding: Finding) -> bool:
    """Whether a Python line has to do with it."""
    return any(frame.language == "python" for stack in stacks(finding) for frame in stack)


def runs_python(report: Report) -> bool:
    """Whether a report is of a Python program."""
    if report.program is not None and report.program.language == "python":
        return True
    return any(map(is_about_python, report.findings))


def brief_facts(finding: Finding) -> Iterator[Fact]:
    """Its facts without those that speak of the heap's insides; the stacks tell of the blocks."""
    array = finding.culprit.array if finding.culprit is not None else None
    for fact in facts(finding):
        if fact.label == "repaired":
            yield Fact(fact.label, (fact.lines[0].partition(",")[0],), fact.wrap)
        elif fact.label == "block":
            # Behind its address: what the array in it is like.
            yield from (Fact("array", fact.lines[1:2]),) if array is not None else ()
        elif fact.label == "pointer":
            address, _, leads_to = fact.lines[0].partition("  ")
            yield from (Fact(fact.label, (leads_to,), fact.wrap),) if address and leads_to else ()
        elif fact.label not in _LEFT_OUT:
            yield fact


def brief_stack(stack: Sequence[Frame]) -> tuple[Frame, ...]:
    """The frames of a stack that a program's author knows: without the interpreter's and the system's, and without what
    called the program's own code, as a runner of tests does. Of a check that we made between tests there are none."""
    if any((frame.file or "").startswith(_CHECKS) for frame in stack):
        return ()
    known = [
        frame
        for frame in stack
        if not (frame.file or "").startswith(_OURS) and (frame.language == "python" or not is_foreign(frame))
    ]
    known = [frame for at, frame in enumerate(known) if at == 0 or not _adds_nothing(known[at - 1], frame)]
    first = next((at for at, frame in enumerate(known) if is_own(frame)), len(known))
    # Own C code may have been called by a library's Python lines, and that by the program.
    first = next((at for at, frame in enumerate(known) if is_own(frame) and frame.language == "python"), first)
    own = list(itertools.takewhile(is_own, known[first:]))[:FRAMES]
    # However deep a library's own calls were, the line that called it is shown.
    return (*known[:first][: FRAMES - min(len(own), _OWN)], *own)[:FRAMES]


def _adds_nothing(inner: Frame, frame: Frame) -> bool:
    """Whether a frame says no more than the one inside of it: what Cython wraps around a function, and the way through
    a package's C code that has no lines."""
    if inner.language == "python" or frame.language == "python":
        return False
    wraps = frame.function is not None and (frame.function, frame.file) == (inner.function, inner.file)
    return wraps or (frame.module == inner.module and frame.line is None and inner.line is None and is_packaged(frame))
