"""What is done about findings and crashes: who gets which answer, what is told of them, what is lost and why.

Needed by a run in which something is found, and only loaded then, or while there is nothing else to do.
"""

import contextlib
import os
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from heapwitness.findings.model import RELEASES
from heapwitness.findings.words import count
from heapwitness.layout.events import CrashState, CrashWords, Event, Outcome, Type, WentOn
from heapwitness.supervise.allowance import Allowance
from heapwitness.supervise.ancestors import ancestors
from heapwitness.supervise.ending import Inquired
from heapwitness.supervise.ends import with_end
from heapwitness.supervise.examine import Examined, Examiner, crashed, undiagnosed
from heapwitness.supervise.ledger import Ledger
from heapwitness.supervise.limits import is_want
from heapwitness.supervise.log import open_log_to_read
from heapwitness.supervise.modules import LoadedFiles
from heapwitness.supervise.options import OnError
from heapwitness.supervise.reporter import Reporter, Shower
from heapwitness.supervise.watched import WatchedStores

if TYPE_CHECKING:
    from heapwitness.accept.acceptance import Acceptance
    from heapwitness.supervise.limits import OwnLimits
    from heapwitness.supervise.mapping import Mapper

OUTCOME_WAIT = 3.0
"""Seconds after a finding's answer in which its thread is expected to say what it repaired."""

FREELY, THEN_A_SECOND = 1000, 50
"""Findings of one process that are looked at: so many at once, and then so many a second."""

ALL_FREELY, ALL_A_SECOND = 5000, 250
"""The same of all processes together."""

SECONDS_FREELY, SECONDS_A_SECOND = 10.0, 0.1
"""Time for the findings of one process: a heap can be forged so that each takes long."""

ALL_SECONDS_FREELY, ALL_SECONDS_A_SECOND = 30.0, 0.3
"""The same of all processes together."""

TEXT_SECONDS_FREELY, TEXT_SECONDS_A_SECOND = 10.0, 0.5
"""Time for telling processes what was found in them (`heapwitness.check`); beyond it they are told in short."""

LOG_SECONDS = 60.0
"""Time for what was recorded, at the end of a run."""

_ANSWERS: dict[OnError, bytes] = {"continue": b"g", "abort": b"a", "stop": b"s"}
_UNANSWERED_LIMIT = 4096
_ANSWER_ROOM = 255 * 8
_ENDS_LIMIT = 1 << 16
_SHARES_LIMIT = 4096
_SURPRISES_LIMIT = 100

_ThreadId = tuple[int, int]


@dataclass(frozen=True, slots=True)
class _Answered:
    """A finding that was answered and whose outcome is not known yet; `family` as in `Reporter.submit`."""

    examined: Examined
    until: float
    family: tuple[int, ...] = ()


