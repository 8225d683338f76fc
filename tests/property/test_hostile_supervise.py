"""What a program sends or maps costs the supervisor bounded time, memory and disk; what is too much is counted."""

import mmap
import os
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parents[1] / "unit"))

from engine_messages import DAMAGE, EXIT, FINDING, HELLO, STATS, message, section

from heapwitness.findings.model import Block, Crash, Detected, Finding, Frame, Site
from heapwitness.layout.events import Event, Reason, Type, When
from heapwitness.layout.witness import Origin
from heapwitness.memory import SegmentsMemory
from heapwitness.report import json
from heapwitness.supervise import inquiry as inquiry_module
from heapwitness.supervise.cases import FRAMES_LIMIT
from heapwitness.supervise.channel import Peer
from heapwitness.supervise.examine import Examined, Examiner
from heapwitness.supervise.families import believable
from heapwitness.supervise.reporter import Reporter
from heapwitness.supervise.session import Session

ME = Peer(os.getpid(), os.getuid())
MEGABYTE = 1 << 20


class Nowhere:
    """Keeps sentences, shows nothing."""

    def __init__(self) -> None:
        self.sentences: list[str] = []

    def finding(self, finding: Finding) -> None:
        pass

    def crash(self, crash: Crash) -> None:
        pass

    def sentence(self, text: str) -> None:
        self.sentences.append(text)


