"""Findings named, folded and shown as they come, beside the loop that answers.

Reading a file's debugging information may take seconds; it happens in a thread of its own, when the
program has its answer long since.
"""

import contextlib
import queue
import threading
from collections import Counter
from collections.abc import Hashable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import msgspec

from heapwitness.report.folding import same
from heapwitness.report.model import Crash, Finding
from heapwitness.supervise.examine import Examined
from heapwitness.supervise.merge import with_python

if TYPE_CHECKING:
    from heapwitness.symbols import Resolver

CRASHES_LIMIT = 1000
"""Crashes that are kept and shown."""

CASES_LIMIT = 10_000
"""Different findings that are kept and shown; what is beyond is counted as dropped."""

FRAMES_LIMIT = 200_000
"""Frames in all of them: nearly all of a report is frames, some 300 bytes each. Findings that tell of no block and no
bytes, as forged ones do, get a quarter."""


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


@dataclass(frozen=True, slots=True)
class _Case:
    key: tuple[Hashable, int]
    examined: Examined
    finding: Finding


@dataclass(slots=True)
class _Shown:
    finding: Finding
    count: int
    repaired: int


class Reporter:
    """Takes findings from the loop; everything but `close` returns at once.

    Args:
        shower: shows each different finding once.
        until: for records, their time in seconds since 1970; see `symbols.Resolver`.

    Attributes:
        dropped: findings that were too many to keep.
        crashes: in the order in which they came; complete after `close`.
    """

    def __init__(self, shower: Shower, until: float | None = None) -> None:
        self.dropped = 0
        self.crashes: tuple[Crash, ...] = ()
        self._shower = shower
        self._until = until
        self._queue: queue.SimpleQueue[_Case | Examined | str | None] = queue.SimpleQueue()
        self._crashed = 0
        self._asked: set[Hashable] = set()
        self._counts: Counter[Hashable] = Counter()
        self._repaired: Counter[Hashable] = Counter()
        self._frames = 0
        self._thread: threading.Thread | None = None
        # Written by the thread only, read after its end.
        self._shown: dict[Hashable, _Shown] = {}
        self._same: dict[Hashable, Hashable] = {}
        self._named = 0
        self._unkept: set[Hashable] = set()

    def is_new(self, examined: Examined) -> bool:
        """Whether one of the findings was neither submitted nor asked for before."""
        keys = set(_raw_keys(examined))
        new = not keys <= self._asked
        if len(self._asked) < CASES_LIMIT:
            self._asked |= keys
        return new

    def submit(self, examined: Examined) -> None:
        """Count findings; those that are new are named and shown."""
        for finding, key in zip(examined.findings, _raw_keys(examined), strict=True):
            if key not in self._counts:
                frames = self._frames + _frames(finding)
                if len(self._counts) >= CASES_LIMIT or frames > _share(finding):
                    self.dropped += finding.count
                    continue
                self._frames = frames
                self._put(_Case(key, examined, finding))
            self._counts[key] += finding.count
            self._repaired[key] += finding.count * finding.repaired
        if examined.crash is not None and self._crashed < CRASHES_LIMIT:
            self._crashed += 1
            self._put(examined)

    def say(self, text: str) -> None:
        """Show a sentence after the findings that were submitted before it."""
        self._put(text)

    def close(self) -> tuple[tuple[Finding, ...], int]:
        """Wait until everything is shown; the different findings with their counts, and how many were repaired."""
        if self._thread is not None:
            self._queue.put(None)
            self._thread.join()
            self._thread = None
        for raw, key in self._same.items():
            self._shown[key].count += self._counts[raw]
            self._shown[key].repaired += self._repaired[raw]
        self.dropped += sum(self._counts[key] for key in self._unkept)
        self._same, self._unkept = {}, set()
        findings = tuple(
            msgspec.structs.replace(one.finding, count=one.count, repaired=one.repaired == one.count)
            for one in self._shown.values()
        )
        return findings, sum(one.repaired for one in self._shown.values())

    def _put(self, item: _Case | Examined | str) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="reporter", daemon=True)
            self._thread.start()
        self._queue.put(item)

    def _work(self) -> None:
        from heapwitness.symbols import Resolver

        resolver = Resolver(self._until)
        while True:
            item = self._queue.get()
            if item is None:
                return
            if isinstance(item, str):
                self._shower.sentence(item)
                continue
            if isinstance(item, Examined):
                self._show_crash(item, resolver)
                continue
            finding = item.finding
            # A broken file's symbols or a broken terminal must not keep the next finding from being shown.
            with contextlib.suppress(Exception):
                finding = resolver.finding(finding, item.examined.maps)
            if item.examined.python:
                stack = with_python(finding.detected.stack, item.examined.python)
                finding = msgspec.structs.replace(
                    finding, detected=msgspec.structs.replace(finding.detected, stack=stack)
                )
            key = (same(finding), item.key[-1])
            if key not in self._shown:
                # Inlined functions make many frames of one address.
                self._named += _frames(finding)
                if self._named > 2 * FRAMES_LIMIT:
                    self._unkept.add(item.key)
                    continue
            self._same[item.key] = key
            if key not in self._shown:
                self._shown[key] = _Shown(finding, 0, 0)
                with contextlib.suppress(Exception):
                    self._shower.finding(finding)

    def _show_crash(self, examined: Examined, resolver: "Resolver") -> None:
        crash = examined.crash
        if crash is None:
            return
        with contextlib.suppress(Exception):
            crash = resolver.crash(crash, examined.maps)
        if examined.python:
            crash = msgspec.structs.replace(crash, stack=with_python(crash.stack, examined.python))
        self.crashes += (crash,)
        with contextlib.suppress(Exception):
            self._shower.crash(crash)


def _frames(finding: Finding) -> int:
    """How many frames a finding has in all its stacks."""
    readings = (reading.culprit for reading in finding.readings)
    blocks = (finding.culprit, finding.victim, finding.previous, finding.suspect, *readings)
    sites = [site for block in blocks if block is not None for site in (block.allocated, block.freed) if site]
    return len(finding.detected.stack) + sum(len(site.stack) for site in sites)


def _share(finding: Finding) -> int:
    return FRAMES_LIMIT if finding.culprit is not None or finding.damage is not None else FRAMES_LIMIT // 4


def _raw_keys(examined: Examined) -> list[tuple[Hashable, int]]:
    """A key for each finding: what it is of, and the how many-th of those that were found at once. These are of
    different blocks for sure, though all that is known of their allocation may be the same call."""
    seen: Counter[Hashable] = Counter()
    keys: list[tuple[Hashable, int]] = []
    for finding in examined.findings:
        key = _raw_key(examined, finding)
        keys.append((key, seen[key]))
        seen[key] += 1
    return keys


def _raw_key(examined: Examined, finding: Finding) -> Hashable:
    """The same for findings of one program that are surely the same case, by their bare addresses."""
    site = finding.culprit.allocated if finding.culprit is not None else None
    stack = finding.detected.stack if site is None or not site.stack else site.stack
    return (examined.program, finding.kind, site is None, finding.detail == "", tuple(frame.pc for frame in stack))
