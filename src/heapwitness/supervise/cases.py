"""The different findings of a run, how often each was seen and repaired, and how many of them are kept.

A finding comes as bare addresses, by which it is counted at once; which of these are told as one shows in their names,
which are found later and in a thread of their own. So there is a table for each: `Cases` is the loop's, `Shown` that
thread's, and what they share, a `Case`, is counted by the loop alone.
"""

from collections import Counter
from collections.abc import Hashable, Iterator
from dataclasses import dataclass, field

import msgspec

from heapwitness.accept.asked import Mark
from heapwitness.findings.counted import is_at_count, object_used
from heapwitness.findings.model import Accepted, Finding
from heapwitness.findings.stacks import stacks, telling_stack
from heapwitness.report.folding import alike, as_reading, families, same
from heapwitness.supervise.examine import Examined

CASES_LIMIT = 10_000
"""Different findings that are kept and shown; what is beyond is counted as dropped."""

LINES_LIMIT = 16
"""Findings of one address for which an interpreter is read, which takes a while, where each may be by another line."""

FRAMES_LIMIT = 200_000
"""Frames in all of them: nearly all of a report is frames, some 300 bytes each. Findings that tell of no block and no
bytes, as forged ones do, get a quarter."""

BLOCKS_LIMIT = 10_000
"""Blocks of which a case takes down that a trap caught an access to them."""

_MANY_ALIKE, _SOME_ALIKE = 4, 2
"""So many blocks of one allocation that were overrun alike, and were found at once, are one finding; and so many where
its Python lines are known, which tell more than a call."""

_Key = tuple[Hashable, int]
_Lines = tuple[tuple[str, int], ...]


@dataclass(slots=True, eq=False)
class Case:
    """Findings that are surely the same, by their bare addresses.

    `number` tells apart those of one event, `is_told` whether its table knows what becomes of it, and `finding` is what
    it was told as. `blocks` are those that trapped accesses left or used. With a `mark` it does not count. `asked`: its
    process was told of it, as it had asked for.
    """

    number: int
    count: int = 0
    blocks: set[Hashable] = field(default_factory=set)
    repaired: int = 0
    is_told: bool = False
    finding: Finding | None = None
    mark: Mark | None = None
    asked: bool = False

    def add(self, finding: Finding) -> None:
        """Count a finding."""
        self.count += finding.count
        self.repaired += finding.count * finding.repaired
        block = finding.culprit
        if finding.store is not None and block is not None and len(self.blocks) < BLOCKS_LIMIT:
            self.blocks.add((finding.detected.pid, block.address, block.number))


class Cases:
    """Findings by their bare addresses.

    Attributes:
        dropped: findings that were too many to keep.
    """

    def __init__(self) -> None:
        self.dropped = 0
        self._looked: Counter[_Key] = Counter()
        self._lines: dict[_Key, _Lines] = {}
        self._cases: dict[_Key, Case] = {}
        self._frames = 0

    def want_lines(self, examined: Examined, *, each: bool = False) -> bool:
        """Whether the Python lines that the thread is in tell something new, which is noted then.

        They do of an address that is seen for the first time. Of stores, which are told apart by them, and where `each`
        finding is told with its own, they do LINES_LIMIT times.
        """
        keys = set(_keys(examined))
        most = LINES_LIMIT if each or any(finding.store is not None for finding in examined.findings) else 1
        wanted = any(self._looked[key] < most for key in keys)
        self._looked.update(key for key in keys if key in self._looked or len(self._looked) < CASES_LIMIT)
        return wanted

    def add(self, examined: Examined) -> Iterator[tuple[Case, Finding]]:
        """Count findings as they are taken from here; gives those that are new."""
        for finding, key in zip(examined.findings, self._lined(examined), strict=True):
            case = self._cases.get(key)
            if case is not None:
                case.add(finding)
            elif self._has_room(finding):
                case = self._cases[key] = Case(key[-1])
                case.add(finding)
                yield case, finding
            else:
                self.dropped += finding.count

    def of(self, examined: Examined) -> Iterator[Case | None]:
        """The cases of findings that were taken; None for those that were too many to keep."""
        return map(self._cases.get, self._lined(examined))

    def _lined(self, examined: Examined) -> list[_Key]:
        """The keys of findings, with the Python lines by which stores of one instruction are told apart. A store whose
        lines nobody has read counts with the first one."""
        lines = tuple((one.file, one.line) for one in examined.python)
        keys = _keys(examined)
        for at, finding in enumerate(examined.findings):
            if finding.store is not None:
                first = self._lines.get(keys[at], lines)
                if len(self._lines) < CASES_LIMIT:
                    self._lines[keys[at]] = first
                keys[at] = ((keys[at], lines or first), keys[at][1])
        return keys

    def _has_room(self, finding: Finding) -> bool:
        frames = self._frames + _frames(finding)
        if len(self._cases) >= CASES_LIMIT or frames > _share(finding):
            return False
        self._frames = frames
        return True


