"""Runs of damage as a report shows them: extents, expected and actual bytes, and the bytes around."""

from collections.abc import Sequence

from heapwitness.findings.model import Copy, Damage, Stretch
from heapwitness.liteos.diagnose.evidence import HeaderEvidence
from heapwitness.liteos.diagnose.spot import HeaderRun, HeaderSpot

SHOWN = 256
"""Bytes of an extent that a report holds, at most."""

_AROUND = 8
_UNKNOWN = ".."


def damage_of_run(evidence: HeaderEvidence, run: HeaderRun, origin: int | None) -> Damage:
    """One run; its offset counts from the address `origin`."""
    return _damage(evidence, run.start, run.stop, run.spots, run.exact, origin)


def damage_of_runs(evidence: HeaderEvidence, runs: Sequence[HeaderRun]) -> Damage:
    """Several runs as one damage that spans them."""
    spots = tuple(spot for run in runs for spot in run.spots)
    return _damage(evidence, runs[0].start, runs[-1].stop, spots, all(run.exact for run in runs), None)


def _damage(
    evidence: HeaderEvidence, start: int, stop: int, spots: Sequence[HeaderSpot], exact: bool, origin: int | None
) -> Damage:
    view = evidence.view
    shown = min(stop - start, SHOWN)
    actual = view.data[start - view.address : start - view.address + shown]
    copies: list[Copy] = [spot.copy for spot in spots]
    if stop > spots[-1].stop:
        copies.append("payload")
    around = _spots_around(evidence, start, stop)
    return Damage(
        address=start,
        length=stop - start,
        offset=None if origin is None else start - origin,
        expected=expected_bytes(around, start, len(actual)),
        actual=actual.hex(),
        shown=len(actual),
        copies=tuple(dict.fromkeys(copies)),
        exact=exact,
        picture=_picture(evidence, around, start, stop),
    )


def _spots_around(evidence: HeaderEvidence, start: int, stop: int) -> list[HeaderSpot]:
    """Every copy near an extent, hit or not, in order of address."""
    first = _place_at(evidence, start)
    last = _place_at(evidence, min(stop, start + SHOWN))
    places = {node.address for node in evidence.nodes[max(first - 1, 0) : last + 2]}
    found: dict[int, HeaderSpot] = {}
    for number in range(max(first - 1, 0), min(last + 3, len(evidence.nodes))):
        for spot in evidence.spots(evidence.nodes[number]):
            if spot.place in places:
                found[spot.address] = spot
    if evidence.walk.end.address in places:
        for spot in evidence.spots(evidence.nodes[0]):
            found[spot.address] = spot
    return [found[address] for address in sorted(found)]


def _place_at(evidence: HeaderEvidence, address: int) -> int:
    """Number of the node that an address lies in."""
    low, high = 0, len(evidence.nodes)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if evidence.nodes[middle].address <= address else (low, middle)
    return low


def expected_bytes(spots: Sequence[HeaderSpot], start: int, length: int) -> str:
    """What bytes should be, in hexadecimal; ".." for those that nothing vouches for."""
    text = [_UNKNOWN] * length
    for spot in spots:
        for at in range(max(start, spot.address), min(start + length, spot.stop)):
            if spot.known[at - spot.address]:
                text[at - start] = f"{spot.expected[at - spot.address]:02x}"
    return "".join(text)


def _picture(evidence: HeaderEvidence, spots: Sequence[HeaderSpot], start: int, stop: int) -> tuple[Stretch, ...]:
    """Stretches from a little before the damage to a little behind it; copies whole, long payload cut short."""
    view = evidence.view
    low, high = start - _AROUND, min(stop, start + SHOWN) + _AROUND
    stretches: list[Stretch] = []
    at = max(low, view.address)
    for spot in spots:
        if spot.stop <= start - 1 or spot.address >= high:
            continue
        if spot.address > at:
            stretches.append(_payload(evidence, at, spot.address))
        node = spot.owner + view.layout.node_size
        stretches.append(
            Stretch(
                copy=spot.copy,
                address=spot.address,
                expected=expected_bytes([spot], spot.address, len(spot.actual)),
                actual=spot.actual.hex(),
                block=node,
            )
        )
        at = spot.stop
    end = min(high, view.address + len(view.data))
    if at < end:
        stretches.append(_payload(evidence, at, end))
    return tuple(stretches)


def _payload(evidence: HeaderEvidence, start: int, stop: int) -> Stretch:
    view = evidence.view
    shown = min(stop - start, SHOWN)
    actual = view.data[start - view.address : start - view.address + shown]
    return Stretch(
        copy="payload",
        address=start,
        expected=_UNKNOWN * len(actual),
        actual=actual.hex(),
        missing=stop - start - len(actual),
    )
