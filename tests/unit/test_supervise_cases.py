"""Which findings are one case, how often it was seen, and what there is no room for."""

import msgspec
import pytest

from heapwitness.findings.model import Block, Damage, Detected, Finding, Frame, Site, Store
from heapwitness.supervise import cases as cases_module
from heapwitness.supervise.cases import Cases, Shown
from heapwitness.supervise.examine import Examined
from heapwitness.supervise.python_stack import PythonFrame


def found(pc: int, *, repaired: bool = False, function: str | None = None, frames: int = 1) -> Finding:
    """A damaged block that was allocated at an address, which may have its name."""
    stack = tuple(Frame(pc=pc + place, module="a", offset=1, function=function) for place in range(frames))
    block = Block(address=64, size=8, state="used", origin="malloc", allocated=Site(thread=1, stack=stack))
    detected = Detected(when="free", thread=1)
    return Finding(kind="heap-buffer-overflow", detected=detected, culprit=block, repaired=repaired)


def examined(*findings: Finding) -> Examined:
    return Examined(findings, "", "program")


def test_findings_of_one_address_are_one_case_with_a_count() -> None:
    cases, shown = Cases(), Shown()
    ((case, finding),) = cases.add(examined(found(1, repaired=True)))

    again = list(cases.add(examined(found(1, repaired=True))))
    shown.add(case, finding)

    assert again == []
    assert [(one.count, one.repaired) for one in shown.findings()[0]] == [(2, True)]
    assert shown.findings()[1] == 2


@pytest.mark.parametrize(("blocks", "length", "told"), [(3, 16, [1, 1, 1]), (4, 16, [4]), (9, 16, [9])])
def test_blocks_of_one_call_that_were_overrun_alike_are_one_case_where_they_are_many(
    blocks: int, length: int, told: list[int]
) -> None:
    damage = Damage(address=64, length=length, offset=0, expected="", actual="", shown=0, copies=("slack",))
    alike = [msgspec.structs.replace(found(1), damage=damage) for _ in range(blocks)]
    other = msgspec.structs.replace(found(1), damage=msgspec.structs.replace(damage, length=length + 1))
    cases, shown = Cases(), Shown()

    for case, finding in cases.add(examined(*alike, other)):
        shown.add(case, finding)

    assert [finding.count for finding in shown.findings()[0]] == [*told, 1]


@pytest.mark.parametrize(("lengths", "told"), [((4, 4), [2]), ((4, 8), [1, 1])])
def test_blocks_of_one_python_line_that_were_overrun_alike_are_one_case(
    lengths: tuple[int, int], told: list[int]
) -> None:
    def overrun(length: int) -> Finding:
        line = Frame(pc=0, function="main", file="main.py", line=3, language="python")
        block = Block(address=64, size=8, state="used", origin="malloc", allocated=Site(thread=1, stack=(line,)))
        damage = Damage(address=72, length=length, offset=0, expected="", actual="", shown=0, copies=("slack",))
        return msgspec.structs.replace(found(1), culprit=block, damage=damage)

    cases, shown = Cases(), Shown()

    for case, finding in cases.add(examined(*map(overrun, lengths))):
        shown.add(case, finding)

    assert [finding.count for finding in shown.findings()[0]] == told


def stored(*lines: int) -> Examined:
    """A store of one instruction, by the Python lines that its thread was in."""
    store = Store(address=72, size=1, stack=(Frame(pc=3),))
    python = tuple(PythonFrame("f", "main.py", line, False) for line in lines)
    return Examined((msgspec.structs.replace(found(1), store=store),), "", "program", python)


def test_stores_of_one_instruction_are_told_apart_by_their_python_lines() -> None:
    cases = Cases()

    new = [pair for lines in ((5,), (7,), (5,), ()) for pair in cases.add(stored(*lines))]

    assert [case.count for case, _ in new] == [3, 1]


def test_lines_are_read_once_but_for_stores_and_what_each_is_told_with(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cases_module, "LINES_LIMIT", 3)

    once = Cases()
    of_stores = Cases()
    of_each = Cases()

    assert [once.want_lines(examined(found(1))) for _ in range(5)] == [True, False, False, False, False]
    assert [of_stores.want_lines(stored()) for _ in range(5)] == [True, True, True, False, False]
    assert [of_each.want_lines(examined(found(1)), each=True) for _ in range(5)] == [True, True, True, False, False]


def test_cases_of_one_name_are_shown_once_and_repaired_when_all_are() -> None:
    cases, shown = Cases(), Shown()
    new = [*cases.add(examined(found(1, repaired=True))), *cases.add(examined(found(2)))]

    showed = [shown.add(case, found(5, function="f")) for case, _ in new]

    assert showed == [True, False]
    assert [(one.count, one.repaired) for one in shown.findings()[0]] == [(2, False)]


def test_findings_of_one_event_are_cases_of_their_own_though_their_names_are_the_same() -> None:
    cases, shown = Cases(), Shown()
    new = list(cases.add(examined(found(1), found(1))))

    showed = [shown.add(case, finding) for case, finding in new]

    assert showed == [True, True]
    assert [one.count for one in shown.findings()[0]] == [1, 1]


def test_case_that_could_not_be_named_is_told_bare_and_only_once() -> None:
    cases, shown = Cases(), Shown()
    (named, _), (nameless, bare) = cases.add(examined(found(1), found(2)))
    shown.add(named, found(1, function="f"))

    for case in (named, nameless):
        shown.add_bare(case, bare)

    assert shown.findings()[0] == (found(1, function="f"), bare)


def test_findings_beyond_the_room_for_cases_are_counted_as_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cases_module, "CASES_LIMIT", 2)
    cases = Cases()

    new = [pair for pc in (1, 2, 3, 3, 1) for pair in cases.add(examined(found(pc)))]

    assert [case.count for case, _ in new] == [2, 1]
    assert cases.dropped == 2


def test_finding_whose_names_make_too_many_frames_is_dropped_with_what_is_counted_later(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(cases_module, "FRAMES_LIMIT", 10)
    cases, shown = Cases(), Shown()
    ((case, finding),) = cases.add(examined(found(1)))

    showed = shown.add(case, found(1, frames=21))
    list(cases.add(examined(finding)))

    assert (showed, shown.findings(), shown.dropped) == (False, ((), 0), 2)
