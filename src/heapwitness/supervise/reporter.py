"""Findings named, folded and shown as they come, beside the loop that answers.

Reading a file's debugging information may take seconds; it happens in a thread of its own, when the
program has its answer long since. The thread takes what is new in the table of cases to the namer, and
from there to the screen.
"""

import queue
import time
from collections.abc import Callable, Sequence
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Protocol

from heapwitness.findings.model import Accepted, Crash, Finding, HeapMap
from heapwitness.supervise.cases import Case, Cases, Shown
from heapwitness.supervise.examine import Examined
from heapwitness.supervise.heard import Heard
from heapwitness.supervise.program import asked_to_end
from heapwitness.workers import NoWorker, Worker

if TYPE_CHECKING:
    from heapwitness.accept.acceptance import Acceptance
    from heapwitness.supervise.limits import OwnLimits
    from heapwitness.supervise.namer import Namer

    _Job = Callable[[Namer], None]

CRASHES_LIMIT = 1000
"""Crashes that are kept and shown."""

QUEUED_LIMIT = 32
"""Findings of a file that are held until they have names."""

_PATIENCE = 0.01
_BETWEEN_LOOKS = 0.1


class Shower(Protocol):
    """Where findings and sentences are shown; called from one thread at a time."""

    def finding(self, finding: Finding) -> None:
        """Show a finding."""
        ...

    def crash(self, crash: Crash) -> None:
        """Show a crash."""
        ...

    def sentence(self, text: str) -> None:
        """Show a sentence."""
        ...


