"""The same bug found many times is one finding with a count."""

from collections.abc import Hashable, Iterable

import msgspec

from heapwitness.findings.model import Finding, Frame
from heapwitness.findings.stacks import telling_stack
from heapwitness.report.frames import named


def fold(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Findings of the same kind with the same allocation site of the culprit, and the same store where that is known,
    as one, in order of the first. Stores are the same when they are of one line, which may have many instructions.

    Where no such site is known, those with the same stack of detection. A folded finding is repaired
    when each of them was.
    """
    folded: dict[Hashable, Finding] = {}
    for finding in findings:
        key = same(finding)
        first = folded.get(key)
        folded[key] = (
            finding
            if first is None
            else msgspec.structs.replace(
                first, count=first.count + finding.count, repaired=first.repaired and finding.repaired
            )
        )
    return tuple(folded.values())


def same(finding: Finding) -> Hashable:
    """Equal for findings that are told as one, in whatever process and at whatever address they were."""
    known, stack = telling_stack(finding)
    store = named(finding.store.stack) if finding.store is not None else None
    access = None if store is None else (finding.access, _line(store))
    return (finding.kind, known, tuple(map(_place, stack)), access)


def _place(frame: Frame) -> Hashable:
    if frame.language == "python":
        return (frame.file, frame.function, frame.line)
    at = frame.pc if frame.offset is None else frame.offset
    return (frame.module, at, frame.function, frame.line)


def _line(frame: Frame) -> Hashable:
    return _place(frame) if frame.line is None else (frame.module, frame.file, frame.function, frame.line)