@contextmanager
def sleeping_process(code: str) -> Iterator[int]:
    """A Python process that has run `code` and waits."""
    with subprocess.Popen(
        [sys.executable, "-c", f"{code}\nprint(flush=True)\ninput()"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield process.pid
        process.kill()


def finding(number: int, frames: int, culprit: bool) -> Finding:
    stack = tuple(Frame(pc=(number << 20) + place) for place in range(frames))
    block = Block(address=number, size=24, state="used", origin="malloc", allocated=Site(thread=1, stack=stack))
    return Finding(
        kind="heap-buffer-overflow",
        detected=Detected(when="free", thread=1, stack=stack),
        culprit=block if culprit else None,
    )


def test_forged_findings_fill_neither_the_report_nor_the_place_of_real_ones() -> None:
    reporter = Reporter(Nowhere())
    for number in range(3000):
        reporter.submit(Examined((finding(number, 200, False),), "", ""))
    reporter.submit(Examined((finding(1 << 30, 200, True),), "", ""))

    findings, _ = reporter.close()

    assert sum(one.count for one in findings) + reporter.dropped == 3001
    assert [one.culprit.size for one in findings if one.culprit is not None] == [24]
    assert sum(len(one.detected.stack) for one in findings) <= FRAMES_LIMIT
    session = Session("continue", Nowhere())
    report = session.end(("program",), 1, 0).report()
    assert len(json.encode(type(report)(findings=findings))) < 40 * MEGABYTE


def test_numbers_of_any_size_are_summed_up_and_written() -> None:
    session = Session("continue", Nowhere())
    most = section(STATS, struct.pack("<8Q", *[2**64 - 1] * 8))
    for _ in range(3):
        session.message(ME, message(EXIT, most, dropped=2**64 - 1))
    session.take_records(Path("/nonexistent"), 0)

    report = session.end(("program",), 1, 0).report()

    assert json.decode(json.encode(report)) == report


def test_a_process_whose_findings_take_long_is_answered_without_a_look(monkeypatch: pytest.MonkeyPatch) -> None:
    def slowly(event: Event, memory: object, elsewhere: object) -> tuple[Finding, ...]:
        until = time.thread_time() + 0.05
        while time.thread_time() < until:
            pass
        return (finding(event.node, 1, True),)

    monkeypatch.setattr("heapwitness.diagnose.diagnose", slowly)
    monkeypatch.setattr(inquiry_module, "SECONDS_FREELY", 0.2)
    session = Session("continue", Nowhere())

    answers = {session.message(ME, message(FINDING, reason=DAMAGE, pool=4096, node=number)) for number in range(100)}

    session.take_records(Path("/nonexistent"), 0)
    summary = session.end(("program",), 1, 0).report().summary
    assert answers == {b"g"}
    assert summary.findings == 100 and summary.dropped > 80


def test_a_log_that_is_too_long_to_read_is_read_in_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inquiry_module, "LOG_SECONDS", 0.0)
    log = tmp_path / "log"
    log.write_bytes(message(HELLO) + message(FINDING, reason=DAMAGE, pool=4096, node=2) * 500)
    shown = Nowhere()
    session = Session("continue", shown)

    session.take_records(log, 0)

    assert session.end(("program",), 1, 0).report().summary.findings < 500
    assert "the log is too long; only its first part is told of." in shown.sentences


def test_only_the_mappings_of_code_are_kept_and_once_while_they_stay_the_same() -> None:
    event = Event(type=Type.FINDING, reason=Reason.INVALID, when=When.FREE, pid=os.getpid())
    examiner = Examiner()
    with sleeping_process("import mmap; kept = [mmap.mmap(-1, 4096 * (1 + n % 2)) for n in range(2000)]") as pid:
        first, second = (examiner.examine(event, pid) for _ in range(2))

    assert first is not None and second is not None
    assert first.maps is second.maps
    assert len(first.maps) < 64 << 10
    assert all("x" in line.split()[1] for line in first.maps.splitlines())


@pytest.mark.parametrize("kind", ["pipe", "sparse", "gone", "directory"])
def test_a_mapped_file_that_is_no_file_any_more_does_not_hold_up_the_answer(tmp_path: Path, kind: str) -> None:
    file = tmp_path / "module.so"
    match kind:
        case "pipe":
            os.mkfifo(file)
        case "sparse":
            with open(file, "wb") as stream:
                stream.truncate(1 << 42)
        case "directory":
            file.mkdir()
    block = Block(address=16, size=24, state="used", origin="new")
    found = Finding(kind="mismatched-free", detected=Detected(when="free", thread=1), culprit=block)
    event = Event(type=Type.FINDING, reason=Reason.MISMATCH, family=Origin.MALLOC)
    started = time.process_time()

    assert believable(found, event, f"1000-2000 r-xp 00000000 00:00 1 {file}\n", SegmentsMemory([]))

    assert time.process_time() - started < 1


def test_a_mapped_file_that_is_cut_short_while_it_is_read_does_no_harm(tmp_path: Path) -> None:
    file = tmp_path / "module.so"
    file.write_bytes(bytes(8 * MEGABYTE))
    with open(file, "r+b") as stream, mmap.mmap(stream.fileno(), 0):
        os.truncate(file, 4096)
        block = Block(address=16, size=24, state="used", origin="new")
        found = Finding(kind="mismatched-free", detected=Detected(when="free", thread=1), culprit=block)

        event = Event(type=Type.FINDING, reason=Reason.MISMATCH)
        assert believable(found, event, f"1-2 r-xp 0 00:00 1 {file}\n", SegmentsMemory([]))


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=600))
def test_a_file_that_is_gone_is_judged_whatever_lies_where_it_was_loaded(tail: bytes) -> None:
    block = Block(address=16, size=24, state="used", origin="new")
    found = Finding(kind="mismatched-free", detected=Detected(when="free", thread=1), culprit=block)
    memory = SegmentsMemory([(0x1000, b"\x7fELF\2" + tail)])

    assert believable(
        found, Event(type=Type.FINDING, reason=Reason.MISMATCH), "1000-2000 r-xp 0 00:00 1 /gone\n", memory
    )


@pytest.mark.parametrize("filler", [b"\0", b"1000-2000 r-xp 00000000 00:00 0 /x\n"], ids=["zeros", "lines"])
def test_a_file_of_findings_with_large_mappings_is_read_in_bounded_memory(tmp_path: Path, filler: bytes) -> None:
    log = tmp_path / "log"
    maps = section(2, filler * (8 * MEGABYTE // len(filler)))
    command = section(3, b"\0" * MEGABYTE)
    with open(log, "wb") as stream:
        for number in range(60):
            stream.write(message(FINDING, maps, command, reason=DAMAGE, pool=4096, node=2, frames=(number + 0x1000,)))
    # The peak since this program began; getrusage would tell of the test's own process, which it was forked from.
    code = (
        "import sys; from pathlib import Path; from heapwitness.supervise.recorded import report;"
        "report(Path(sys.argv[1]));"
        "peak = next(line for line in open('/proc/self/status') if line.startswith('VmHWM'));"
        "print('peak', int(peak.split()[1]) // 1024)"
    )

    done = subprocess.run([sys.executable, "-c", code, log], capture_output=True, text=True)

    lines = done.stdout.splitlines()
    assert done.stderr == "" and lines[-2].startswith("heapwitness: 60 findings")
    assert int(lines[-1].split()[1]) < 300
