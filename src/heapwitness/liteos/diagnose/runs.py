"""The damage of a walked pool: which bytes of which copy differ from what the other copy vouches for.

A `HeaderRun` is a stretch of damage that one write can have made: neighbouring copies of one node, or of several nodes
when the damage passes through the payload between them.
"""

from collections.abc import Sequence

from heapwitness.liteos.diagnose.edges import Edges
from heapwitness.liteos.diagnose.evidence import HeaderEvidence
from heapwitness.liteos.diagnose.spot import HeaderRun, HeaderSpot


def runs_of(evidence: HeaderEvidence) -> tuple[HeaderRun, ...]:
    """The separate damages of headers and backups, in order of address."""
    edges = Edges(evidence)
    pieces: list[HeaderRun] = []
    for node in evidence.nodes:
        if node.intact:
            continue
        for spot in evidence.spots(node):
            if not (node.own_good if spot.copy == "header" else node.backup_good):
                pieces.append(_piece(spot))
    pieces.sort(key=lambda piece: piece.start)
    joined: list[HeaderRun] = []
    for piece in pieces:
        if joined and _is_one_write(evidence, joined[-1], piece):
            last = joined.pop()
            piece = HeaderRun(last.start, piece.stop, piece.stop, True, (*last.spots, *piece.spots))
        joined.append(piece)
    return tuple(edges.extended(run) for run in joined)


def _is_one_write(evidence: HeaderEvidence, one: HeaderRun, other: HeaderRun) -> bool:
    last, first = one.spots[-1], other.spots[0]
    if last.place == first.place:
        fills = last.fill, first.fill
        if None not in fills and fills[0] != fills[1]:
            return False  # two whole copies, each filled with a value of its own
        return other.start - one.stop <= 2 * evidence.view.layout.pointer
    # Through the whole payload between two nodes: up to where it begins, and on where the next node does.
    place = evidence.index[last.place]
    payload = last.place + evidence.view.layout.node_size
    is_next = place + 1 < len(evidence.nodes) and evidence.nodes[place + 1].address == first.place
    return is_next and one.stop == payload and other.start - first.place < evidence.view.layout.pointer


def _piece(spot: HeaderSpot) -> HeaderRun:
    """The damage of one copy: its first wrong byte to its last; all of it where it is filled or nothing is known."""
    start, stop = 0, len(spot.actual)
    if spot.fill is None:
        wrong = _wrong_bytes(spot)
        if wrong:
            start, stop = wrong[0], wrong[-1] + 1
    return HeaderRun(spot.address + start, spot.address + stop, spot.address + stop, True, (spot,))


def _wrong_bytes(spot: HeaderSpot) -> Sequence[int]:
    """Offsets of bytes that something vouches for and that are otherwise."""
    triples = zip(spot.actual, spot.expected, spot.known, strict=True)
    return [at for at, (have, want, known) in enumerate(triples) if known and have != want]
