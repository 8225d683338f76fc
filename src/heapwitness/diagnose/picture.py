"""The damaged bytes and those around them, as a report shows them."""

import msgspec

from heapwitness.diagnose.blocks import Tenant
from heapwitness.diagnose.ends import may_reach_further
from heapwitness.diagnose.evidence import Evidence
from heapwitness.diagnose.extent import Extent
from heapwitness.findings.model import Copy, Damage, Kind, Stretch
from heapwitness.memory import read_up_to

SHOWN = 64
"""Bytes of an extent that a report holds, at most."""

_AROUND = 8
_PAYLOAD = 16
_STRETCHES = 8
_LAST = 3
_UNKNOWN = ".."


def damage_of(evidence: Evidence, extent: Extent, origin: int | None, culprit: Tenant | None, kind: Kind) -> Damage:
    """An extent as a report shows it; `origin` is the byte of the pool from which its offset counts."""
    pool = evidence.pool
    length = extent.stop - extent.start
    shown = min(length, SHOWN)
    actual = read_up_to(pool.memory, pool.base + extent.start, shown)
    return Damage(
        address=pool.base + extent.start,
        length=length,
        offset=None if origin is None else extent.start - origin,
        expected=_expected(evidence, extent.start, len(actual)),
        actual=_actual(evidence, extent.start, actual),
        shown=len(actual),
        copies=_copies(evidence, extent),
        exact=extent.exact and not may_reach_further(pool, extent, kind, culprit),
        picture=_picture(evidence, extent, culprit),
    )


def _actual(evidence: Evidence, start: int, data: bytes) -> str:
    """Bytes of the pool in hexadecimal; ".." for those of its key that are still there: no report gives it away."""
    key_at = evidence.pool.key_at
    return "".join(_UNKNOWN if byte == key_at(at) else f"{byte:02x}" for at, byte in enumerate(data, start))


def _expected(evidence: Evidence, start: int, length: int) -> str:
    """What bytes should be, in hexadecimal; ".." for those that nothing vouches for, and for the key."""
    text = [_UNKNOWN] * length
    for span in evidence.spans_in(start, start + length):
        for at in range(max(start, span.at), min(start + length, span.end)):
            if span.known[at - span.at] and evidence.pool.key_at(at) is None:
                text[at - start] = f"{span.expected[at - span.at]:02x}"
    return "".join(text)


def _copies(evidence: Evidence, extent: Extent) -> tuple[Copy, ...]:
    """What was hit, in order of address."""
    found: list[Copy] = []
    at = extent.start
    for span in evidence.spans_in(extent.start, extent.stop):
        if span.at > at:
            found.append("payload")
        wrong = any(
            not known or have != want
            for number, (have, want, known) in enumerate(
                zip(span.actual, span.expected, span.known, strict=True), span.at
            )
            if extent.start <= number < extent.stop
        )
        if wrong:
            found.append(span.copy)
        at = span.end
    if at < min(extent.stop, evidence.pool.length):
        found.append("payload")
    return tuple(dict.fromkeys(found))


def _picture(evidence: Evidence, extent: Extent, culprit: Tenant | None) -> tuple[Stretch, ...]:
    """Stretches from a little before the damage to a little behind it, the middle of a long one left out."""
    pool = evidence.pool
    low = extent.start
    if culprit is not None and 0 < low - culprit.end(pool) <= _PAYLOAD:
        low = culprit.end(pool)
    at, stop = max(0, low - _AROUND), extent.stop + _AROUND
    block = pool.payload(culprit.offset) if culprit is not None else None
    found: list[Stretch] = []
    for span in evidence.spans_in(at, stop):
        # Poison is shown as the payload that it fills.
        if span.copy == "payload":
            continue
        if span.at > at:
            found += _payload(evidence, at, span.at, block)
        block = pool.payload(span.of) if span.of else None
        found.append(_stretch(evidence, span.copy, span.at, span.end, block))
        at = span.end
    if at < stop:
        found += _payload(evidence, at, stop, block)
    if len(found) > _STRETCHES:
        head, tail = found[: _STRETCHES - _LAST], found[-_LAST:]
        gap = tail[0].address - head[-1].address - len(head[-1].actual) // 2
        found = [*head[:-1], msgspec.structs.replace(head[-1], missing=gap), *tail]
    return tuple(one for one in found if one.actual)


def _payload(evidence: Evidence, start: int, stop: int, block: int | None) -> list[Stretch]:
    if stop - start <= 2 * _PAYLOAD:
        return [_stretch(evidence, "payload", start, stop, block)]
    missing = stop - start - 2 * _PAYLOAD
    return [
        _stretch(evidence, "payload", start, start + _PAYLOAD, block, missing),
        _stretch(evidence, "payload", stop - _PAYLOAD, stop, block),
    ]


def _stretch(evidence: Evidence, copy: Copy, start: int, stop: int, block: int | None, missing: int = 0) -> Stretch:
    pool = evidence.pool
    actual = read_up_to(pool.memory, pool.base + start, stop - start)
    return Stretch(
        copy=copy,
        address=pool.base + start,
        expected=_expected(evidence, start, len(actual)),
        actual=_actual(evidence, start, actual),
        block=block,
        missing=missing,
    )
