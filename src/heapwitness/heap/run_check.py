"""All damage in a run, found in one walk: what `hw_run_check` in `native/core/run_check.c` finds, from outside."""

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
    view, end, first = area.run, area.end, area.first
    if not view.is_described:
        return (Fault(Reason.CONTROL),)
    steps = list(takewhile(lambda step: step.offset <= end, area.walk()))
    found: list[Fault] = []
    stretch, low, used, damaged = 0, end, 0, False
    for number, step in enumerate(steps):
        behind = steps[(number + 1) % len(steps)]
        sound = step.own_holds and behind.kept_holds
        wrong = payload_fault_of(area, step) if sound else Reason.NONE
        damaged = damaged or not sound or wrong is not Reason.NONE
        if not sound and not stretch:
            stretch = max(step.offset, first)
        if sound and stretch:
            _close(found, stretch, low, step.offset)
            stretch = 0
        if sound:
            if wrong is not Reason.NONE:
                found.append(
                    Fault(wrong, step.offset, step.offset, step.offset if step.offset == end else behind.offset)
                )
            low = step.offset if step.offset != area.shift else end
        is_block = not area.is_bound(step.offset) and not step.lost
        used += is_block and step.header.state is not State.FREE
    if stretch:
        _close(found, stretch, low, end)
    if not damaged and not _counts(area, used):
        found.append(Fault(Reason.CONTROL))
    return tuple(found)


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


def _counts(area: WalkedRuns, used: int) -> bool:
    """Whether what is counted apart from the nodes fits them."""
    words = area.run.words
    if words is None or words.used != used:
        return False
    if not words.head:
        return used == words.formatted
    head = area.shift + words.head
    if not area.run.shape.is_node(words.head):
        return False
    own = area.own(head)
    return area.stands(head, own) and own.state is State.FREE
