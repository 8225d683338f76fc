"""Whatever a program sends or leaves in a log, the session answers or passes over it, and goes on."""

import os
import struct
import sys
import tempfile
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parents[1] / "unit"))

from engine_messages import EXIT, FINDING, HELLO, OUTCOME, message, outcome, section, stats

from heapwitness.findings.model import Crash, Finding
from heapwitness.supervise.channel import Peer
from heapwitness.supervise.session import Session

ME = Peer(os.getpid(), os.getuid())
WORDS = st.integers(0, 2**64 - 1)


class Nowhere:
    """Shows nothing."""

    def finding(self, finding: Finding) -> None:
        pass

    def crash(self, crash: Crash) -> None:
        pass

    def sentence(self, text: str) -> None:
        pass


sections = st.builds(section, st.integers(0, 9), st.binary(max_size=200), WORDS)
messages = st.builds(
    lambda kind, parts, reason, pool, pointer, node, frames: message(
        kind, *parts, reason=reason, pool=pool, pointer=pointer, node=node, frames=tuple(frames)
    ),
    st.sampled_from([HELLO, FINDING, EXIT, OUTCOME]),
    st.lists(sections, max_size=4),
    st.integers(0, 9),
    WORDS,
    WORDS,
    st.integers(0, 2**32 - 1),
    st.lists(WORDS, max_size=8),
)


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """A message with some of its bytes overwritten, cut or made longer; its length word may still be right."""
    data = bytearray(draw(messages))
    for _ in range(draw(st.integers(0, 4))):
        data[draw(st.integers(0, len(data) - 1))] = draw(st.integers(0, 255))
    data = data[: draw(st.integers(0, len(data)))] if draw(st.booleans()) else data
    data += draw(st.binary(max_size=16))
    if draw(st.booleans()) and len(data) >= 12:
        struct.pack_into("<I", data, 8, len(data))
    return bytes(data)


anything = st.one_of(messages, damaged(), st.binary(max_size=400))
LIMITS = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@LIMITS
@given(st.lists(anything, max_size=12))
def test_no_message_stops_the_session(sent: list[bytes]) -> None:
    session = Session("continue", Nowhere())

    answers = {session.message(ME, one) for one in sent}
    session.take_records(Path("/nonexistent"), 0)
    report = session.end(("program",), 1, 0).report()

    assert answers <= {None, b"g"}
    assert report.summary.findings >= len(report.findings)


@LIMITS
@given(st.lists(anything, max_size=8), st.binary(max_size=64))
def test_no_log_stops_the_session(recorded: list[bytes], rest: bytes) -> None:
    session = Session("continue", Nowhere())
    with tempfile.TemporaryDirectory() as directory:
        log = Path(directory) / "log"
        log.write_bytes(message(HELLO) + b"".join(recorded) + rest)
        session.take_records(log, 0)

    assert session.end(("program",), 1, 0).report().summary.processes >= 1


def test_ordinary_messages_are_what_the_laws_above_are_about() -> None:
    session = Session("continue", Nowhere())

    for one in (message(HELLO), message(FINDING, reason=1), message(OUTCOME, outcome()), message(EXIT, stats())):
        session.message(ME, one)
    session.take_records(Path("/nonexistent"), 0)

    assert session.end(("program",), 1, 0).report().summary.findings == 1
