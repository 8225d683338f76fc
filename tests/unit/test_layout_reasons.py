"""What an event says by itself, in the words of a report."""

import pytest

from heapwitness.findings.model import Detected, Frame, Kind
from heapwitness.layout.events import Event, Reason, Type, When
from heapwitness.layout.reasons import detection_of, is_release, kind_of

KINDS: dict[Reason, Kind] = {
    Reason.DAMAGE: "header-overwrite",
    Reason.SLACK: "heap-buffer-overflow",
    Reason.LINKS: "use-after-free-write",
    Reason.POISON: "use-after-free-write",
    Reason.CONTROL: "header-overwrite",
    Reason.DOUBLE: "double-free",
    Reason.INVALID: "invalid-free",
    Reason.MISMATCH: "mismatched-free",
}


@pytest.mark.parametrize(("reason", "kind"), KINDS.items())
def test_reason_of_an_engine_is_a_kind_of_finding(reason: Reason, kind: Kind) -> None:
    assert kind_of(reason) == kind


def test_only_wrong_releases_are_told_as_such() -> None:
    assert [one.name for one in Reason if is_release(one)] == ["DOUBLE", "INVALID", "MISMATCH"]


@pytest.mark.parametrize("when", When)
def test_detection_says_the_occasion_the_thread_and_its_stack(when: When) -> None:
    event = Event(type=Type.FINDING, pid=5, tid=6, thread="worker", when=when, frames=(16, 32))

    detected = detection_of(event)

    assert detected.when == when.name.lower()
    assert (detected.pid, detected.thread, detected.thread_name) == (5, 6, "worker")
    assert [frame.pc for frame in detected.stack] == [16, 32]


def test_crash_is_detected_as_one_whatever_its_event_says() -> None:
    event = Event(type=Type.CRASH, tid=6, when=When.FREE, frames=(16,))

    assert detection_of(event, "crash") == Detected(when="crash", thread=6, stack=(Frame(pc=16),))
