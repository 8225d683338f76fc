"""What a process is told of its own findings when it asks (`heapwitness.check`).

question    b"HEAPWITNESS?" and, as JSON, {"pid": its number as it knows it, "since": how many it was told of}
answer      JSON: {"told": how many there are now, "ready": whether all have names, "findings": those since, as
            reports have them, "sentences": their headlines}
"""

from collections import OrderedDict, deque
from collections.abc import Iterable
from typing import NamedTuple

import msgspec

from heapwitness.findings.model import Finding
from heapwitness.supervise.cases import Case
from heapwitness.supervise.channel import QUESTION
from heapwitness.supervise.examine import Examined

KEPT_LIMIT = 256
"""Findings of a process that are kept for it, the last ones."""

PROCESSES_LIMIT = 1024
ANSWER_LIMIT = 120 << 10
"""Bytes; what has no room is told by its sentence."""


class _Question(msgspec.Struct):
    pid: int
    since: int


class Answer(msgspec.Struct):
    """See above."""

    told: int
    ready: bool
    findings: list[Finding] = []
    sentences: list[str] = []


class _KeptFinding(NamedTuple):
    number: int
    case: Case | None


class Heard:
    """The findings of each process, in the order in which they came."""

    def __init__(self) -> None:
        self._of: OrderedDict[int, deque[_KeptFinding]] = OrderedDict()

    def note(self, examined: Examined, cases: Iterable[Case | None]) -> None:
        """Keep findings and what they are counted as."""
        for finding, case in zip(examined.findings, cases, strict=True):
            kept = self._of.setdefault(finding.detected.pid, deque(maxlen=KEPT_LIMIT))
            kept.append(_KeptFinding(kept[-1].number + 1 if kept else 1, case))
        if len(self._of) > PROCESSES_LIMIT:
            self._of.popitem(last=False)

    def answer(self, message: bytes) -> bytes | None:
        """The answer to a question; None for what is none."""
        from heapwitness.report.text import headline

        try:
            question = msgspec.json.decode(message.removeprefix(QUESTION), type=_Question)
        except msgspec.MsgspecError:
            return None
        kept = self._of.get(question.pid, deque())
        fresh = [one.case for one in kept if one.number > question.since]
        told = [case.finding for case in fresh if case is not None and case.finding is not None]
        ready = len(told) == sum(case is not None for case in fresh)
        answer = Answer(told=kept[-1].number if kept else 0, ready=ready)
        for finding in told if ready else ():
            answer.findings.append(finding)
            answer.sentences.append(f"{finding.kind}: {headline(finding)}")
            if len(msgspec.json.encode(answer)) > ANSWER_LIMIT:
                answer.findings.pop()
        return msgspec.json.encode(answer)[: 2 * ANSWER_LIMIT]
