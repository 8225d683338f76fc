"""What the engines count and say of their processes, summed up over all of them."""

from collections.abc import Sequence

from heapwitness.layout.events import Event, Stats, Type
from heapwitness.report.model import Finding, Program, Summary

PROCESSES_LIMIT = 1 << 16
_BACKUP_BYTES = 16


class Ledger:
    """Processes by pid, and totals; at most PROCESSES_LIMIT processes are told apart.

    Attributes:
        program: the first that said what it is.
        processes: how many were seen.
        loaded: how many programs were started with the engine in them.
        operations: allocations and releases checked, in the processes that ended in an orderly way.
        nodes: live nodes at the peak, summed over those.
        reported: how many of the processes said at their end what they counted.
        dropped: findings that were not looked at because there were too many.
    """

    def __init__(self) -> None:
        # By pid; a number may be used again.
        self._ended: dict[int, bool] = {}
        self.program: Program | None = None
        self.processes = 0
        self.loaded = 0
        self.operations = 0
        self.nodes = 0
        self.reported = 0
        self.dropped = 0

    def note(self, event: Event, pid: int) -> None:
        """Take down what an event says of its process `pid`."""
        if pid not in self._ended or (self._ended[pid] and event.type is Type.HELLO):
            self.processes += 1
            if len(self._ended) >= PROCESSES_LIMIT:
                self._ended.pop(next(iter(self._ended)))
            self._ended[pid] = False
        if event.command is not None and self.program is None:
            self.program = Program(argv=event.command, pid=event.pid)
        self.dropped += event.dropped
        if event.type is Type.HELLO:
            self.loaded += 1
        elif event.type is Type.CRASH:
            self._ended[pid] = True
        elif event.type is Type.EXIT:
            self._ended[pid] = True
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

    def ended_unheard(self, pid: int) -> bool:
        """Whether a process was heard of, and has not said that it ends."""
        return self._ended.get(pid) is False

    def running(self) -> tuple[int, ...]:
        """Pids of the processes that have not said that they end, and have not ended all the same."""
        return tuple(pid for pid, ended in self._ended.items() if not ended and _runs(pid))


def _runs(pid: int) -> bool:
    try:
        with open(f"/proc/{pid:d}/stat", "rb") as stream:
            state = stream.read().rpartition(b")")[2].split()[0]
    except (OSError, IndexError):
        return False
    return state not in (b"Z", b"X")
