"""Where loops of trapped accesses ended: told by the engine when no more of them can come, long after their first."""

from collections.abc import Mapping

import msgspec

from heapwitness.findings.model import Finding
from heapwitness.layout.events import WentOn


def with_end(finding: Finding, ends: Mapping[tuple[int, int, int], WentOn]) -> Finding:
    """A finding with the end of the loop whose first access it tells.

    Args:
        ends: by process, block and instruction.
    """
    store, block = finding.store, finding.culprit
    if store is None or block is None or not store.stack:
        return finding
    pcs = dict.fromkeys(frame.pc for frame in (store.stack[0], *finding.detected.stack[:1]))
    found = next((end for pc in pcs if (end := ends.get((finding.detected.pid, block.address, pc)))), None)
    if found is None:
        return finding
    store = msgspec.structs.replace(store, last=found.farthest, times=max(1, min(found.times, 1 << 62)))
    return msgspec.structs.replace(finding, store=store)
