"""What made a damage, told from where it begins and ends, and from what the bytes look like."""

import msgspec

from heapwitness.findings.model import Kind
from heapwitness.findings.words import be, count
from heapwitness.liteos.diagnose.evidence import HeaderEvidence
from heapwitness.liteos.diagnose.spot import HeaderRun, HeaderSpot
from heapwitness.liteos.heap.walk import WalkedNode

_TAIL = 8
_NEAR = 16


class RunVerdict(msgspec.Struct, frozen=True):
    """A run's kind, the node of the block that overran (None: nobody did), the node that was hit.

    `suspect` ends closest before damage that does not touch it. `details` are sentences.
    """

    kind: Kind
    victim: WalkedNode
    culprit: WalkedNode | None = None
    suspect: WalkedNode | None = None
    details: tuple[str, ...] = ()


def judge(evidence: HeaderEvidence, run: HeaderRun) -> RunVerdict:
    """The kind of one run of damage.

    It is an overflow when it begins where a block ends, and an underflow when it ends where a block
    begins. Two exceptions are no contact: a fill of exactly one copy of a header, from its first byte
    to its last, unless the block beside it is filled likewise (no block has a header's size by
    chance), and a single bit of the last byte before a payload (where the flags lie).
    """
    first, last = run.spots[0], run.spots[-1]
    place = evidence.nodes[evidence.index[first.place]]
    before = _before(evidence, place)
    aimed = _is_aimed(evidence, run, before)
    skipped = run.start - place.address
    owner = _owner(evidence, run)
    if before is not None and first.copy == "backup" and skipped < 4 and not aimed:
        return RunVerdict(
            "heap-buffer-overflow", place, before, details=_overflow_details(evidence, run, before, skipped)
        )
    ending = evidence.nodes[evidence.index[last.place]]
    if _begins_at(evidence, ending, run) and not aimed and not _is_single_bit(run):
        details: tuple[str, ...] = ()
        if evidence.registers.touched(first, run.start):
            details = ("The link registers before the damage, which nothing vouches for, may be hit, too.",)
        return RunVerdict("heap-buffer-underflow", ending, ending, details=details)
    suspect = before if before is not None and first.copy == "backup" and skipped < _NEAR and not aimed else None
    return RunVerdict("header-overwrite", owner, suspect=suspect, details=_wild_details(evidence, run, before, aimed))


def _before(evidence: HeaderEvidence, place: WalkedNode) -> WalkedNode | None:
    """The node whose payload ends where another starts; None before the first node, or where nodes are lost."""
    number = evidence.index[place.address]
    if number == 0:
        return None
    before = evidence.nodes[number - 1]
    return before if before.exact else None


def _owner(evidence: HeaderEvidence, run: HeaderRun) -> WalkedNode:
    """The node that a wild write hit: the one whose own header it reached, else the one whose backup it did."""
    spot = next((spot for spot in run.spots if spot.copy == "header"), run.spots[0])
    return evidence.nodes[evidence.index[spot.owner]]


def _is_aimed(evidence: HeaderEvidence, run: HeaderRun, before: WalkedNode | None) -> bool:
    spot = run.spots[0]
    if len(run.spots) != 1 or spot.fill is None or (run.start, run.stop) != (spot.address, spot.stop):
        return False
    if spot.fill == 0:
        return True  # zero bytes beside it say nothing: most memory is zero
    beside = _bytes_before(evidence, spot) if spot.copy == "backup" else _bytes_behind(evidence, spot)
    return beside != bytes([spot.fill]) * _TAIL


def _bytes_before(evidence: HeaderEvidence, spot: HeaderSpot) -> bytes:
    at = spot.address - evidence.view.address
    return evidence.view.data[max(at - _TAIL, 0) : at]


def _bytes_behind(evidence: HeaderEvidence, spot: HeaderSpot) -> bytes:
    at = spot.stop - evidence.view.address
    return evidence.view.data[at : at + _TAIL]


def _begins_at(evidence: HeaderEvidence, node: WalkedNode, run: HeaderRun) -> bool:
    """Whether a run ends exactly where the payload of a used node begins."""
    header = evidence.header(node)
    if header is None or not header.used or header.aligned or node.address == evidence.walk.end.address:
        return False
    return run.certain == node.address + evidence.view.layout.node_size


def _is_single_bit(run: HeaderRun) -> bool:
    if len(run.spots) != 1 or run.certain - run.start != 1:
        return False
    spot = run.spots[0]
    at = run.start - spot.address
    return bool(spot.known[at]) and (spot.actual[at] ^ spot.expected[at]).bit_count() == 1


def _overflow_details(evidence: HeaderEvidence, run: HeaderRun, before: WalkedNode, skipped: int) -> tuple[str, ...]:
    details: list[str] = []
    header = evidence.header(before)
    if header is not None and not header.used:
        details.append("The block is free: it was freed after it had been overrun, or overrun after it was freed.")
    if skipped:
        details.append(f"The first {count(skipped, 'byte')} behind the block {be(skipped)} as before.")
    if run.stop > run.certain:
        details.append(
            f"{count(run.certain - run.start, 'byte')} are vouched for; the {run.stop - run.certain} behind them "
            "continue what was written, in the payload of the block that was hit."
        )
    elif not run.exact:
        details.append("It may go on into the payload of the block that was hit: nothing vouches for those bytes.")
    return tuple(details)


def _wild_details(evidence: HeaderEvidence, run: HeaderRun, before: WalkedNode | None, aimed: bool) -> tuple[str, ...]:
    details: list[str] = []
    length = run.stop - run.start
    if aimed:
        spot = run.spots[0]
        details.append(f"One whole copy of a header and nothing else is filled with {spot.fill:#04x}.")
        if spot.copy == "backup" and before is not None:
            payload = before.address + evidence.view.layout.node_size
            details.append(f"An overflow of the block at {payload:#x} by exactly {length} bytes would look the same.")
    elif _is_single_bit(run):
        details.append("A single bit differs.")
    return tuple(details)
