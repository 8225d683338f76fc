"""What the engines count and say of their processes, summed up over all of them."""

import os
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from heapwitness.findings.totals import Totals
from heapwitness.layout.events import Event, Stats, Stranger, Type

if TYPE_CHECKING:
    from heapwitness.findings.model import Finding

PROCESSES_LIMIT = 1 << 16
STRANGERS_LIMIT = 1 << 10
COUNTED_LIMIT = 1 << 32
"""Findings that a process may say it has counted."""

ERRORS_LIMIT = 16
_NAME_LIMIT = 64
_BACKUP_BYTES = 16
_THREADS = 17
"""Which word of /proc/PID/stat, from the state on, is the number of threads."""


_PYTHON = re.compile(r"python[\d.]{0,8}t?")


class _Process:
    """`ended`: it said so. `left`: another program, which has no engine, took its place.

    `heard` are the findings that came from it, `counted` those that it had counted when it ended.
    """

    __slots__ = ("counted", "cut_short", "ended", "heard", "left", "name")

    def __init__(self) -> None:
        self.name = ""
        self.ended = self.left = self.cut_short = False
        self.heard = self.counted = 0

    @property
    def is_interpreter(self) -> bool:
        return _PYTHON.fullmatch(self.name) is not None

    @property
    def missing(self) -> int:
        return max(0, self.counted - self.heard)


