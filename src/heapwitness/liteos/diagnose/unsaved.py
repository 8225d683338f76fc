"""Bytes of a header that no save copies: padding and link registers.

Nothing vouches for them. But where every intact node has the same there, a damaged one had so too,
as good as surely; and the end node's are zero from the start.
"""

from heapwitness.liteos.diagnose.evidence import HeaderEvidence
from heapwitness.liteos.diagnose.spot import HeaderSpot
from heapwitness.liteos.heap.walk import WalkedNode
from heapwitness.liteos.layout.copies import saved_mask

_LEAST = 4
_LIMIT = 4096


class Unsaved:
    """What the unsaved bytes of a pool's headers are, by what all intact nodes have in common."""

    def __init__(self, evidence: HeaderEvidence) -> None:
        self._evidence = evidence
        mask = saved_mask(evidence.view.layout)
        self._offsets = [at for at, saved in enumerate(mask) if not saved]
        self._common: dict[tuple[str, bool], dict[int, int]] = {}

    def expected(self, node: WalkedNode, spot: HeaderSpot) -> dict[int, int]:
        """By offset in the copy, the bytes that it should have; {} where nodes differ or are too few."""
        if not self._offsets:
            return {}
        if spot.copy == "header" and node.address == self._evidence.walk.end.address:
            return dict.fromkeys(self._offsets, 0)
        header = self._evidence.header(node)
        key = spot.copy, header is not None and header.used
        if key not in self._common:
            self._common[key] = self._gather(*key)
        return self._common[key]

    def _gather(self, copy: str, used: bool) -> dict[int, int]:
        layout, view = self._evidence.view.layout, self._evidence.view
        in_node = layout.header_offset if copy == "header" else layout.backup_offset
        seen: dict[int, set[int]] = {at: set() for at in self._offsets}
        count = 0
        for node in self._evidence.walk.nodes[:_LIMIT]:
            place = node.address if copy == "header" else node.previous
            if not node.intact or node.used != used or place is None or in_node is None:
                continue
            start = place + in_node - view.address
            if start + layout.control.size > len(view.data):
                continue
            count += 1
            for at in self._offsets:
                seen[at].add(view.data[start + at])
        return {at: values.pop() for at, values in seen.items() if len(values) == 1} if count >= _LEAST else {}
