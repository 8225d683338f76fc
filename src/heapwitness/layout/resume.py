"""Records with bytes between their events that are none: what a process leaves that was ended while it wrote, a disk
that was full for a while, or a program that wrote there. What comes behind them is read all the same."""

import os
from collections.abc import Iterator
from typing import BinaryIO

from heapwitness.findings.words import count
from heapwitness.layout.decode import HEAD, parse_event, read_events
from heapwitness.layout.events import EVENT_WORDS, MAGIC, MESSAGE_LIMIT, VERSION, BadEvent, Event

SEARCH_LIMIT = 256 << 20
"""Bytes of a record that are looked at for events behind such bytes: who made it may have put heads everywhere."""

_CHUNK = 64 << 10
_MAGIC = MAGIC.to_bytes(4, "little")


class PassedOver(BadEvent):
    """Bytes in the middle are no events, and what they told of is not known."""

    def __init__(self, passed: int) -> None:
        what = "are no record and were passed over; what they told of is missing."
        super().__init__(f"{count(passed, 'byte')} in it {what}")


def read_all_events(stream: BinaryIO) -> Iterator[Event]:
    """The events of a record, one after the other; ends at the last one if it is cut short.

    Args:
        stream: where the first one begins; nobody else moves it.

    Raises:
        PassedOver: bytes before the last event are none; after all events.
        BadEvent: what is behind the last event is none, nor the beginning of one; the same.
    """
    at = stream.tell()
    size = stream.seek(0, os.SEEK_END)
    passed, left = 0, SEARCH_LIMIT
    while True:
        stream.seek(at)
        trouble: BadEvent | None = None
        try:
            for event in read_events(stream):
                at = stream.tell()
                yield event
        except BadEvent as error:
            trouble = error
        next_one, left = _next(stream, at + 1, size, left) if at < size else (None, left)
        if next_one is None:
            break
        passed += next_one - at
        at = next_one
    if passed:
        raise PassedOver(passed + max(0, size - at))
    if trouble is not None:
        raise trouble


def _next(stream: BinaryIO, at: int, size: int, left: int) -> tuple[int | None, int]:
    """Where the next whole event begins, from `at` on, and how many bytes may still be looked at."""
    while left > 0 and at + EVENT_WORDS.size <= size:
        stream.seek(at)
        chunk = stream.read(_CHUNK)
        left -= len(chunk)
        found = chunk.find(_MAGIC)
        if found < 0:
            at += max(1, len(chunk) - len(_MAGIC) + 1)
            continue
        at += found
        stream.seek(at)
        head = stream.read(HEAD.size)
        if len(head) == HEAD.size:
            _, version, _, length = HEAD.unpack(head)
            if version == VERSION and EVENT_WORDS.size <= length <= min(MESSAGE_LIMIT, size - at):
                left -= length
                if _is_event(head + stream.read(length - HEAD.size)):
                    return at, left
        at += 1
    return None, left


def _is_event(message: bytes) -> bool:
    try:
        parse_event(message)
    except BadEvent:
        return False
    return True
