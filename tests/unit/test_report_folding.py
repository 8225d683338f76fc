"""The same bug found many times is one finding: accesses of one line, but a write is not told as a read, and what
follows from one reference too few."""

import msgspec

from heapwitness.findings.model import Access, Block, Detected, Finding, Frame, Kind, Release, Site, Store
from heapwitness.findings.words import with_main
from heapwitness.supervise.cases import Cases, Shown
from heapwitness.supervise.examine import Examined

COUNT = Store(address=64 + 16, size=8, stack=(Frame(pc=1),))
"""An access to an object's count of references."""


def told(*findings: Finding) -> tuple[Finding, ...]:
    """What is told of findings that come one after the other."""
    cases, shown = Cases(), Shown()
    for finding in findings:
        for case, new in cases.add(Examined((finding,), "", "program")):
            shown.add(case, new)
    return shown.findings()[0]


def found(pc: int, kind: Kind = "heap-buffer-overflow", address: int = 0, repaired: bool = True) -> Finding:
    site = Site(thread=1, stack=(Frame(pc=pc),))
    block = Block(address=address, size=8, state="used", origin="malloc", allocated=site)
    return Finding(kind=kind, detected=Detected(when="free", thread=1), culprit=block, repaired=repaired)


def caught(access: Access, offset: int, line: int | None, *, address: int = 64, kind: Kind | None = None) -> Finding:
    frame = Frame(pc=offset, module="/bin/server", offset=offset, function="put", file="server.c", line=line)
    return Finding(
        kind=kind or "heap-buffer-overflow",
        detected=Detected(when="trap", thread=1, stack=()),
        culprit=Block(address=address, size=8, state="used", origin="malloc", domain="PyObject_Malloc"),
        store=Store(address=1, size=1, stack=(frame,)),
        access=access,
    )


def released_again(by: Release, address: int = 64) -> Finding:
    """A second release, by a function."""
    block = Block(address=address, size=8, state="free", origin="malloc", domain="PyObject_Malloc")
    detected = Detected(when="free", thread=1, stack=(Frame(pc=77, function="free"),))
    return Finding(kind="double-free", detected=detected, culprit=block, released_with=by)


def test_the_same_kind_from_the_same_site_is_folded_with_a_count() -> None:
    findings = told(found(1), found(2), found(1, address=64), found(1, "double-free"), found(1, repaired=False))

    assert [(one.kind, one.count, one.repaired) for one in findings] == [
        ("heap-buffer-overflow", 3, False),
        ("heap-buffer-overflow", 1, True),
        ("double-free", 1, True),
    ]


def test_without_a_culprit_the_stack_of_detection_tells_findings_apart() -> None:
    def at(pc: int) -> Finding:
        return Finding(kind="invalid-free", detected=Detected(when="free", thread=1, stack=(Frame(pc=pc),)))

    assert [one.count for one in told(at(1), at(2), at(1))] == [2, 1]


def test_stores_of_many_instructions_of_a_line_count_once_for_each_block() -> None:
    of_one = told(caught("write", 1, 7), caught("write", 5, 7))
    of_two = told(caught("write", 1, 7), caught("write", 5, 7, address=128), caught("write", 1, 7, address=128))

    assert [one.count for one in (*of_one, *of_two)] == [1, 2]


def test_read_of_a_line_that_was_told_as_writing_goes_with_that() -> None:
    findings = told(caught("write", 1, 7), caught("read", 5, 7))

    assert [(one.access, one.count) for one in findings] == [("write", 1)]


def test_write_of_a_line_that_was_told_as_reading_takes_its_place() -> None:
    findings = told(
        caught("read", 1, 7, kind="use-after-free-read"), caught("write", 5, 7, kind="use-after-free-write")
    )

    assert [(one.kind, one.access, one.count) for one in findings] == [("use-after-free-write", "write", 1)]


def test_write_of_another_line_than_a_read_is_told_as_well() -> None:
    assert [one.access for one in told(caught("read", 1, 7), caught("write", 5, 8))] == ["read", "write"]


def test_stores_without_a_line_are_told_apart_by_their_instructions() -> None:
    assert len(told(caught("write", 1, None), caught("write", 5, None))) == 2


def test_code_in_no_file_of_a_thread_without_python_is_one_by_the_line_that_the_main_thread_was_in() -> None:
    def by(access: Access, pc: int, line: str) -> Finding:
        detail = with_main("The program went on after that.", line) if line else ""
        store = Store(address=1, size=1, stack=(Frame(pc=pc),))
        return msgspec.structs.replace(caught(access, pc, None), store=store, detail=detail)

    loop = (
        by("read", 1, "work at main.py:9"),
        by("write", 2, "work at main.py:9"),
        by("write", 3, "work at main.py:9"),
    )
    another = by("write", 4, "work at main.py:10")

    assert [(one.access, one.count) for one in told(*loop, another)] == [("write", 1), ("write", 1)]
    assert len(told(by("write", 1, ""), by("write", 2, ""))) == 2


def test_second_end_of_an_object_that_is_told_to_be_used_after_its_end_is_the_same_bug() -> None:
    used = msgspec.structs.replace(caught("write", 1, 7, kind="use-after-free-write"), store=COUNT)
    later = caught("read", 1, 9, kind="use-after-free-read")

    assert [one.kind for one in told(used, later)] == ["use-after-free-write"]
    assert len(told(later, used)) == 2
    assert [one.kind for one in told(used, released_again("PyObject_Free"))] == ["use-after-free-write"]
    assert len(told(used, released_again("PyObject_Free", address=128))) == 2
    assert len(told(used, released_again("free"))) == 2
    assert len(told(released_again("PyObject_Free"))) == 1
