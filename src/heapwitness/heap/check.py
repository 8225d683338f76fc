"""All damage in a pool, found in one walk: what `hw_check` in `native/core/check.c` finds, from outside."""

from dataclasses import dataclass, field

from heapwitness.heap.area import PoolNode
from heapwitness.heap.pool import SeenPool
from heapwitness.heap.verify import payload_fault
from heapwitness.heap.walk import walk
from heapwitness.layout import witness
from heapwitness.layout.events import Reason
from heapwitness.layout.witness import Index, State

MOST = 4096
_PAYLOAD = (Reason.SLACK, Reason.LINKS, Reason.POISON)


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


def check(pool: SeenPool, most: int = MOST) -> tuple[Fault, ...]:
    """What is damaged in a pool, in order of address, at most `most` places of it.

    The control block's fixed part comes first; what is derived from the nodes comes last, and only
    where no other fault accounts for it.

    Raises:
        Unreadable: the memory ends before the pool does.
    """
    fixed_is_right = pool.control == pool.copy
    found = [] if fixed_is_right else [Fault(Reason.CONTROL)]
    tally = _Tally(pool, Index.unpack(pool.peek(0, witness.CONTROL)))
    stretch_start, low = 0, pool.end
    first_kept = True
    steps = walk(pool)
    following: PoolNode | None = next(steps)
    while following is not None:
        node, following = following, next(steps, None)
        if node.offset == pool.first:
            first_kept = node.kept_holds
        behind = following.offset if following is not None else pool.end
        sound = node.own_holds and (following.kept_holds if following is not None else first_kept)
        if not sound and not stretch_start:
            stretch_start = node.offset
        if not sound:
            high = behind
        if stretch_start and (sound or following is None):
            if found and found[-1].reason in _PAYLOAD and found[-1].node == low:
                # What is wrong in the payload of the node before a stretch is mostly of the same write.
                found.pop()
            found.append(Fault(Reason.DAMAGE, stretch_start, low, high))
            stretch_start = 0
        wrong = Reason.NONE
        if sound:
            wrong = payload_fault(pool, node.offset, node.header, stale=tally.index.stale)
            if wrong is not Reason.NONE:
                found.append(Fault(wrong, node.offset, node.offset, behind))
            low = node.offset
        tally.add(node, not sound or wrong is not Reason.NONE)
        if len(found) > most:
            break
    else:
        if fixed_is_right and not tally.agrees():
            found.append(Fault(Reason.CONTROL))
    return tuple(found[:most])


@dataclass(slots=True)
class _Tally:
    """What a walk has seen, to hold against the derived part of the control block."""

    pool: SeenPool
    index: Index
    nodes: int = 0
    used: int = 0
    damaged: bool = False
    lost: bool = False
    rootless: bool = False
    met: set[int] = field(default_factory=set)

    def add(self, node: PoolNode, damaged: bool) -> None:
        self.damaged |= damaged
        if node.offset == self.pool.end:
            return
        self.nodes += 1
        self.used += node.header.state is not State.FREE
        if node.lost:
            self.lost = True
            self.met.update(number for number, root in enumerate(self.index.roots) if node.offset <= root < node.next)
        elif node.header.state is State.FREE:
            number = min(node.header.size - self.pool.min_node, witness.BINS)
            is_root = self.index.roots[number] == node.offset
            links = self.pool.links(node.offset)
            if is_root and (links.parent == 0 or not self.pool.links_hold(node.offset, links)):
                self.met.add(number)
            elif not is_root and links.parent == 0 and self.pool.links_hold(node.offset, links):
                self.rootless = True

    def agrees(self) -> bool:
        """Whether the derived part fits the nodes. While the index is stale, which the damage that
        stopped an operation accounts for, its roots say nothing."""
        index = self.index
        if index.flags & ~witness.FLAG_STALE or any(index.reserved):
            return False
        if not self.lost and (index.nodes, index.used) != (self.nodes, self.used):
            return False
        if index.stale:
            return self.damaged
        for number, root in enumerate(index.roots):
            if root and number not in self.met:
                return False
            if number < witness.BINS and bool(root) != bool(index.bitmap >> number & 1):
                return False
        return not self.rootless
