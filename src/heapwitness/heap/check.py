"""All damage in a pool, found in one walk: what `hw_check` in `native/core/walk.c` finds, from outside."""

from dataclasses import dataclass, field

from heapwitness.heap.pool import Pool
from heapwitness.heap.verify import payload_fault
from heapwitness.heap.walk import walk
from heapwitness.layout import witness
from heapwitness.layout.events import Reason
from heapwitness.layout.witness import Index

MOST = 4096


@dataclass(frozen=True, slots=True)
class Fault:
    """One place where a pool is not what it should be; offsets in granules, 0 for none.

    With reason DAMAGE `low` and `high` bound the damage as docs/format.md says under "window"; else it
    lies in `node`.
    """

    reason: Reason
    node: int = 0
    low: int = 0
    high: int = 0


@dataclass(slots=True)
class _Faults:
    found: list[Fault] = field(default_factory=list)
    open: bool = False
    """The last of them is a window that may still grow."""

    def add(self, fault: Fault) -> None:
        self.found.append(fault)
        self.open = False

    def widen(self, at: int, before: int, high: int) -> None:
        """Damage at the start of node `at` (its kept copy or its header); `before` it a node to trust."""
        last = self.found[-1] if self.found else None
        if self.open and last and at <= last.high:
            self.found[-1] = Fault(Reason.DAMAGE, last.node, last.low, max(last.high, high))
            return
        if last and last.reason is Reason.SLACK and last.node == before:
            # Slack of the node before belongs to the same overflow.
            self.found.pop()
        self.found.append(Fault(Reason.DAMAGE, at, before, high))
        self.open = True

    def covers(self, node: int) -> bool:
        return self.open and self.found[-1].low < node < self.found[-1].high


def check(pool: Pool, most: int = MOST) -> tuple[Fault, ...]:
    """What is damaged in a pool, at most `most` places of it.

    Raises:
        Unreadable: the memory ends before the pool does.
    """
    faults = _Faults()
    index = Index.unpack(pool.peek(0, witness.CONTROL))
    if pool.control != pool.copy or index.stale:
        faults.add(Fault(Reason.CONTROL))
    before = prev = end = pool.end
    first_kept_bad = False
    for node in walk(pool):
        next_ = end if node.offset == end else node.next
        if not node.kept_holds:
            if prev == end:
                first_kept_bad = True
            else:
                faults.widen(prev, before, node.offset)
        if not node.own_holds:
            faults.widen(node.offset, prev, next_)
        if not node.lost and not faults.covers(node.offset):
            wrong = payload_fault(pool, node.offset, node.header, index)
            if wrong is not Reason.NONE:
                faults.add(Fault(wrong, node.offset, node.offset, next_))
        if len(faults.found) > most:
            break
        before, prev = prev, node.offset
    if first_kept_bad:
        # It lies in the end node, behind the last node.
        faults.widen(end, before, end)
    return tuple(faults.found[:most])
