"""Where a Python object has its count of references, and what is told of an object that was released once too often."""

from collections.abc import Hashable

from heapwitness.findings.model import Finding

HEADS = (16, 32)
"""Bytes before an object in its block that the collector knows: its own, or with those of its dictionary."""

_COUNT = 8
_USES = ("use-after-free-write", "use-after-free-read")


def is_count(finding: Finding) -> bool:
    """Whether what was written into a released object, or touched in it, is where it has its count of references."""
    return finding.culprit is not None and finding.culprit.domain == "PyObject_Malloc" and is_at_count(finding)


def is_at_count(finding: Finding) -> bool:
    """Whether what was written into a released block of a Python program, or touched in it, is where an object that lay
    there would have its count of references."""
    damage, store, block = finding.damage, finding.store, finding.culprit
    if finding.kind not in _USES or block is None or block.domain is None:
        return False
    if store is not None:
        start = store.start if store.start is not None else store.address
        return start - block.address in (0, *HEADS) and 0 < store.size <= _COUNT
    return damage is not None and damage.length <= _COUNT and damage.offset in (0, *HEADS)


def object_used(finding: Finding) -> Hashable:
    """The released object that is used, or released again: both follow from the same reference too few. Another block
    may have been in its place since. None for all else."""
    block = finding.culprit
    again = finding.kind == "double-free" and finding.released_with == "PyObject_Free"
    if block is None or not (again or finding.kind in _USES):
        return None
    if block.domain != "PyObject_Malloc" and not any(one.type is not None for one in block.before):
        return None
    released = block.freed.stack if block.freed is not None else ()
    return (finding.detected.pid, block.address, tuple(frame.pc for frame in released))
