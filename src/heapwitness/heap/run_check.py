"""All damage in a run, found in one walk: what `hw_run_check` in `native/core/run_check.c` finds, from outside."""

from dataclasses import dataclass
from itertools import takewhile

from heapwitness.heap.area import PoolNode
from heapwitness.heap.check import Fault
from heapwitness.heap.runs import WalkedRuns
from heapwitness.layout.events import Reason
from heapwitness.layout.witness import State

_PAYLOAD = (Reason.SLACK, Reason.LINKS, Reason.POISON)


def check_run(area: WalkedRuns) -> tuple[Fault, ...]:
    """What is damaged in the run that the area was opened for, in order of address; nodes count from the area's start.

    Raises:
        Unreadable: the memory ends before the run does.
    """
    view = area.run
    control = Fault(Reason.CONTROL)
    if not view.is_described and not view.is_bound_to_copy:
        return (control,)
    found: list[Fault] = [] if view.is_described else [control]
    tally = _RunTally()
    damaged = _look(area, found, tally)
    if view.is_described and not damaged and not tally.agrees(area):
        found.append(control)
    return tuple(found)


def _look(area: WalkedRuns, found: list[Fault], tally: "_RunTally") -> bool:
    """Add what is damaged in the nodes; whether anything is."""
    end = area.end
    steps = list(takewhile(lambda step: step.offset <= end, area.walk()))
    stretch, low, damaged = 0, end, False
    for number, step in enumerate(steps):
        behind = steps[(number + 1) % len(steps)]
        sound = step.own_holds and behind.kept_holds
        wrong = payload_fault_of(area, step) if sound else Reason.NONE
        damaged = damaged or not sound or wrong is not Reason.NONE
        if not sound and not stretch:
            stretch = max(step.offset, area.first)
        if sound and stretch:
            _close(found, stretch, low, step.offset)
            stretch = 0
        if wrong is not Reason.NONE:
            found.append(Fault(wrong, step.offset, step.offset, end if step.offset == end else behind.offset))
        if sound:
            low = step.offset if step.offset != area.shift else end
            tally.add(area, step)
    if stretch:
        _close(found, stretch, low, end)
    return damaged


@dataclass(slots=True)
class _RunTally:
    """What is counted to hold against what a run counts: each free node is named once, by the head or by another."""

    used: int = 0
    owed: int = 0

    def add(self, area: WalkedRuns, step: PoolNode) -> None:
        if area.is_bound(step.offset):
            return
        if step.header.state is not State.FREE:
            self.used += 1
        else:
            self.owed += area.links(step.offset).next - (step.offset - area.shift)

    def agrees(self, area: WalkedRuns) -> bool:
        words = area.run.words
        return words is not None and self.used == words.used and self.owed + words.head == 0


def payload_fault_of(area: WalkedRuns, step: PoolNode) -> Reason:
    """What is wrong in the payload of a node whose header can be believed. Raises Unreadable."""
    node, header = step.offset, step.header
    match header.state:
        case State.END:
            tail = area.tail(node)
            return Reason.NONE if tail is None or area.read(tail[0], len(tail[1])) == tail[1] else Reason.SLACK
        case State.USED:
            start, expected = area.slack_pattern(node, header)
            known = area.is_slack_known(node, header)
            return Reason.NONE if known and area.read(start, len(expected)) == expected else Reason.SLACK
        case _:
            if not area.links_hold(node, header, area.links(node)):
                return Reason.LINKS
            poisoned = header.state is State.CACHED
            return Reason.POISON if poisoned and not area.poison_holds(node, header) else Reason.NONE


def _close(found: list[Fault], stretch: int, low: int, high: int) -> None:
    if found and found[-1].reason in _PAYLOAD and found[-1].node == low:
        # What is wrong in the payload of the node before a stretch is mostly of the same write.
        found.pop()
    found.append(Fault(Reason.DAMAGE, stretch, low, high))
