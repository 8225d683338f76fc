"""What an event says by itself, in the words of a report: of what kind its reason is, and how it was detected."""

from heapwitness.findings import model
from heapwitness.findings.detection import detection
from heapwitness.findings.model import RELEASES, Detected, Kind
from heapwitness.layout.events import Event, Reason, When

_KINDS: dict[Reason, Kind] = {
    Reason.SLACK: "heap-buffer-overflow",
    Reason.LINKS: "use-after-free-write",
    Reason.POISON: "use-after-free-write",
    Reason.DOUBLE: "double-free",
    Reason.INVALID: "invalid-free",
    Reason.MISMATCH: "mismatched-free",
}
_OCCASIONS: dict[When, model.When] = {
    When.MALLOC: "malloc",
    When.FREE: "free",
    When.REALLOC: "realloc",
    When.CHECK: "check",
    When.EXIT: "exit",
    When.TRAP: "trap",
    When.CRASH: "crash",
}


def kind_of(reason: Reason) -> Kind:
    """The kind of a finding of which the engine's reason is all that is known."""
    return _KINDS.get(reason, "header-overwrite")


def is_release(reason: Reason) -> bool:
    """Whether it is a wrong release, and no damage."""
    return kind_of(reason) in RELEASES


def detection_of(event: Event, when: model.When | None = None) -> Detected:
    """An event's detection, with a stack of bare addresses.

    Args:
        when: the occasion, where it does not depend on what the event says of it.
    """
    occasion = when or _OCCASIONS[event.when]
    return detection(occasion, thread=event.tid, thread_name=event.thread, pid=event.pid, pcs=event.frames)