class Inquiry:
    """Takes the messages of a run that tell of more than of a program that begins and ends well.

    Args:
        on_error: what a thread that found something is told to do.
        shower: shows the findings as they come.
        ledger: what the engines say of their processes.
        modules: is told the files of which processes run code.
        trap_found: the blocks of sites at which damage is found are trapped from then on.
        mapper: draws the heap, where that was asked for; then ends and checks of processes are answered, too.
        acceptance: which findings do not count.
        limits: of this process.
    """

    def __init__(
        self,
        on_error: OnError,
        shower: Shower,
        ledger: Ledger,
        modules: LoadedFiles,
        mapper: "Mapper | None",
        *,
        trap_found: bool,
        acceptance: "Acceptance | None" = None,
        limits: "OwnLimits | None" = None,
    ) -> None:
        self._ledger = ledger
        self._modules = modules
        self._on_error: OnError = on_error
        self._trap_found = trap_found
        self._reporter = Reporter(shower, acceptance=acceptance, limits=limits)
        self._examiner = Examiner()
        self._mapper = mapper
        every = Allowance(ALL_SECONDS_FREELY, ALL_SECONDS_A_SECOND)
        self._share = _Share(Allowance(ALL_FREELY, ALL_A_SECOND), every)
        self._shares: OrderedDict[int, _Share] = OrderedDict()
        self._told: OrderedDict[tuple[_ThreadId, int], _Answered] = OrderedDict()
        # The finding that was answered last; without a key it was only counted.
        self._last: tuple[Event, tuple[_ThreadId, int] | None] | None = None
        self._unanswered: dict[tuple[int, ...], Event] = {}
        # Crashes whose processes have not come to say what their heap was like.
        self._crashing: dict[int, tuple[Event, CrashWords]] = {}
        # Threads whose crashes were shown: an answer that came too late makes a record as well.
        self._crashed_threads: set[_ThreadId] = set()
        self._number = 0
        # Where loops of trapped accesses ended, by process, block and instruction.
        self._ends: dict[tuple[int, int, int], WentOn] = {}
        self._watched = WatchedStores()
        self._texts = Allowance(TEXT_SECONDS_FREELY, TEXT_SECONDS_A_SECOND)
        self._surprises = 0

    def hear(self, event: Event, pid: int) -> bytes | None:
        """Take an event of a process; gives the answer, None for none."""
        if event.type is Type.OUTCOME and event.outcome is not None:
            self._mended((pid, event.tid), event.outcome, event.stored)
        elif event.went_on is not None and len(self._ends) < _ENDS_LIMIT:
            self._ends[event.pid, event.went_on.block, event.went_on.pc] = event.went_on
        elif event.type is Type.EXIT:
            self._report(lambda thread, _: thread[0] == pid)
            if self._mapper is not None:
                self._last = None
                self._mapper.ends(event, pid)
                return _ANSWERS["continue"]
        elif event.type is Type.CHECKED and self._mapper is not None:
            self._last = None
            self._mapper.checked(event, pid)
            return _ANSWERS["continue"]
        elif event.type is Type.FINDING:
            return self._found(event, pid)
        elif event.type is Type.WATCHED:
            self._last = None
            self._watched.take(self._examiner.caught(event, pid), pid)
            return _ANSWERS["continue"]
        elif event.type is Type.CRASH and event.crash is not None:
            return self._crashed(event, event.crash, pid)
        return None

    def asked(self, question: bytes) -> bytes | None:
        """A process asks what was found in it; gives the answer, None where the question makes no sense."""
        self._last = None
        # Of a wrong release nothing comes after it.
        for key in [key for key, told in self._told.items() if _is_release(told.examined)]:
            self._submit(self._told.pop(key))
        started = time.monotonic()
        answer = self._reporter.heard.answer(question, in_short=self._texts.left() <= 0)
        self._texts.spend(time.monotonic() - started)
        return answer

    def failed(self, event: Event, error: Exception) -> bytes | None:
        """Something went wrong here: a finding is told without its details, of another message it is said."""
        self._last = None
        if event.type is not Type.FINDING:
            self.say_surprise("a message of", event.pid, error)
            return None
        self._reporter.submit(Examined((undiagnosed(event, _why(error)),), "", ""))
        return _ANSWERS[self._on_error]

    def say_surprise(self, what: str, pid: int, error: Exception) -> None:
        """Say that something of a process could not be taken; of very many such the first ones."""
        self._last = None
        self._surprises += 1
        if self._surprises <= _SURPRISES_LIMIT:
            self._reporter.say(f"{what} process {pid} could not be taken: {_why(error)}")

    def unheard(self) -> None:
        """The engine waited no longer and kept a record; what was read since may be repaired already."""
        if self._last is not None:
            event, key = self._last
            if key is None:
                self._ledger.dropped -= 1
            else:
                self._told.pop(key, None)
            self._await_record(event, key[0][0] if key is not None else event.pid)

    def tick(self) -> None:
        """Report what has waited long enough for its outcome."""
        now = time.monotonic()
        self._report(lambda _, told: told.until <= now)

    def take_records(self, log: Path, start: int) -> None:
        """Report what engines wrote to their log, from `start` on, when they got no answer; nothing comes after.

        A finding that was neither diagnosed while its thread waited nor recorded is reported as it is known.
        """
        from heapwitness.layout.resume import PassedOver
        from heapwitness.memory import SegmentsMemory

        self._report(lambda _, told: True)
        self._examiner.close()
        try:
            self._take_log(log, start)
        except Exception as error:  # it may be forged; what the run found must be told all the same
            if is_want(error) or isinstance(error, ImportError):
                raise
            why = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
            what = "is damaged" if isinstance(error, PassedOver) else "could not be read to its end"
            self._reporter.say(f"the log {what}: {why.rstrip('.')}.")
        for event in self._unanswered.values():
            self._ledger.hear(event.pid, 1)
            self._reporter.submit(Examined((undiagnosed(event, "its process could not be read"),), "", ""))
        self._unanswered.clear()
        for event, words in self._crashing.values():
            self._reporter.submit(crashed(event, words, SegmentsMemory(()), "", ""))
        self._crashing.clear()

    def close(self) -> Inquired:
        """Wait until everything is shown; nothing comes after."""
        missing = self._mapper.missing if self._mapper is not None else 0
        if missing:
            self._reporter.say(f"{count(missing, 'map')} of the heap would have kept programs waiting: not made.")
        for mapped, code in self._mapper.taken() if self._mapper is not None else ():
            self._reporter.map(mapped, code)
        findings, repaired = self._reporter.close()
        findings = tuple(with_end(finding, self._ends) for finding in findings)
        told = self._reporter
        return Inquired(findings, repaired, told.dropped, told.crashes, told.maps, told.accepted, told.unasked)

    def _take_log(self, log: Path, start: int) -> None:
        until = time.monotonic() + LOG_SECONDS
        try:
            stream = open_log_to_read(log)
        except FileNotFoundError:
            return
        with stream:
            size = os.fstat(stream.fileno()).st_size
            if size < start:
                self._reporter.say("the log was cut while the program ran; all that is in it now is told.")
                start = 0
            if size == start:
                return
            from heapwitness.supervise.records import read_records  # there may be no memory for it

            stream.seek(start)
            for one in read_records(stream, self._ledger):
                self._unanswered.pop(_identity(one.event), None)
                if one.examined.crash is not None:
                    self._crashing.pop(one.event.pid, None)
                    if (one.event.pid, one.event.tid) in self._crashed_threads:
                        continue
                self._reporter.submit(one.examined, patiently=True)
                if time.monotonic() > until:
                    self._reporter.say("the log is too long; only its first part is told of.")
                    return

    def _found(self, event: Event, pid: int) -> bytes | None:
        self._last = None
        share = self._share_of(pid)
        if not (share.take() and self._share.take()):
            self._ledger.dropped += 1
            self._last = (event, None)
            return _ANSWERS[self._on_error]
        spent = time.thread_time()
        examined = self._examiner.examine(event, pid)
        if examined is not None:
            examined = self._watched.told(examined, pid, event.ppid)
        # Of what is done here other programs that keep the machine busy do not count; the reader of lines waits.
        spent, started = time.thread_time() - spent, time.monotonic()
        if examined is not None and self._reporter.want_lines(examined):
            examined = self._examiner.with_lines(examined, event, pid)
        for one in (share, self._share):
            one.seconds.spend(spent + time.monotonic() - started)
        if examined is None:
            # Without an answer the engine writes a record with all that is needed.
            self._await_record(event, pid)
            return None
        if self._mapper is not None:
            self._mapper.found(event, pid, examined.findings)
        self._modules.take(examined.maps)
        self._number += 1
        key = ((pid, event.tid), self._number)
        self._told[key] = _Answered(examined, time.monotonic() + OUTCOME_WAIT, ancestors(pid))
        self._last = (event, key)
        if self._on_error == "stop":
            self._report(lambda thread, _: thread == key[0])
            self._reporter.say(
                f"process {pid} waits for a debugger: gdb -p {pid} looks into it, kill -CONT {pid} lets it go on."
            )
        return _ANSWERS[self._on_error] + self._traps(examined)

    def _traps(self, examined: Examined) -> bytes:
        """What an answer says of the sites to trap; it is read in words of 8 bytes, of which the answer takes one."""
        if not self._trap_found:
            return b""
        from heapwitness.findings.sites import answered
        from heapwitness.supervise.traps import trapped_from_now_on

        sites = answered(trapped_from_now_on(examined.findings), _ANSWER_ROOM)
        return bytes(7) + sites if sites else b""

    def _crashed(self, event: Event, words: CrashWords, pid: int) -> bytes | None:
        """A crash is told twice: before the engine looks at the heap, which may be the last that it does, and after."""
        self._last = None
        if len(self._crashing) < _UNANSWERED_LIMIT:
            self._crashing[pid] = (event._replace(memory=(), maps=None, command=None), words)
        if not words.state & CrashState.LOOKED:
            return None
        share = self._share_of(pid)
        if not (share.take() and self._share.take()):
            return _ANSWERS["continue"]
        started = time.monotonic()
        examined = self._examiner.crashed(event, words, pid)
        if examined is not None:
            examined = self._examiner.with_lines(_with_earlier(examined, self._ledger.heard_from(pid)), event, pid)
        for one in (share, self._share):
            one.seconds.spend(time.monotonic() - started)
        if examined is None:
            return None
        if self._mapper is not None:
            self._mapper.crashes(event, pid)
        self._crashing.pop(pid, None)
        self._crashed_threads.add((event.pid, event.tid))
        self._report(lambda thread, _: thread[0] == pid)
        self._reporter.submit(examined)
        return _ANSWERS["continue"]

    def _share_of(self, pid: int) -> "_Share":
        """What a process may have looked at: a flood of findings must not make other programs wait."""
        share = self._shares.get(pid)
        if share is None:
            share = self._shares[pid] = _Share(
                Allowance(FREELY, THEN_A_SECOND), Allowance(SECONDS_FREELY, SECONDS_A_SECOND)
            )
            if len(self._shares) > _SHARES_LIMIT:
                self._shares.popitem(last=False)
        return share

    def _mended(self, thread: _ThreadId, outcome: Outcome, stored: tuple[int, bytes] | None) -> None:
        from heapwitness.diagnose import with_outcome, with_stored

        for key in [key for key in self._told if key[0] == thread]:
            told = self._told.pop(key)
            findings = told.examined.findings
            # Shown without its outcome rather than not at all.
            with contextlib.suppress(Exception):
                findings = tuple(with_stored(with_outcome(finding, outcome), stored) for finding in findings)
            self._submit(replace(told, examined=replace(told.examined, findings=findings)))

    def _report(self, which: Callable[[_ThreadId, _Answered], bool]) -> None:
        for key in [key for key, told in self._told.items() if which(key[0], told)]:
            self._submit(self._told.pop(key))

    def _submit(self, told: _Answered) -> None:
        self._reporter.submit(told.examined, family=told.family)

    def _await_record(self, event: Event, pid: int) -> None:
        identity = _identity(event)
        if len(self._unanswered) < _UNANSWERED_LIMIT and identity not in self._unanswered:
            self._ledger.hear(pid, -1)
            self._unanswered[identity] = event._replace(memory=(), maps=None, command=None)
        else:
            self._ledger.dropped += 1


def _with_earlier(examined: Examined, findings: int) -> Examined:
    """A crash in a heap that is whole by now, of a process that so many findings had come from before."""
    crash = examined.crash
    if crash is None or crash.heap != "whole" or not findings:
        return examined
    before = (
        f"{count(findings, 'finding')} had come from this process before. What was written into the contents of other "
        "blocks stays there: this may come of it."
    )
    return replace(examined, crash=msgspec.structs.replace(crash, notes=(*crash.notes, before)))


@dataclass(frozen=True, slots=True)
class _Share:
    """What may be spent on findings: their number, and time."""

    findings: Allowance
    seconds: Allowance

    def take(self) -> bool:
        """Whether there is room for one more finding, which is counted then."""
        if self.findings.left() < 1 or self.seconds.left() <= 0:
            return False
        self.findings.spend(1)
        return True


def _why(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"


def _is_release(examined: Examined) -> bool:
    return all(finding.kind in RELEASES for finding in examined.findings)


def _identity(event: Event) -> tuple[int, ...]:
    """The same for a finding's message and for its record."""
    return (event.pid, event.tid, event.when, event.reason, event.pool, event.pointer, event.node)
