"""The same bug found many times is one finding with a count."""

from collections.abc import Hashable, Iterable

import msgspec

from heapwitness.findings.model import Finding, Frame
from heapwitness.findings.stacks import telling_stack
from heapwitness.report.frames import named


def fold(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Findings of the same kind with the same allocation site of the culprit, and the same store where that is known,
    as one, in order of the first. Stores are the same when they are of one line, which may have many instructions, and
    wrong releases when they are of one pair of functions.

    Where no such site is known, those with the same stack of detection. A folded finding is repaired
    when each of them was.
    """
    folded: dict[Hashable, Finding] = {}
    for finding in findings:
        key = next((one for one in alike(finding) if one in folded), same(finding))
        first = folded.get(key)
        folded[key] = (
            finding
            if first is None
            else msgspec.structs.replace(
                first, count=first.count + finding.count, repaired=first.repaired and finding.repaired
            )
        )
    return tuple(folded.values())


def alike(finding: Finding) -> tuple[Hashable, ...]:
    """What `same` gives for findings that it may be told with: a read goes with a write of its line that was there
    before, but a write is never told as a read."""
    if finding.store is None or finding.access != "read":
        return (same(finding),)
    return (same(finding), same(msgspec.structs.replace(finding, access="write")))


def same(finding: Finding) -> Hashable:
    """Equal for findings that are told as one, in whatever process and at whatever address they were."""
    known, stack = telling_stack(finding)
    store = named(finding.store.stack) if finding.store is not None else None
    access = None if store is None else (finding.access, _line(store))
    return (finding.kind, known, tuple(map(_place, stack)), access, families(finding))


def families(finding: Finding) -> Hashable:
    """By what a block was allocated and by what it was released, which tells wrong pairs of one line apart."""
    block = finding.culprit
    if finding.kind != "mismatched-free" or block is None:
        return None
    return (block.origin, block.domain, finding.released_with)


def _place(frame: Frame) -> Hashable:
    if frame.language == "python":
        return (frame.file, frame.function, frame.line)
    at = frame.pc if frame.offset is None else frame.offset
    return (frame.module, at, frame.function, frame.line)


def _line(frame: Frame) -> Hashable:
    return _place(frame) if frame.line is None else (frame.module, frame.file, frame.function, frame.line)