@dataclass(slots=True)
class _Told:
    finding: Finding
    cases: list[Case] = field(default_factory=list)

    def counted(self) -> tuple[Finding, int]:
        """The finding with how often it was seen, and how often it was repaired.

        Of accesses that were trapped it is of how many blocks: one call of memcpy, or one line, is many instructions.
        """
        seen = sum(case.count for case in self.cases)
        repaired = sum(case.repaired for case in self.cases)
        blocks = set().union(*(case.blocks for case in self.cases))
        count = max(len(blocks), *(case.count for case in self.cases)) if blocks else seen
        return msgspec.structs.replace(self.finding, count=count, repaired=repaired == seen), min(repaired, count)


class Shown:
    """Findings by their names, as they are told."""

    def __init__(self) -> None:
        self._told: dict[object, _Told] = {}
        self._unkept: list[Case] = []
        # Objects of which a reference too few was told: all that follows from that is the same bug.
        self._used: set[Hashable] = set()
        self._frames = 0

    @property
    def dropped(self) -> int:
        """Findings whose names made too many frames."""
        return sum(case.count for case in self._unkept)

    def add(self, case: Case, finding: Finding) -> bool:
        """Tell a case as a finding with names; whether it is a new one, and there is room for it."""
        case.is_told = True
        for known in alike(finding):
            told = self._told.get((known, case.number))
            if told is not None:
                case.mark = told.cases[0].mark
                told.cases.append(case)
                return False
        earlier = self._told.get((as_reading(finding), case.number))
        used = object_used(finding)
        if used in self._used and earlier is None:
            return False
        # Inlined functions make many frames of one address.
        self._frames += _frames(finding)
        if self._frames > 2 * FRAMES_LIMIT:
            self._unkept.append(case)
            return False
        if used is not None and is_at_count(finding):
            self._used.add(used)
        if earlier is not None and earlier.cases[0].mark is None:
            del self._told[as_reading(finding), case.number]
            self._told[same(finding), case.number] = _Told(finding, [case, *earlier.cases])
        else:
            self._told[same(finding), case.number] = _Told(finding, [case])
        return True

    def add_bare(self, case: Case, finding: Finding) -> None:
        """Tell a case that could not be named as a finding of its own, unless it is told."""
        if not case.is_told:
            case.is_told = True
            self._told[case] = _Told(finding, [case])

    def findings(self) -> tuple[tuple[Finding, ...], int]:
        """The different findings that count, with how often, and how many were repaired."""
        counted = [one.counted() for one in self._told.values() if one.cases[0].mark is None]
        return tuple(finding for finding, _ in counted), sum(repaired for _, repaired in counted)

    def accepted(self) -> tuple[Accepted, ...]:
        """The different findings that do not."""
        marked = [(one, one.cases[0].mark) for one in self._told.values()]
        return tuple(
            Accepted(finding=one.counted()[0], by=mark.by, rule=mark.rule) for one, mark in marked if mark is not None
        )

    def unasked(self) -> tuple[bool, ...]:
        """Of each of `findings`, whether none of the processes that it came from has asked."""
        counted = [one for one in self._told.values() if one.cases[0].mark is None]
        return tuple(not any(case.asked for case in one.cases) for one in counted)


def _frames(finding: Finding) -> int:
    """How many frames a finding has in all its stacks."""
    return sum(map(len, stacks(finding)))


def _share(finding: Finding) -> int:
    return FRAMES_LIMIT if finding.culprit is not None or finding.damage is not None else FRAMES_LIMIT // 4


def _keys(examined: Examined) -> list[_Key]:
    """A key for each finding: what it is of, and the how many-th of those that were found at once. These are of
    different blocks for sure, though all that is known of their allocation may be the same call. Only where many of
    them, or some of one Python line, were overrun alike, they are one: by a loop that did the same to each."""
    whats = [_key(examined, finding) for finding in examined.findings]
    shapes = [_shape(finding) for finding in examined.findings]
    alike = Counter(zip(whats, shapes, strict=True))
    seen: dict[Hashable, dict[Hashable, int]] = {}
    keys: list[_Key] = []
    for number, (what, shape) in enumerate(zip(whats, shapes, strict=True)):
        numbers = seen.setdefault(what, {})
        enough = _SOME_ALIKE if _has_python_lines(examined.findings[number]) else _MANY_ALIKE
        many = shape is not None and alike[what, shape] >= enough
        keys.append((what, numbers.setdefault(shape if many else number, len(numbers))))
    return keys


def _has_python_lines(finding: Finding) -> bool:
    """Whether it is known by which Python line the block was allocated that it is of."""
    site = finding.culprit.allocated if finding.culprit is not None else None
    return site is not None and any(frame.language == "python" for frame in site.stack)


def _shape(finding: Finding) -> Hashable:
    """Where damage lies from the block that it is of; None where that is not known."""
    damage = finding.damage
    return None if damage is None or damage.offset is None else (damage.offset, damage.length)


def _key(examined: Examined, finding: Finding) -> Hashable:
    """The same for findings of one program that are surely the same case, by their bare addresses."""
    site = finding.culprit.allocated if finding.culprit is not None else None
    _, stack = telling_stack(finding)
    stored = finding.store.stack if finding.store is not None else ()
    store = (stored[0].pc, *((one.file, one.line) for one in stored if one.language == "python")) if stored else ()
    where = tuple((frame.pc, frame.file, frame.line) for frame in stack)
    return (examined.program, finding.kind, site is None, finding.detail == "", where, store, families(finding))