class Ledger:
    """Processes by pid, and totals; at most PROCESSES_LIMIT processes are told apart.

    Attributes:
        program: command and pid of the first that said what it is.
        processes: how many were seen.
        loaded: how many programs were started with the engine in them.
        operations: allocations and releases checked, in the processes that ended in an orderly way.
        nodes: live nodes at the peak, summed over those.
        reported: how many of the processes said at their end what they counted.
        dropped: findings that were not looked at because there were too many.
        trapped, too_often, too_many, watched: see `events.Stats`.
        unwatched: the system's error numbers for which bytes were not watched.
        strangers: files of programs that were started without the engine, and why, with how often.
    """

    def __init__(self) -> None:
        # By pid; a number may be used again.
        self._processes: dict[int, _Process] = {}
        self.strangers: Counter[tuple[str, Stranger]] = Counter()
        self.program: tuple[tuple[str, ...], int] | None = None
        self.processes = 0
        self.loaded = 0
        self.operations = 0
        self.nodes = 0
        self.backup_bytes = 0
        self.reported = 0
        self.dropped = 0
        self.trapped = self.too_often = self.too_many = self.watched = 0
        self.unwatched: set[int] = set()
        self.left = 0
        # What had ended when all of this was settled.
        self._gone: frozenset[int] | None = None
        # Of processes that are not told apart any more.
        self._missing = 0
        self._interpreters = 0

    def note(self, event: Event, pid: int) -> None:
        """Take down what an event says of its process `pid`."""
        if event.type is Type.STRANGER:
            self._note_stranger(event, pid)
            return
        process = self._processes.get(pid)
        if process is None or (process.ended and event.type is Type.HELLO):
            self.processes += 1
            if process is not None:
                self._forget(pid)
            elif len(self._processes) >= PROCESSES_LIMIT:
                self._forget(next(iter(self._processes)))
            process = self._processes[pid] = _Process()
        if event.command is not None:
            process.name = _name(event.command)
            if self.program is None:
                self.program = (event.command, event.pid)
        self.dropped += event.dropped
        process.heard += event.dropped + (event.type is Type.FINDING)
        if event.type is Type.HELLO:
            self.loaded += 1
            process.left = False
            process.heard = 0
        elif event.type is Type.CRASH:
            process.ended = True
        elif event.type is Type.EXIT:
            process.ended = True
            if event.stats is not None:
                process.cut_short = event.stats.cut_short
                process.counted = min(event.stats.findings, COUNTED_LIMIT)
                self._add(event.stats)

    def hear(self, pid: int, more: int) -> None:
        """Count findings of a process as heard; with -1 one that was noted, and is to come once more as a record."""
        process = self._processes.get(pid)
        if process is not None:
            process.heard += more

    def heard_from(self, pid: int) -> int:
        """How many findings have come from a process so far."""
        process = self._processes.get(pid)
        return process.heard if process is not None else 0

    def missing(self) -> tuple[int, tuple[tuple[int, str], ...]]:
        """How many findings processes had counted when they ended that did not come, and which processes.

        What a process in a pid namespace recorded has another pid than what it said; so what came from processes whose
        end nobody heard is held against it.
        """
        silent = sum(one.heard for one in self._processes.values() if not one.counted)
        lacking = tuple((pid, one.name) for pid, one in self._processes.items() if one.missing)
        count = max(0, self._missing + sum(one.missing for one in self._processes.values()) - silent)
        return count, lacking if count else ()

    def _forget(self, pid: int) -> None:
        gone = self._processes.pop(pid)
        self._missing += gone.missing
        self._interpreters += gone.is_interpreter

    def _note_stranger(self, event: Event, pid: int) -> None:
        why = event.stranger
        if event.replaced and pid in self._processes:
            self._processes[pid].left = True
        if why is None or not event.command:
            return
        key = (event.command[0], why)
        if key in self.strangers or len(self.strangers) < STRANGERS_LIMIT:
            self.strangers[key] += 1

    def _add(self, stats: Stats) -> None:
        self.reported += 1
        self.left += min(stats.left, COUNTED_LIMIT)
        self.operations += stats.operations
        self.nodes += stats.nodes_peak
        self.backup_bytes += stats.nodes_peak * _BACKUP_BYTES if stats.backup_bytes is None else stats.backup_bytes
        self.trapped += stats.trapped
        self.too_often += stats.too_often
        self.too_many += stats.too_many
        self.watched += stats.watched
        if stats.unwatched and len(self.unwatched) < ERRORS_LIMIT:
            self.unwatched.add(stats.unwatched)

    def totals(self, findings: "Sequence[Finding]", repaired: int, dropped: int) -> Totals:
        """All of it in numbers, with the findings, those repaired, and those not looked at."""
        missing, _ = self.missing()
        return Totals(
            operations=self.operations,
            nodes=self.nodes,
            findings=sum(one.count for one in findings) + dropped + missing,
            repaired=repaired,
            backup_bytes=self.backup_bytes,
            processes=self.processes,
            dropped=dropped,
            trapped=self.trapped,
            watched=self.watched,
            missing=missing,
            interpreters=self._interpreters + sum(one.is_interpreter for one in self._processes.values()),
        )

    def settle(self) -> None:
        """Nobody is listened to for much longer: who runs now may end without being heard, and counts as running.

        What those have said that have ended by now is there to be taken, and is to be noted yet.
        """
        self._gone = frozenset(pid for pid, _ in self._silent() if not _runs(pid))

    def running(self) -> tuple[int, ...]:
        """Pids of the processes that have not said that they end, and have not ended all the same."""
        return tuple(pid for pid, _ in self._silent() if self._is_running(pid))

    def unchecked(self) -> tuple[tuple[int, str], ...]:
        """Pids and names of the processes that have ended and did not say so."""
        return tuple((pid, name) for pid, name in self._silent() if not self._is_running(pid))

    def _silent(self) -> Iterator[tuple[int, str]]:
        return ((pid, one.name) for pid, one in self._processes.items() if not (one.ended or one.left))

    def _is_running(self, pid: int) -> bool:
        return _runs(pid) if self._gone is None else pid not in self._gone

    def cut_short(self) -> tuple[tuple[int, str], ...]:
        """Pids and names of the processes whose last check did not come to its end."""
        return tuple((pid, one.name) for pid, one in self._processes.items() if one.cut_short)


def _name(command: Sequence[str]) -> str:
    """What a process is called: its program's name without the directory."""
    return os.path.basename(command[0])[:_NAME_LIMIT] if command else ""


def _runs(pid: int) -> bool:
    try:
        with open(f"/proc/{pid:d}/stat", "rb") as stream:
            words = stream.read().rpartition(b")")[2].split()
            # Of a process whose first thread alone has ended others are left.
            return words[0] not in (b"Z", b"X") or int(words[_THREADS]) > 1
    except (OSError, IndexError, ValueError):
        return False
