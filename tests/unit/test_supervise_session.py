"""What the events of a run mean, with messages of this very process in place of an engine's."""

import json
import os
import struct
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from engine_messages import (
    CHECKED,
    COMMAND,
    CRASH,
    CRASHED,
    DOUBLE,
    EXIT,
    FINDING,
    HELLO,
    OUTCOME,
    SLACK,
    message,
    outcome,
    section,
    stats,
)

from heapwitness.findings.model import Block, Crash, Damage, Detected, Finding, Frame, HeapMap, Report, Site
from heapwitness.layout.events import Event
from heapwitness.memory import Memory
from heapwitness.supervise import examine as examine_module
from heapwitness.supervise import heard as heard_module
from heapwitness.supervise import inquiry as inquiry_module
from heapwitness.supervise import mapping
from heapwitness.supervise.channel import QUESTION, Peer
from heapwitness.supervise.options import OnError
from heapwitness.supervise.session import Session

ME = Peer(os.getpid(), os.getuid())


class Shown:
    """Keeps what would be on the screen."""

    def __init__(self) -> None:
        self.findings: list[Finding] = []
        self.sentences: list[str] = []
        self.crashes: list[Crash] = []

    def finding(self, finding: Finding) -> None:
        self.findings.append(finding)

    def crash(self, crash: Crash) -> None:
        self.crashes.append(crash)

    def sentence(self, text: str) -> None:
        self.sentences.append(text)


class Run:
    """A session with its screen; `end` gives the report."""

    def __init__(self, on_error: OnError = "continue") -> None:
        self.shown = Shown()
        self.session = Session(on_error, self.shown)

    def say(self, data: bytes, peer: Peer = ME) -> bytes | None:
        return self.session.message(peer, data)

    def end(self, log: Path | None = None) -> Report:
        self.session.take_records(log or Path("/nonexistent"), 0)
        return self.session.end(("program",), 1, 0).report()


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Iterator[Run]:
    """A session whose diagnosis says the culprit's site by the event's pointer."""
    monkeypatch.setattr("heapwitness.diagnose.diagnose", diagnosis)
    yield Run()


def diagnosis(event: Event, memory: Memory, *_: object) -> tuple[Finding, ...]:
    """An overflow of the block that was allocated at the event's pointer."""
    site = Site(thread=1, stack=(Frame(pc=event.pointer),))
    return (
        Finding(
            kind="heap-buffer-overflow",
            detected=Detected(when="free", thread=event.tid, stack=tuple(Frame(pc=pc) for pc in event.frames)),
            culprit=Block(address=1, size=2, state="used", origin="malloc", allocated=site),
            damage=Damage(address=1, length=1, offset=0, expected="00", actual="01", shown=1, copies=("slack",)),
        ),
    )


def found(site: int = 0x10, **fields: int) -> bytes:
    return message(FINDING, reason=SLACK, pool=0x2000, node=9, pointer=site, **fields)


