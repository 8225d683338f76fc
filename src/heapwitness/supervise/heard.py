"""What a process is told of its own findings when it asks (`heapwitness.check`).

question    b"HEAPWITNESS?" and, as JSON, {"pid": its number as it knows it, "since": how many it was told of}; with
            "family": true of the processes that it started, too (counted apart), with "texts": true as text
answer      JSON: {"told": how many there are now, "ready": whether all have names, "findings": those since, as
            reports have them, "sentences": their headlines, "accepted": why each does not count, "" where it does;
            "texts": as a report shows them, "alike": of each, the number of the first that is told as the same}
"""

import io
from collections import OrderedDict, deque
from collections.abc import Hashable, Iterable, Sequence
from typing import NamedTuple

import msgspec

from heapwitness.findings.model import Finding
from heapwitness.report.folding import same
from heapwitness.supervise.cases import Case
from heapwitness.supervise.channel import QUESTION
from heapwitness.supervise.examine import Examined
from heapwitness.supervise.merge import with_python
from heapwitness.supervise.python_stack import PythonFrame

KEPT_LIMIT = 256
"""Findings of a process that are kept for it, the last ones."""

PROCESSES_LIMIT = 1024
ANSWER_LIMIT = 120 << 10
"""Bytes; what has no room is told by its sentence."""

SENTENCES_LIMIT = 160 << 10
"""Bytes with the sentences; what has no room for its own is told by its kind. A socket takes some 200 KiB at once."""

_WIDTH = 100


class _Question(msgspec.Struct):
    pid: int
    since: int
    family: bool = False
    texts: bool = False


class Answer(msgspec.Struct):
    """See above."""

    told: int
    ready: bool
    findings: list[Finding] = []
    sentences: list[str] = []
    accepted: list[str] = []
    texts: list[str] = []
    alike: list[int] = []


class _HeardFinding(NamedTuple):
    """`python`: the lines that its own thread was in, as far as they were read."""

    number: int
    finding: Finding
    case: Case | None
    python: tuple[PythonFrame, ...]


class Heard:
    """The findings of each process, in the order in which they came."""

    def __init__(self) -> None:
        self._of: OrderedDict[tuple[int, bool], deque[_HeardFinding]] = OrderedDict()
        self._asked: set[int] = set()

    def is_asked_by(self, pid: int) -> bool:
        """Whether a process, by its number as it knows it, has asked before."""
        return pid in self._asked

    def note(self, examined: Examined, cases: Iterable[Case | None], family: Sequence[int] = ()) -> None:
        """Keep findings and what they are counted as; `family` are the processes that started theirs."""
        for finding, case in zip(examined.findings, cases, strict=True):
            own = finding.detected.pid
            for owner in ((own, False), (own, True), *((one, True) for one in family if one != own)):
                kept = self._of.setdefault(owner, deque(maxlen=KEPT_LIMIT))
                kept.append(_HeardFinding(kept[-1].number + 1 if kept else 1, finding, case, examined.python))
        while len(self._of) > PROCESSES_LIMIT:
            self._of.popitem(last=False)

    def answer(self, message: bytes, *, in_short: bool = False) -> bytes | None:
        """The answer to a question; None for what is none. `in_short`: findings are told by their kinds alone."""
        try:
            question = msgspec.json.decode(message.removeprefix(QUESTION), type=_Question)
        except msgspec.MsgspecError:
            return None
        if len(self._asked) < PROCESSES_LIMIT:
            self._asked.add(question.pid)
        kept = self._of.get((question.pid, question.family), deque())
        fresh = [(one.case, one) for one in kept if one.number > question.since and one.case is not None]
        ready = all(case.finding is not None for case, _ in fresh)
        answer = Answer(told=kept[-1].number if kept else 0, ready=ready)
        used, numbers = 0, dict[Hashable, int]()
        for number, (case, heard) in enumerate(fresh if ready else ()):
            key = (same(case.finding), case.mark is None) if case.finding is not None else number
            answer.alike.append(numbers.setdefault(key, number))
            if in_short:
                _name(case, heard.finding, answer, question.texts)
            else:
                used += _tell(case, _as_told(case, heard), answer, used, question.texts)
        return msgspec.json.encode(answer)


def _as_told(case: Case, heard: _HeardFinding) -> Finding:
    """A finding with the names of its case; what another one's numbers are is its own, and so are its Python lines."""
    own, named = heard.finding, case.finding
    assert named is not None
    one, other = own.culprit, named.culprit
    if own.damage == named.damage and own.pointer == named.pointer and own.detected.pid == named.detected.pid:
        return named
    culprit = one and other and msgspec.structs.replace(one, allocated=other.allocated, freed=other.freed)
    # The names of its other stacks nobody has looked up.
    bare = msgspec.structs.replace(own, culprit=culprit, victim=None, previous=None, suspect=None, readings=())
    noticed = msgspec.structs.replace(own.detected, stack=with_python((), heard.python))
    return msgspec.structs.replace(bare, detected=noticed, store=named.store)


def _tell(case: Case, finding: Finding, answer: Answer, used: int, in_full: bool) -> int:
    """Add a finding to an answer of which so many bytes are used; gives how many more are now."""
    from heapwitness.report.text import headline

    sentence = f"{finding.kind}: {headline(finding)}"
    room = len(msgspec.json.encode(sentence))
    if used + room > SENTENCES_LIMIT:
        sentence, room = finding.kind, len(finding.kind)
    answer.sentences.append(sentence)
    answer.accepted.append(case.mark.by if case.mark is not None else "")
    case.asked |= in_full
    whole = (_text(finding) if case.mark is None else "") if in_full else finding
    needed = len(msgspec.json.encode(whole))
    fits = used + room + needed <= ANSWER_LIMIT and (in_full or len(answer.findings) == len(answer.sentences) - 1)
    if isinstance(whole, str):
        answer.texts.append(whole if fits else "")
    elif fits:  # behind the first that has no room there are none, so that each stands as far as its sentence
        answer.findings.append(whole)
    return room + (needed if fits else 0)


def _name(case: Case, finding: Finding, answer: Answer, in_full: bool) -> None:
    """Add a finding to an answer by its kind."""
    answer.sentences.append(finding.kind)
    answer.accepted.append(case.mark.by if case.mark is not None else "")
    if in_full:
        answer.texts.append("")


def _text(finding: Finding) -> str:
    """As a terminal without colours shows it."""
    from rich.console import Console

    from heapwitness.report import terminal
    from heapwitness.report.brief import is_about_python

    stream = io.StringIO()
    shown = Console(file=stream, width=_WIDTH, color_system=None, force_terminal=False)
    terminal.render(finding, shown, briefly=is_about_python(finding))
    return stream.getvalue()
