"""Findings named, folded and shown as they come, beside the loop that answers.

Reading a file's debugging information may take seconds; it happens in a thread of its own, when the
program has its answer long since.
"""

import queue
import threading
import time
from collections import Counter
from collections.abc import Hashable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import msgspec

from heapwitness.findings.model import Crash, Finding, HeapMap
from heapwitness.findings.stacks import stacks, telling_stack
from heapwitness.report.folding import same
from heapwitness.supervise.examine import Examined
from heapwitness.supervise.merge import merged, with_python

if TYPE_CHECKING:
    from heapwitness.symbols.remote import Remote

CRASHES_LIMIT = 1000
"""Crashes that are kept and shown."""

CASES_LIMIT = 10_000
"""Different findings that are kept and shown; what is beyond is counted as dropped."""

FRAMES_LIMIT = 200_000
"""Frames in all of them: nearly all of a report is frames, some 300 bytes each. Findings that tell of no block and no
bytes, as forged ones do, get a quarter."""

QUEUED_LIMIT = 32
"""Findings of a file that are held until they have names."""

_PATIENCE = 0.01

NAMES_LIMIT = 128 << 20
"""Characters of names in them; frames beyond have none."""


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
    """Takes findings from the loop; everything but `close`, and `submit` when it is patient, returns at once.

    Args:
        shower: shows each different finding once.
        until: for records, their time in seconds since 1970; see `symbols.Resolver`.

    Attributes:
        dropped: findings that were too many to keep.
        crashes: in the order in which they came; complete after `close`.
        maps: as crashes.
    """

    def __init__(self, shower: Shower, until: float | None = None) -> None:
        self.dropped = 0
        self.crashes: tuple[Crash, ...] = ()
        self._shower = shower
        self._until = until
        self.maps: tuple[HeapMap, ...] = ()
        self._queue: queue.SimpleQueue[_Case | Examined | tuple[HeapMap, str] | str | None] = queue.SimpleQueue()
        self._crashed = 0
        self._asked: set[Hashable] = set()
        self._counts: Counter[Hashable] = Counter()
        self._repaired: Counter[Hashable] = Counter()
        self._frames = 0
        self._thread: threading.Thread | None = None
        # Written by the thread only, read after its end.
        self._shown: dict[Hashable, _Shown] = {}
        self._same: dict[Hashable, Hashable] = {}
        self._named = self._characters = 0
        self._unkept: set[Hashable] = set()

    def is_new(self, examined: Examined) -> bool:
        """Whether one of the findings was neither submitted nor asked for before."""
        keys = set(_raw_keys(examined))
        new = not keys <= self._asked
        if len(self._asked) < CASES_LIMIT:
            self._asked |= keys
        return new

    def submit(self, examined: Examined, *, patiently: bool = False) -> None:
        """Count findings; those that are new are named and shown.

        Args:
            patiently: wait while many are to be shown, as of a file of them; else what was submitted is kept.
        """
        while patiently and self._queue.qsize() >= QUEUED_LIMIT:
            time.sleep(_PATIENCE)
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

    def map(self, taken: HeapMap, code: str) -> None:
        """Name the sites of a heap's map; `code` are the mappings of its process."""
        self._put((taken, code))

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

    def _put(self, item: _Case | Examined | tuple[HeapMap, str] | str) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="reporter", daemon=True)
            self._thread.start()
        self._queue.put(item)

    def _work(self) -> None:
        from heapwitness.symbols.remote import Remote

        names = Remote(self._shower.sentence, self._until)
        while True:
            item = self._queue.get()
            if item is None:
                names.close()
                return
            if isinstance(item, str):
                self._shower.sentence(item)
                continue
            if isinstance(item, Examined):
                self._show_crash(item, names)
                continue
            if isinstance(item, tuple):
                self._name_map(*item, names)
                continue
            try:
                self._show(item, names)
            except Exception as error:  # what befalls one finding must not keep the next from being shown
                key = self._same.setdefault(item.key, item.key)
                self._shown.setdefault(key, _Shown(item.finding, 0, 0))
                self._shower.sentence(f"a finding could not be shown in full: {type(error).__name__}: {error}")

    def _show(self, item: _Case, names: "Remote") -> None:
        finding = merged(names.finding(item.finding, item.examined.maps), item.examined.python)
        characters = _characters(finding)
        if self._characters + characters > NAMES_LIMIT:
            finding, characters = item.finding, 0
        key = (same(finding), item.key[-1])
        if key not in self._shown:
            # Inlined functions make many frames of one address.
            self._named += _frames(finding)
            if self._named > 2 * FRAMES_LIMIT:
                self._unkept.add(item.key)
                return
        self._same[item.key] = key
        if key not in self._shown:
            self._characters += characters
            self._shown[key] = _Shown(finding, 0, 0)
            self._shower.finding(finding)

    def _name_map(self, taken: HeapMap, code: str, names: "Remote") -> None:
        try:
            taken = names.heap_map(taken, code)
        except Exception as error:  # as of a finding
            self._shower.sentence(f"a map's sites could not be named: {type(error).__name__}: {error}")
        self.maps += (taken,)

    def _show_crash(self, examined: Examined, names: "Remote") -> None:
        crash = examined.crash
        if crash is None:
            return
        try:
            crash = names.crash(crash, examined.maps)
            if examined.python:
                crash = msgspec.structs.replace(crash, stack=with_python(crash.stack, examined.python))
            self._shower.crash(crash)
        except Exception as error:  # as of a finding
            self._shower.sentence(f"a crash could not be shown in full: {type(error).__name__}: {error}")
        self.crashes += (crash,)


def _frames(finding: Finding) -> int:
    """How many frames a finding has in all its stacks."""
    return sum(map(len, stacks(finding)))


def _characters(finding: Finding) -> int:
    """How much text its frames hold."""
    frames = (frame for stack in stacks(finding) for frame in stack)
    return sum(len(text) for one in frames for text in (one.module, one.function, one.file) if text)


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
    _, stack = telling_stack(finding)
    store = finding.store.stack[0].pc if finding.store is not None and finding.store.stack else 0
    where = tuple((frame.pc, frame.file, frame.line) for frame in stack)
    return (examined.program, finding.kind, site is None, finding.detail == "", where, store)