@pytest.mark.parametrize(("on_error", "answer"), [("continue", b"g"), ("abort", b"a"), ("stop", b"s")])
def test_waiting_thread_is_told_what_the_user_asked_for(
    on_error: OnError, answer: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("heapwitness.diagnose.diagnose", diagnosis)
    run = Run(on_error)

    assert run.say(found()) == answer
    assert run.end().summary.findings == 1


def test_stopped_process_is_named_with_the_debugger_s_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("heapwitness.diagnose.diagnose", diagnosis)
    run = Run("stop")
    run.say(found())

    run.end()

    assert [f"gdb -p {os.getpid()}" in text for text in run.shown.sentences] == [True]


def test_finding_is_shown_with_its_outcome(run: Run) -> None:
    run.say(found(tid=77))
    assert run.say(message(OUTCOME, outcome(), tid=77)) is None

    report = run.end()

    assert [one.repaired for one in run.shown.findings] == [True]
    assert (report.summary.findings, report.summary.repaired) == (1, 1)


def test_outcome_of_another_thread_is_not_taken_for_it(run: Run) -> None:
    run.say(found(tid=77))
    run.say(message(OUTCOME, outcome(), tid=78))

    assert run.end().summary.repaired == 0


def test_findings_of_one_event_are_of_different_blocks_and_each_shown(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def both(event: Event, memory: Memory, *_: object) -> tuple[Finding, ...]:
        return 2 * diagnosis(event, memory)

    monkeypatch.setattr("heapwitness.diagnose.diagnose", both)
    run.say(found())
    run.say(found())

    assert [one.count for one in run.end().findings] == [2, 2]


def test_finding_whose_outcome_does_not_come_is_shown_soon(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inquiry_module, "OUTCOME_WAIT", 0.0)
    run.say(found())
    run.session.tick()

    until = time.monotonic() + 5
    while not run.shown.findings and time.monotonic() < until:
        time.sleep(0.01)

    assert len(run.shown.findings) == 1


def test_repeated_findings_are_shown_once_and_counted(run: Run) -> None:
    for _ in range(5):
        run.say(found(0x10))
        run.say(message(OUTCOME, outcome()))
    run.say(found(0x20))

    report = run.end()

    assert [one.count for one in report.findings] == [5, 1]
    assert len(run.shown.findings) == 2
    assert (report.summary.findings, report.summary.repaired) == (6, 5)


def test_flood_of_findings_is_answered_at_once_and_counted(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inquiry_module, "FREELY", 50)

    run = Run()
    answers = {run.say(found(0x10)) for _ in range(500)}
    report = run.end()

    assert answers == {b"g"}
    assert report.summary.findings == 500
    assert 400 <= report.summary.dropped <= 450


def test_findings_that_the_engine_dropped_are_counted(run: Run) -> None:
    run.say(found(dropped=7))

    assert run.end().summary.dropped == 7


@pytest.mark.parametrize("error", [RuntimeError("no idea"), RecursionError(), MemoryError()])
def test_finding_that_cannot_be_diagnosed_is_shown_as_it_is_known(
    run: Run, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fail(*_: object) -> tuple[Finding, ...]:
        raise error

    monkeypatch.setattr("heapwitness.diagnose.diagnose", fail)

    assert run.say(message(FINDING, reason=DOUBLE, pointer=0x40, frames=(1, 2))) == b"g"

    (finding,) = run.end().findings
    assert finding.kind == "double-free" and finding.pointer == 0x40
    assert [one.pc for one in finding.detected.stack[:2]] == [1, 2]
    assert finding.detail.startswith(f"This finding could not be diagnosed: {type(error).__name__}")


def crashed(state: int) -> bytes:
    return message(CRASH, section(CRASHED, struct.pack("<11Q31Q", 62, 11, 1, 0, 0, state, 5, *[0] * 35)), frames=(9,))


def test_crash_is_shown_once_the_heap_was_looked_at(run: Run) -> None:
    assert run.say(crashed(0)) is None
    assert run.say(crashed(3)) == b"g"

    report = run.end()

    assert [(one.heap, one.nodes) for one in run.shown.crashes] == [("whole", 5)]
    assert report.crashes == tuple(run.shown.crashes)


def test_crash_whose_process_said_no_more_is_shown_as_unchecked(run: Run) -> None:
    run.say(crashed(0))

    run.end()

    assert [(one.signal, one.heap) for one in run.shown.crashes] == [("SIGSEGV", "unchecked")]


def test_process_that_may_not_be_read_gets_no_answer_and_is_reported_from_its_record(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(examine_module, "_open", lambda pid: None)
    log = tmp_path / "log"

    assert run.say(found(0x30)) is None
    log.write_bytes(found(0x30) + message(OUTCOME, outcome()))
    report = run.end(log)

    assert [(one.count, one.repaired) for one in report.findings] == [(1, True)]
    assert report.summary.findings == 1


def test_process_that_may_not_be_read_and_leaves_no_record_is_reported_as_it_is_known(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(examine_module, "_open", lambda pid: None)
    run.say(found(0x30))

    (finding,) = run.end().findings

    assert "could not be diagnosed" in finding.detail


def test_answer_that_came_too_late_leaves_the_finding_to_the_record(run: Run, tmp_path: Path) -> None:
    log = tmp_path / "log"
    run.say(found(0x30))
    run.session.unheard()
    log.write_bytes(found(0x30))

    assert run.end(log).summary.findings == 1


def test_answer_that_came_too_late_to_one_of_too_many_counts_it_once(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(inquiry_module, "FREELY", 0)
    log = tmp_path / "log"
    assert run.say(found(0x40)) == b"g"
    run.session.unheard()
    log.write_bytes(found(0x40))

    summary = run.end(log).summary

    assert (summary.findings, summary.dropped) == (1, 0)


def test_records_of_hundreds_of_threads_at_once_have_their_outcomes(run: Run, tmp_path: Path) -> None:
    threads = range(1, 301)
    log = tmp_path / "log"
    log.write_bytes(
        b"".join(found(0x30, tid=tid) for tid in threads)
        + b"".join(message(OUTCOME, outcome(), tid=tid) for tid in threads)
    )

    summary = run.end(log).summary

    assert (summary.findings, summary.repaired) == (300, 300)


def test_processes_and_what_they_counted_are_summed_up(run: Run) -> None:
    run.say(message(HELLO, section(COMMAND, b"a\0b\0")))
    run.say(message(EXIT, stats(operations=10, nodes=3)))
    run.say(message(HELLO, pid=1), Peer(1, 0))
    run.say(message(EXIT, stats(operations=20, nodes=4), pid=1), Peer(1, 0))

    summary = run.end().summary

    assert (summary.processes, summary.operations, summary.nodes, summary.backup_bytes) == (2, 30, 7, 7 * 16)


def test_program_that_executes_another_is_one_process(run: Run) -> None:
    run.say(message(HELLO))
    run.say(message(HELLO))
    run.say(message(EXIT, stats()))
    assert run.session.ledger.running() == ()

    assert run.end().summary.processes == 1


@pytest.mark.parametrize(
    "data",
    [b"", b"x", os.urandom(200), message(FINDING, reason=SLACK)[:-1], struct.pack("<I", 0x56455748) * 30],
    ids=["empty", "short", "random", "cut", "forged"],
)
def test_message_that_makes_no_sense_is_counted_and_not_answered(run: Run, data: bytes) -> None:
    assert run.say(data) is None
    assert run.session.malformed == 1
    assert run.end().findings == ()


def test_message_in_the_name_of_another_process_is_not_taken(run: Run) -> None:
    assert run.say(found(pid=os.getppid())) is None
    assert run.session.malformed == 1


def test_log_that_is_damaged_is_said_and_nothing_before_the_damage_is_lost(run: Run, tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_bytes(found(0x30) + b"garbage that is no message")

    report = run.end(log)

    assert report.summary.findings == 1
    assert any("the log could not be read to its end" in text for text in run.shown.sentences)


def test_log_that_cannot_even_be_looked_at_is_told_of(run: Run) -> None:
    run.end(Path("/") / ("x" * 300))

    assert any("the log could not be read to its end" in text for text in run.shown.sentences)


def test_what_fails_in_the_examination_of_one_event_costs_its_details_and_not_the_run(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def surprised(*_: object) -> None:
        raise IndexError("list index out of range")

    with monkeypatch.context() as context:
        context.setattr(examine_module.Examiner, "examine", surprised)
        assert run.say(found(0x10)) == b"g"
    assert run.say(found(0x20)) == b"g"
    with monkeypatch.context() as context:
        context.setattr(run.session.ledger, "note", surprised)
        assert run.say(message(EXIT)) is None

    report = run.end()

    details = [one.detail for one in report.findings]
    assert details == ["This finding could not be diagnosed: IndexError: list index out of range.", ""]
    assert [text for text in run.shown.sentences if "IndexError" in text] == [
        f"a message of process {os.getpid()} could not be taken: IndexError: list index out of range"
    ]


def test_what_fails_while_a_finding_is_shown_does_not_lose_it(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def surprised(_: Finding) -> None:
        raise ValueError("invalid width")

    monkeypatch.setattr(run.shown, "finding", surprised)
    run.say(found(0x10))

    report = run.end()

    assert report.summary.findings == 1 and len(report.findings) == 1
    assert run.shown.sentences == ["a heap-buffer-overflow could not be shown in full: ValueError: invalid width"]


def ask(run: Run, **how: bool) -> dict[str, list[object]]:
    """What process 0, whose those of `diagnosis` are, is told when it asks, as soon as its findings have names."""
    question = QUESTION + json.dumps({"pid": 0, "since": 0, **how}).encode()
    until = time.monotonic() + 60
    while time.monotonic() < until:
        answer = run.say(question)
        assert answer is not None
        decoded: dict[str, list[object]] = json.loads(answer)
        if decoded["ready"]:
            return decoded
        time.sleep(0.01)
    raise AssertionError("no names")


def test_who_asks_too_often_is_told_of_kinds_alone(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    slow = heard_module._text

    def text(finding: Finding) -> str:
        time.sleep(0.5)
        return slow(finding)

    monkeypatch.setattr(heard_module, "_text", text)
    monkeypatch.setattr(inquiry_module, "TEXT_SECONDS_FREELY", 0.04)
    run.say(found())
    run.say(message(OUTCOME, outcome()))

    first = ask(run, texts=True)
    second = ask(run, texts=True)

    assert first["texts"] != [""] and second["texts"] == [""]
    assert second["sentences"] == ["heap-buffer-overflow"]
    assert run.end().summary.findings == 1


def test_a_surprise_in_answering_a_question_is_said(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def surprised(*_: object, **__: object) -> bytes:
        raise RecursionError("too deep")

    monkeypatch.setattr(heard_module.Heard, "answer", surprised)
    run.say(found())

    for _ in range(1000):
        assert run.say(QUESTION + b"{}") is None

    assert run.end().summary.findings == 1
    assert f"a question of process {os.getpid()} could not be taken: RecursionError: too deep" in run.shown.sentences
    assert len(run.shown.sentences) < 200


def test_maps_that_would_take_too_long_are_not_made_and_it_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def slow(*_: object, **__: object) -> HeapMap:
        time.sleep(0.5)
        return HeapMap(taken="check", pid=1, whole=True)

    monkeypatch.setattr(mapping, "heap_map", slow)
    monkeypatch.setattr(mapping, "SECONDS_FREELY", 0.04)
    run = Run()
    run.session = Session("continue", run.shown, mapping.Mapper(os.getpid(), 5.0))
    for _ in range(4):
        assert run.say(message(CHECKED)) == b"g"

    assert [one.taken for one in run.end().maps] == ["check"]
    assert run.shown.sentences == ["3 maps of the heap would have kept programs waiting: not made."]
