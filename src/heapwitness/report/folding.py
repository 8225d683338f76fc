"""The same bug found many times is one finding with a count."""

from collections.abc import Hashable

import msgspec

from heapwitness.findings.model import Finding, Frame, Kind
from heapwitness.findings.stacks import telling_stack
from heapwitness.findings.words import main_of
from heapwitness.report.frames import named

_WRITTEN: dict[Kind, Kind] = {"use-after-free-read": "use-after-free-write"}
_READ: dict[Kind, Kind] = {"use-after-free-write": "use-after-free-read"}


def alike(finding: Finding) -> tuple[Hashable, ...]:
    """What `same` gives for findings that it may be told with: a read goes with a write of its line that was there
    before, but a write is never told as a read."""
    if finding.store is None or finding.access != "read":
        return (same(finding),)
    kind = _WRITTEN.get(finding.kind, finding.kind)
    return (same(finding), same(msgspec.structs.replace(finding, kind=kind, access="write")))


def as_reading(finding: Finding) -> Hashable:
    """What `same` gives for a read of the line that a finding's store is of; None where it is none."""
    if finding.store is None or finding.access != "write":
        return None
    kind = _READ.get(finding.kind, finding.kind)
    return same(msgspec.structs.replace(finding, kind=kind, access="read"))


def same(finding: Finding) -> Hashable:
    """Equal for findings that are told as one, in whatever process and at whatever address they were."""
    known, stack = telling_stack(finding)
    store = named(finding.store.stack) if finding.store is not None else None
    access = None if store is None else (finding.access, _caller(finding, store) or _line(store))
    return (finding.kind, known, tuple(map(_place, stack)), access, families(finding))


def families(finding: Finding) -> Hashable:
    """By what a block was allocated and by what it was released, which tells wrong pairs of one line apart."""
    block = finding.culprit
    if finding.kind != "mismatched-free" or block is None:
        return None
    return (block.origin, block.domain, finding.released_with)


def _caller(finding: Finding, store: Frame) -> Hashable:
    """Of code in no file in a thread without Python, as of Numba's prange: the line that the main thread was in, as it
    is by the line that called it elsewhere. Empty for other code, and where that is not known."""
    made = store.language == "c" and store.module is None and store.file is None
    return main_of(finding.detail) if made else ""


def _place(frame: Frame) -> Hashable:
    if frame.language == "python":
        return (frame.file, frame.function, frame.line)
    at = frame.pc if frame.offset is None else frame.offset
    return (frame.module, at, frame.function, frame.line)


def _line(frame: Frame) -> Hashable:
    return _place(frame) if frame.line is None else (frame.module, frame.file, frame.function, frame.line)
