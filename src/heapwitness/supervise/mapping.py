"""Maps of heaps that a run was asked for: at the first finding, at check signals, and at the end of the program."""

import time
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Literal

from heapwitness.errors import HeapwitnessError
from heapwitness.findings.model import Finding, HeapMap
from heapwitness.layout.events import Event
from heapwitness.memory import ProcessMemory
from heapwitness.supervise.allowance import Allowance
from heapwitness.supervise.examine import code_of
from heapwitness.survey.process import heap_map

CHECKS_LIMIT = 3
"""Maps of checks that are kept, the last ones."""

SECONDS_FREELY, SECONDS_A_SECOND = 60.0, 0.3
"""Time for maps: a process may say as often as it likes that it ends, or was checked."""

Taken = Literal["finding", "check", "exit", "crash"]

Mapped = tuple[HeapMap, str]
"""A map without names, and the mappings of code of its process."""


class Mapper:
    """Reads the heaps of processes that wait to be read.

    Args:
        program: the pid whose end is mapped.
        seconds: how long one map may take.

    Attributes:
        missing: maps for which there was no time.
    """

    def __init__(self, program: int, seconds: float) -> None:
        self._program = program
        self._seconds = seconds
        self._budget = Allowance(SECONDS_FREELY, SECONDS_A_SECOND)
        self.missing = 0
        self._first: Mapped | None = None
        self._checks: deque[Mapped] = deque(maxlen=CHECKS_LIMIT)
        self._last: Mapped | None = None

    def found(self, event: Event, pid: int, findings: Sequence[Finding]) -> None:
        """Map the heap in which something was found first."""
        if self._first is None and findings:
            self._first = self._map(event, pid, "finding", findings)

    def checked(self, event: Event, pid: int) -> None:
        """Map the heap that a signal asked to be checked."""
        mapped = self._map(event, pid, "check")
        if mapped is not None:
            self._checks.append(mapped)

    def ends(self, event: Event, pid: int) -> None:
        """Map the heap of the program at its end."""
        crashed = self._last is not None and self._last[0].taken == "crash"
        if pid == self._program and not crashed:
            self._last = self._map(event, pid, "exit") or self._last

    def crashes(self, event: Event, pid: int) -> None:
        """Map the heap of the program when a signal is about to end it."""
        if pid == self._program:
            self._last = self._map(event, pid, "crash") or self._last

    def taken(self) -> Iterator[Mapped]:
        """The maps, in the order in which they are shown."""
        yield from (one for one in (self._first, *self._checks, self._last) if one is not None)

    def _map(
        self,
        event: Event,
        pid: int,
        taken: Taken,
        findings: Sequence[Finding] = (),
    ) -> Mapped | None:
        if self._budget.left() <= 0:
            self.missing += 1
            return None
        started = time.monotonic()
        try:
            with ProcessMemory(pid) as memory:
                mapped = heap_map(memory, event.process, taken, findings, pid=pid, seconds=self._seconds)
                return None if mapped is None else (mapped, code_of(pid))
        except HeapwitnessError:
            return None
        finally:
            self._budget.spend(time.monotonic() - started)
