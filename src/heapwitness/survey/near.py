"""Which stretches of a heap are told node by node: those around what was found."""

from collections.abc import Iterable, Sequence

from heapwitness.findings.model import Finding

AROUND, LEAST_AROUND = 256 << 10, 32 << 10
"""Bytes on either side of what was found whose nodes are told one by one; less around each of many places."""

NEAR_LIMIT = 16
"""Places around which they are."""

WHOLE_LIMIT = 4 << 20
"""Bytes of a heap that is small enough to tell all of its nodes one by one."""

Stretches = tuple[tuple[int, int], ...]
"""Bytes from a pool's start, in order: first, and behind the last."""


def places(findings: Iterable[Finding]) -> tuple[int, ...]:
    """Addresses that a reader will look at, the first so many."""
    found: dict[int, None] = {}
    for finding in findings:
        for one in (finding.damage, finding.culprit, finding.victim):
            if one is not None:
                found.setdefault(one.address)
    return tuple(found)[:NEAR_LIMIT]


def near(base: int, size: int, looked_at: Sequence[int]) -> Stretches:
    """Stretches of a pool around places in it, merged where they meet."""
    around = max(LEAST_AROUND, 4 * AROUND // max(4, len(looked_at)))
    merged: list[tuple[int, int]] = []
    for place in sorted(one for one in looked_at if base <= one < base + size):
        start, stop = max(0, place - base - around), min(size, place - base + around)
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], stop)
        else:
            merged.append((start, stop))
    return tuple(merged)
