"""How far a damage goes where nothing vouches for the bytes: into padding, link registers, payload.

Beside bytes that are known to be wrong, three things tell that the ones next to them are wrong too:
all other nodes have something else there, a link register holds no return address, or the bytes go
on as the damage began.
"""

import msgspec

from heapwitness.diagnose.pattern import follow
from heapwitness.liteos.diagnose.evidence import HeaderEvidence
from heapwitness.liteos.diagnose.spot import HeaderRun, HeaderSpot
from heapwitness.liteos.diagnose.unsaved import Unsaved
from heapwitness.liteos.layout.layout import ALIGNED_FLAG
from heapwitness.memory import BufferMemory

_SEEN = 64
"""So many damaged bytes before an edge tell how the damage goes on."""


class Edges:
    """Extends the runs of one pool's damage."""

    def __init__(self, evidence: HeaderEvidence) -> None:
        self._evidence = evidence
        self._view = evidence.view
        self._unsaved = Unsaved(evidence)
        self._registers = evidence.registers
        self._memory = BufferMemory(evidence.view.address, evidence.view.data)

    def extended(self, run: HeaderRun) -> HeaderRun:
        """The run with what belongs to it before its first and behind its last byte that is known to be wrong."""
        first, last = run.spots[0], run.spots[-1]
        start = self._start(first, run.start)
        certain = self._stop(last, run.stop)
        run = msgspec.structs.replace(run, start=start, certain=certain, stop=certain)
        place = self._evidence.nodes[self._evidence.index[last.place]]
        payload = place.address + self._view.layout.node_size
        is_end = place.address == self._evidence.walk.end.address
        if certain != payload or is_end:
            room = _unknown_after(last, certain)
            reach = follow(self._memory, certain, self._seen(run), room) if room else None
            return run if reach is None else msgspec.structs.replace(run, stop=min(reach, certain + room))
        reach = follow(self._memory, certain, self._seen(run), place.address + place.size - payload)
        if reach is None:
            # No pattern; but an aligned block's gap word may tell how far it went at least.
            return msgspec.structs.replace(run, stop=self._gap_word_stop(last, certain), exact=False)
        return msgspec.structs.replace(run, stop=reach)

    def _start(self, spot: HeaderSpot, address: int) -> int:
        first = self._first_unlike_others(spot, address)
        return min(first, self._registers.first_wrong(spot, address)) if spot.copy == "header" else first

    def _stop(self, spot: HeaderSpot, address: int) -> int:
        address = self._last_unlike_others(spot, address)
        return self._registers.last_wrong(spot, address) if spot.copy == "header" else address

    def _first_unlike_others(self, spot: HeaderSpot, address: int) -> int:
        """The first byte of the unsaved ones right before an address that is not what all other nodes have there."""
        expected = self._expected(spot)
        at = address - spot.address
        first = at
        while at - 1 in expected:
            at -= 1
            if spot.actual[at] != expected[at]:
                first = at
        return spot.address + first

    def _last_unlike_others(self, spot: HeaderSpot, address: int) -> int:
        expected = self._expected(spot)
        at = last = address - spot.address
        while at in expected:
            at += 1
            if spot.actual[at - 1] != expected[at - 1]:
                last = at
        return spot.address + last

    def _expected(self, spot: HeaderSpot) -> dict[int, int]:
        return self._unsaved.expected(self._evidence.nodes[self._evidence.index[spot.owner]], spot)

    def _seen(self, run: HeaderRun) -> bytes:
        start = max(run.start, run.certain - _SEEN)
        return self._view.data[start - self._view.address : run.certain - self._view.address]

    def _gap_word_stop(self, spot: HeaderSpot, payload: int) -> int:
        place = self._evidence.nodes[self._evidence.index[spot.place]]
        header = self._evidence.header(place)
        if header is None or not header.aligned or not header.gap_size:
            return payload
        at = payload + header.gap_size - 4 - self._view.address
        expected = (header.gap_size | ALIGNED_FLAG).to_bytes(4, "little")
        actual = self._view.data[at : at + 4]
        wrong = [number for number, (one, other) in enumerate(zip(actual, expected, strict=False)) if one != other]
        return self._view.address + at + wrong[-1] + 1 if wrong else payload


def _unknown_after(spot: HeaderSpot, address: int) -> int:
    """How many bytes from an address on, within a copy, nothing vouches for."""
    at = address - spot.address
    known = spot.known.find(1, at)
    return (len(spot.known) if known < 0 else known) - at if at < len(spot.known) else 0
