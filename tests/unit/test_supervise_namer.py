"""Findings get names as long as there is room for them."""

import pytest

from heapwitness.findings.model import Detected, Finding, Frame
from heapwitness.supervise import namer as namer_module
from heapwitness.supervise.examine import Examined
from heapwitness.supervise.namer import Namer
from heapwitness.supervise.python_stack import PythonFrame


def test_finding_has_names_until_those_that_are_kept_leave_no_room(monkeypatch: pytest.MonkeyPatch) -> None:
    bare = Finding(kind="double-free", detected=Detected(when="free", thread=1, stack=(Frame(pc=1),)))
    examined = Examined((bare,), "", "", (PythonFrame("handler", "server.py", 3, entry=False),))
    sentences: list[str] = []
    namer = Namer(sentences.append)

    named = namer.finding(bare, examined)
    monkeypatch.setattr(namer_module, "NAMES_LIMIT", named.characters)
    beside_none = namer.finding(bare, examined)
    namer.keep(named)
    beside_one = namer.finding(bare, examined)
    namer.close()

    assert [frame.function for frame in named.finding.detected.stack] == [None, "handler"]
    assert beside_none == named
    assert beside_one == (bare, 0)
    assert sentences == []
