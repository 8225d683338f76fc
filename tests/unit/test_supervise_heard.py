"""What a process is told of its findings: an answer that fits a socket, and that can be read, whatever was found."""

import json

import pytest

from heapwitness.findings.model import Block, Detected, Finding, Frame, Site
from heapwitness.supervise.cases import Case
from heapwitness.supervise.channel import QUESTION
from heapwitness.supervise.examine import Examined
from heapwitness.supervise.heard import SENTENCES_LIMIT, Heard

PID = 7


def finding(name: str, frames: int) -> Finding:
    stack = tuple(Frame(pc=at, function=name, file=f"/{name}.c", line=at + 1) for at in range(frames))
    block = Block(address=0x1000, size=40, state="used", origin="malloc", allocated=Site(thread=1, stack=stack))
    return Finding(kind="heap-buffer-overflow", detected=Detected(when="free", thread=1, pid=PID), culprit=block)


def answer(*findings: Finding, texts: bool = False) -> dict[str, list[object]]:
    heard = Heard()
    cases = [Case(number, finding=one) for number, one in enumerate(findings)]
    heard.note(Examined(findings, "", ""), cases)
    given = heard.answer(QUESTION + json.dumps({"pid": PID, "since": 0, "texts": texts}).encode())
    assert given is not None and len(given) < SENTENCES_LIMIT + (32 << 10)
    decoded: dict[str, list[object]] = json.loads(given)
    return decoded


@pytest.mark.parametrize("texts", [False, True])
def test_answer_to_many_long_findings_is_whole(texts: bool) -> None:
    told = answer(*(finding(f"{number:03}" + "f" * 290, 4) for number in range(256)), texts=texts)

    assert len(told["sentences"]) == len(told["accepted"]) == 256


def test_findings_stand_as_far_as_their_sentences() -> None:
    told = answer(finding("small", 1), finding("large", 3000), finding("later", 1))

    assert len(told["findings"]) == 1 and len(told["sentences"]) == 3
    assert "small" in str(told["findings"][0]) and "small" in str(told["sentences"][0])
