"""What the events of a run mean; of a run in which nothing is found nothing more is loaded than this."""

import stat
from collections.abc import Iterable
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from heapwitness.errors import HeapwitnessError
from heapwitness.layout.decode import parse_event
from heapwitness.layout.events import Event, Type
from heapwitness.supervise.channel import QUESTION, Peer
from heapwitness.supervise.ending import NOTHING_FOUND, Ending
from heapwitness.supervise.ledger import Ledger
from heapwitness.supervise.modules import LoadedFiles
from heapwitness.supervise.options import OnError

if TYPE_CHECKING:
    from heapwitness.accept.acceptance import Acceptance
    from heapwitness.supervise.inquiry import Inquiry
    from heapwitness.supervise.limits import OwnLimits
    from heapwitness.supervise.mapping import Mapper
    from heapwitness.supervise.reporter import Shower

_ONLY_NOTED = (Type.HELLO, Type.EXIT, Type.STRANGER, Type.CHECKED)
_FOR_FINDINGS = (
    "dataclasses",
    "msgspec",
    "heapwitness.findings.model",
    "heapwitness.layout.process",
    "heapwitness.symbols.resolver",
    "heapwitness.memory",
    "heapwitness.report.frames",
    "heapwitness.supervise.inquiry",
    "heapwitness.diagnose",
    "heapwitness.supervise.namer",
    "heapwitness.supervise.records",
    "heapwitness.report.terminal",
)
"""What a finding needs, in pieces of some milliseconds."""


class Session:
    """Takes the messages of all processes (a `channel.Handler`).

    Args:
        on_error: what a thread that found something is told to do.
        shower: shows the findings as they come.
        trap_found: the blocks of sites at which damage is found are trapped from then on.
        mapper: draws the heap, where that was asked for; then ends and checks of processes are answered, too.
        acceptance: which findings do not count.
        limits: of this process.

    Attributes:
        ledger: what the engines say of their processes.
        malformed: messages that were no events, or not the sender's own.
        modules: the files of which processes run code.
    """

    def __init__(
        self,
        on_error: OnError,
        shower: "Shower",
        mapper: "Mapper | None" = None,
        *,
        trap_found: bool = False,
        acceptance: "Acceptance | None" = None,
        limits: "OwnLimits | None" = None,
    ) -> None:
        self.ledger = Ledger()
        self.modules = LoadedFiles()
        self.malformed = 0
        self._on_error: OnError = on_error
        self._shower = shower
        self._mapper = mapper
        self._trap_found = trap_found
        self._acceptance = acceptance
        self._limits = limits
        self._begun: Inquiry | None = None
        self._unprepared = list(reversed(_FOR_FINDINGS))

    def message(self, peer: Peer, message: bytes) -> bytes | None:
        """See `channel.Handler.message`."""
        if message.startswith(QUESTION):
            try:
                return self._inquiry().asked(message)
            except Exception as error:  # as of an event
                self._inquiry().say_surprise("a question of", peer.pid, error)
                return None
        try:
            event = parse_event(message)
        except HeapwitnessError:
            self.malformed += 1
            return None
        pid = peer.pid or event.pid
        if event.pid != pid and not _is_known_inside_as(pid, event.pid):
            self.malformed += 1
            return None
        try:
            self.ledger.note(event, pid)
            if event.type is Type.EXIT:
                self.modules.look_last(pid)
            return None if self._is_only_noted(event) else self._inquiry().hear(event, pid)
        except Exception as error:  # what befalls one event must not end the run
            return self._inquiry().failed(event, error)

    def prepare(self) -> bool:
        """Load a part of what a finding would need, which takes some milliseconds; whether there is more."""
        if self._unprepared:
            import_module(self._unprepared[-1])
            self._unprepared.pop()
        return bool(self._unprepared)

    def unheard(self) -> None:
        """The engine waited no longer and kept a record; what was read since may be repaired already."""
        if self._begun is not None:
            self._begun.unheard()

    def tick(self) -> None:
        """Report what has waited long enough for its outcome, and look at what runs; to be called a few times a second.

        Not while messages wait to be taken: the outcome may be among them.
        """
        if self._begun is not None:
            self._begun.tick()
        self.modules.look(self.ledger.running())

    def take_records(self, log: Path, start: int) -> None:
        """Report what engines wrote to their log, from `start` on, when they got no answer; nothing comes after.

        A finding that was neither diagnosed while its thread waited nor recorded is reported as it is known.
        """
        if self._begun is not None or _may_have_more(log, start):
            self._inquiry().take_records(log, start)

    def end(self, command: tuple[str, ...], pid: int, status: int | None, warnings: Iterable[str] = ()) -> Ending:
        """Wait until everything is shown, and put it together."""
        inquired = NOTHING_FOUND if self._begun is None and self._mapper is None else self._inquiry().close()
        totals = self.ledger.totals(inquired.findings, inquired.repaired, self.ledger.dropped + inquired.dropped)
        return Ending(command, pid, status, totals, tuple(warnings), inquired, self._acceptance)

    def _is_only_noted(self, event: Event) -> bool:
        nobody = self._begun is None and self._mapper is None
        return nobody and event.type in _ONLY_NOTED and event.went_on is None

    def _inquiry(self) -> "Inquiry":
        if self._begun is None:
            from heapwitness.supervise.inquiry import Inquiry

            self._begun = Inquiry(
                self._on_error,
                self._shower,
                self.ledger,
                self.modules,
                self._mapper,
                trap_found=self._trap_found,
                acceptance=self._acceptance,
                limits=self._limits,
            )
        return self._begun


def _may_have_more(log: Path, start: int) -> bool:
    try:
        about = log.lstat()
        return not stat.S_ISREG(about.st_mode) or about.st_size not in (0, start)
    except FileNotFoundError:
        return False
    except OSError:  # what is wrong with it is said by who reads it
        return True


def _is_known_inside_as(pid: int, inside: int) -> bool:
    """Whether a process has the number `inside` in a pid namespace of its own; true when it is gone."""
    try:
        status = Path(f"/proc/{pid:d}/status").read_bytes()
    except OSError:
        return True
    for line in status.splitlines():
        if line.startswith(b"NSpid:"):
            return line.split()[-1] == b"%d" % inside
    return False
