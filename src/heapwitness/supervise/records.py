"""Findings from a file of records, by the same path as those of a process that waits."""

import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from hashlib import blake2b
from typing import BinaryIO

from heapwitness.layout.events import BadEvent, CrashState, CrashWords, Event, Type
from heapwitness.layout.resume import read_all_events
from heapwitness.supervise.examine import CODE_LIMIT, Examined, crashed, diagnosed
from heapwitness.supervise.ledger import Ledger
from heapwitness.supervise.pointee import pointee
from heapwitness.supervise.watched import WatchedStores
from heapwitness.symbols.maps import code_lines

_HELD_LIMIT, _HELD_CHARACTERS = 4096, 64 << 20
"""Findings that wait for their outcomes, and the text of what was mapped that they hold: threads may find at once."""


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
        BadEvent: the file is no record, damaged, or cut short; after all findings that can be read in it.
        OSError: it cannot be read on; after the findings before that place.
    """
    from heapwitness.diagnose import caught, with_outcome

    held: dict[tuple[int, int], list[Recorded]] = {}
    begun: dict[int, tuple[Event, CrashWords]] = {}
    watched = WatchedStores()
    waiting = characters = 0

    def pop(thread: tuple[int, int]) -> list[Recorded]:
        nonlocal waiting, characters
        popped = held.pop(thread, [])
        waiting -= len(popped)
        characters -= sum(len(one.examined.maps) for one in popped)
        return popped

    whole = stream.tell()
    try:
        for event in read_all_events(stream):
            whole = stream.tell()
            ledger.note(event, event.pid)
            thread = (event.pid, event.tid)
            if event.crash is not None:
                if event.crash.state & CrashState.LOOKED:
                    begun.pop(event.pid, None)
                    yield _crash(event, event.crash)
                else:
                    begun[event.pid] = (event, event.crash)
                    while len(begun) > _HELD_LIMIT or sum(_size(one) for one, _ in begun.values()) > _HELD_CHARACTERS:
                        yield _crash(*begun.pop(next(iter(begun))))
            if event.type is Type.WATCHED:
                watched.take(caught(event), event.pid)
            elif event.type is Type.FINDING:
                recorded = _recorded(event)
                recorded = replace(recorded, examined=watched.told(recorded.examined, event.pid, event.ppid))
                held.setdefault(thread, []).append(recorded)
                waiting += 1
                characters += len(recorded.examined.maps)
                while waiting > _HELD_LIMIT or characters > _HELD_CHARACTERS:
                    yield from pop(next(iter(held)))
            elif event.type is Type.OUTCOME and event.outcome is not None:
                for one in pop(thread):
                    mended = tuple(with_outcome(finding, event.outcome) for finding in one.examined.findings)
                    yield replace(one, examined=replace(one.examined, findings=mended))
    except (BadEvent, OSError):
        yield from _all(held, begun)
        raise
    yield from _all(held, begun)
    if stream.seek(0, os.SEEK_END) > whole:
        raise CutShort("the file ends in the middle of a message.")


def _all(held: dict[tuple[int, int], list[Recorded]], begun: dict[int, tuple[Event, CrashWords]]) -> Iterator[Recorded]:
    for each in held.values():
        yield from each
    for crash in begun.values():
        yield _crash(*crash)


def _crash(event: Event, words: CrashWords) -> Recorded:
    from heapwitness.memory import SegmentsMemory

    maps = _code(event)
    examined = crashed(event, words, SegmentsMemory(event.memory), maps, _program(event))
    return Recorded(event._replace(memory=(), maps=None, command=None), examined)


def _size(event: Event) -> int:
    return len(event.maps or "") + sum(len(data) for _, data in event.memory)


def _code(event: Event) -> str:
    """As of a process that waits: only what names stacks, and no more of it."""
    return code_lines((event.maps or "").encode("utf-8", "surrogateescape"), CODE_LIMIT)


def _program(event: Event) -> str:
    """The same for the same command line, and short."""
    return blake2b("\0".join(event.command or ()).encode("utf-8", "surrogateescape"), digest_size=16).hexdigest()


def _recorded(event: Event) -> Recorded:
    from heapwitness.memory import SegmentsMemory

    maps, whole = _code(event), event.maps or ""
    findings = diagnosed(event, SegmentsMemory(event.memory), maps, lambda pointer: pointee(pointer, whole))
    return Recorded(event._replace(memory=(), maps=None, command=None), Examined(findings, maps, _program(event)))