class Reporter:
    """Takes findings from the loop; everything but `close`, and `submit` when it is patient, returns at once.

    Args:
        shower: shows each different finding once.
        until: for records, their time in seconds since 1970; see `symbols.Resolver`.
        acceptance: which findings do not count, and are not shown.
        limits: of this process, put back where that is what something fails for.

    Attributes:
        crashes: in the order in which they came; complete after `close`.
        maps: as crashes.
        heard: what processes that ask are told.
    """

    def __init__(
        self,
        shower: Shower,
        until: float | None = None,
        acceptance: "Acceptance | None" = None,
        limits: "OwnLimits | None" = None,
    ) -> None:
        self.crashes: tuple[Crash, ...] = ()
        self.maps: tuple[HeapMap, ...] = ()
        self.heard = Heard()
        self._acceptance = acceptance
        self._undecided: list[tuple[Case, Finding]] = []
        self._shower = shower
        self._until = until
        self._limits = limits
        self._cases = Cases()
        self._crashed = 0
        self._queue: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._thread: Worker | None = None
        # Where there can be no thread, what it would do is done at once.
        self._namer: Namer | None = None
        # The thread's, which looks for no more names when it is told so.
        self._given: Namer | None = None
        self._failure: Exception | None = None
        # Written by the thread only, read after its end.
        self._shown = Shown()

    @property
    def dropped(self) -> int:
        """Findings that were too many to keep; complete after `close`."""
        return self._cases.dropped + self._shown.dropped

    def want_lines(self, examined: Examined) -> bool:
        """Whether the Python lines of the thread that found something are to be read: see `Cases.want_lines`."""
        asks = any(self.heard.is_asked_by(finding.detected.pid) for finding in examined.findings)
        return self._cases.want_lines(examined, each=asks)

    def submit(self, examined: Examined, *, patiently: bool = False, family: Sequence[int] = ()) -> None:
        """Count findings; those that are new are named and shown.

        Args:
            patiently: wait while many are to be shown, as of a file of them; else what was submitted is kept.
            family: the processes that started theirs, and those before.
        """
        while patiently and self._failure is None and self._queue.qsize() >= QUEUED_LIMIT:
            time.sleep(_PATIENCE)
        for case, finding in self._cases.add(examined):
            self._put(partial(self._show, case, finding, examined))
        self.heard.note(examined, self._cases.of(examined), family)
        if examined.crash is not None and self._crashed < CRASHES_LIMIT:
            self._crashed += 1
            self._put(partial(self._show_crash, examined.crash, examined))

    def map(self, taken: HeapMap, code: str) -> None:
        """Name the sites of a heap's map; `code` are the mappings of its process."""
        self._put(partial(self._name_map, taken, code))

    def say(self, text: str) -> None:
        """Show a sentence after the findings that were submitted before it."""
        self._put(lambda _: self._shower.sentence(text))

    def close(self) -> tuple[tuple[Finding, ...], int]:
        """Wait until everything is shown; the different findings that count, how often, and how many were repaired.

        Raises:
            Exception: what kept findings from being shown at all.
        """
        if self._thread is not None:
            self._queue.put(None)
            while not self._thread.join(_BETWEEN_LOOKS):
                if self._given is not None and asked_to_end():
                    self._given.give_up("heapwitness is to end")
            self._thread = None
        if self._namer is not None:
            self._finish(self._namer)
            self._namer = None
        if self._failure is not None:
            failure, self._failure = self._failure, None
            raise failure
        return self._shown.findings()

    @property
    def accepted(self) -> tuple[Accepted, ...]:
        """The different findings that do not count; complete after `close`."""
        return self._shown.accepted()

    @property
    def unasked(self) -> tuple[bool, ...]:
        """Of each of the findings that `close` gave, whether no process was told of it that had asked."""
        return self._shown.unasked()

    def _put(self, job: "_Job") -> None:
        if self._thread is None and self._namer is None:
            try:
                self._thread = Worker(self._work)
            except NoWorker:
                self._namer = self._new_namer()
        if self._namer is not None:
            job(self._namer)
        else:
            self._queue.put(job)

    def _work(self) -> None:
        try:
            namer = self._given = self._new_namer()
            while (job := self._queue.get()) is not None:
                job(namer)
            self._finish(namer)
        except Exception as error:  # told by `close`, and not by the thread
            self._failure = error

    def _new_namer(self) -> "Namer":
        # What reads files for names takes a while to be loaded.
        self._retried(partial(import_module, "heapwitness.supervise.namer"))
        from heapwitness.supervise.namer import Namer

        return Namer(self._shower.sentence, self._until)

    def _retried(self, work: Callable[[], object]) -> None:
        if self._limits is None:
            work()
        else:
            self._limits.retried(work)

    def _finish(self, namer: "Namer") -> None:
        for case, finding in self._undecided:
            self._settle(case, finding)
        namer.close()

    def _show(self, case: Case, finding: Finding, examined: Examined, namer: "Namer") -> None:
        try:
            named = namer.finding(finding, examined)
            if self._shown.add(case, named.finding):
                namer.keep(named)
                self._retried(partial(self._tell, case, named.finding))
            case.finding = named.finding
        except Exception as error:  # what befalls one finding must not keep the next from being shown
            self._shown.add_bare(case, finding)
            case.finding = finding
            self._shower.sentence(f"a {finding.kind} could not be shown in full: {type(error).__name__}: {error}")

    def _tell(self, case: Case, finding: Finding) -> None:
        """Show a finding that is told apart from all before it, if it counts."""
        if self._acceptance is None:
            self._shower.finding(finding)
            return
        mark, is_decided = self._acceptance.judge(finding)
        if not is_decided:
            self._undecided.append((case, finding))
        elif mark is not None:
            case.mark = mark
        else:
            self._shower.finding(finding)

    def _settle(self, case: Case, finding: Finding) -> None:
        case.mark = self._acceptance.settle(finding) if self._acceptance is not None else None
        if case.mark is None:
            self._shower.finding(finding)

    def _name_map(self, taken: HeapMap, code: str, namer: "Namer") -> None:
        try:
            taken = namer.heap_map(taken, code)
        except Exception as error:  # as of a finding
            self._shower.sentence(f"a map's sites could not be named: {type(error).__name__}: {error}")
        self.maps += (taken,)

    def _show_crash(self, crash: Crash, examined: Examined, namer: "Namer") -> None:
        try:
            crash = namer.crash(crash, examined)
            self._shower.crash(crash)
        except Exception as error:  # as of a finding
            self._shower.sentence(f"a crash could not be shown in full: {type(error).__name__}: {error}")
        self.crashes += (crash,)
