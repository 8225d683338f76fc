"""Whatever arrives, it is an event or a BadEvent."""

import contextlib
import io

from hypothesis import given
from hypothesis import strategies as st
from support.heaps import message, section

from heapwitness.layout.decode import parse_event, read_events
from heapwitness.layout.events import BadEvent, Event, Reason, Type, Window
from heapwitness.layout.witness import Domain


def _finding(
    reason: Reason,
    pid: int,
    pool: int,
    thread: str,
    windows: tuple[Window, ...],
    frames: tuple[int, ...],
    where: Domain,
) -> Event:
    return Event(
        type=Type.FINDING,
        reason=reason,
        pid=pid,
        pool=pool,
        thread=thread,
        windows=windows,
        frames=frames,
        domain=where,
    )


_events = st.builds(
    _finding,
    where=st.sampled_from(Domain),
    reason=st.sampled_from([reason for reason in Reason if reason]),
    pid=st.integers(0, 2**32 - 1),
    pool=st.integers(0, 2**64 - 1),
    thread=st.text(st.characters(min_codepoint=1, max_codepoint=127), max_size=15),
    windows=st.lists(st.builds(Window, st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1)), max_size=5).map(tuple),
    frames=st.lists(st.integers(0, 2**64 - 1), max_size=5).map(tuple),
)
_sections = st.lists(st.builds(section, st.integers(0, 8), st.binary(max_size=80)), max_size=3).map(b"".join)


@given(_events)
def test_an_event_survives_the_way(event: Event) -> None:
    assert parse_event(message(event)) == event


@given(st.binary(max_size=400))
def test_any_bytes_are_an_event_or_a_bad_one(data: bytes) -> None:
    with contextlib.suppress(BadEvent):
        parse_event(data)


@given(_events, _sections, st.data())
def test_a_changed_or_truncated_event_is_an_event_or_a_bad_one(
    event: Event, sections: bytes, data: st.DataObject
) -> None:
    changed = bytearray(message(event, sections))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(changed) - 1))
        changed[at] = data.draw(st.integers(0, 255))
    cut = bytes(changed[: data.draw(st.integers(0, len(changed)))])
    for one in (bytes(changed), cut):
        with contextlib.suppress(BadEvent):
            parse_event(one)
    with contextlib.suppress(BadEvent):
        assert len(list(read_events(io.BytesIO(bytes(changed) + cut)))) <= 2
