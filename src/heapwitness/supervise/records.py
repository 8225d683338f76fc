"""Findings from a file of records, by the same path as those of a process that waits."""

import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import BinaryIO

from heapwitness.layout.events import BadEvent, Event, Type, read_events
from heapwitness.supervise.examine import Examined, diagnosed
from heapwitness.supervise.ledger import Ledger

_HELD_LIMIT = 64


class CutShort(BadEvent):
    """The last message is not all there, as when the program was killed while it wrote."""


@dataclass(frozen=True, slots=True)
class Recorded:
    """A finding's event without its memory, and what it means."""

    event: Event
    examined: Examined


def read_records(stream: BinaryIO, ledger: Ledger) -> Iterator[Recorded]:
    """The findings of a file of records, each with its outcome where the file has one.

    One finding's memory is held at a time.

    Args:
        stream: at the start of a message.
        ledger: takes down what the file says of processes.

    Raises:
        BadEvent: the file is no record, damaged, or cut short; after the findings before that place.
    """
    from heapwitness.diagnose import with_outcome

    held: dict[tuple[int, int], list[Recorded]] = {}
    whole = stream.tell()
    try:
        for event in read_events(stream):
            whole = stream.tell()
            ledger.note(event, event.pid)
            thread = (event.pid, event.tid)
            if event.type is Type.FINDING:
                held.setdefault(thread, []).append(_recorded(event))
                if sum(map(len, held.values())) > _HELD_LIMIT:
                    yield from held.pop(next(iter(held)))
            elif event.type is Type.OUTCOME and event.outcome is not None:
                for one in held.pop(thread, ()):
                    mended = tuple(with_outcome(finding, event.outcome) for finding in one.examined.findings)
                    yield replace(one, examined=replace(one.examined, findings=mended))
    except BadEvent:
        yield from _all(held)
        raise
    yield from _all(held)
    if stream.seek(0, os.SEEK_END) > whole:
        raise CutShort("the file ends in the middle of a message.")


def _all(held: dict[tuple[int, int], list[Recorded]]) -> Iterator[Recorded]:
    for waiting in held.values():
        yield from waiting


def _recorded(event: Event) -> Recorded:
    from heapwitness.memory import SegmentsMemory

    findings = diagnosed(event, SegmentsMemory(event.memory), event.maps or "")
    program = " ".join(event.command or ())
    return Recorded(replace(event, memory=(), maps=None), Examined(findings, event.maps or "", program))
