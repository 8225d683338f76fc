"""What the engines count and say of their processes, summed up over all of them."""

from collections.abc import Sequence
from dataclasses import dataclass

from heapwitness.layout.events import Event, Stats, Type
from heapwitness.report.model import Finding, Summary

PROCESSES_LIMIT = 1 << 16
_BACKUP_BYTES = 16


@dataclass(slots=True)
class _Process:
    command: tuple[str, ...]
    ended: bool = False


class Ledger:
    """Processes by pid, and totals; at most PROCESSES_LIMIT processes are told apart.

    Attributes:
        processes: how many were seen.
        loaded: how many programs were started with the engine in them.
        operations: allocations and releases checked, in the processes that ended in an orderly way.
        nodes: live nodes at the peak, summed over those.
        reported: how many of the processes said at their end what they counted.
        dropped: findings that were not looked at because there were too many.
    """

    def __init__(self) -> None:
        self._known: dict[int, _Process] = {}
        self.processes = 0
        self.loaded = 0
        self.operations = 0
        self.nodes = 0
        self.reported = 0
        self.dropped = 0

    def note(self, event: Event, pid: int) -> None:
        """Take down what an event says of its process `pid`."""
        process = self._known.get(pid)
        if process is None or (process.ended and event.type is Type.HELLO):
            process = _Process(command=())
            self.processes += 1
            if len(self._known) >= PROCESSES_LIMIT:
                self._known.pop(next(iter(self._known)))
            self._known[pid] = process
        if event.command is not None:
            process.command = event.command
        self.dropped += event.dropped
        if event.type is Type.HELLO:
            self.loaded += 1
        elif event.type is Type.EXIT:
            process.ended = True
            if event.stats is not None:
                self._add(event.stats)

    def _add(self, stats: Stats) -> None:
        self.reported += 1
        self.operations += stats.operations
        self.nodes += stats.nodes_peak

    def summary(self, findings: Sequence[Finding], repaired: int, dropped: int) -> Summary:
        """All of it as the report's summary, with the findings, those repaired, and those not looked at."""
        return Summary(
            operations=self.operations,
            nodes=self.nodes,
            findings=sum(one.count for one in findings) + dropped,
            repaired=repaired,
            backup_bytes=self.nodes * _BACKUP_BYTES,
            processes=self.processes,
            dropped=dropped,
        )

    @property
    def unended(self) -> tuple[int, ...]:
        """Pids of the processes that have not said that they end."""
        return tuple(pid for pid, process in self._known.items() if not process.ended)

    def command(self, pid: int) -> tuple[str, ...]:
        """The arguments with which a process was started, () when not known."""
        process = self._known.get(pid)
        return process.command if process is not None else ()
