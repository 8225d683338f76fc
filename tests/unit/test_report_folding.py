"""Accesses of one line are one finding; a read is not a write."""

from heapwitness.findings.model import Access, Detected, Finding, Frame, Store
from heapwitness.report.folding import fold


def caught(access: Access, offset: int, line: int | None) -> Finding:
    frame = Frame(pc=offset, module="/bin/server", offset=offset, function="put", file="server.c", line=line)
    return Finding(
        kind="heap-buffer-overflow",
        detected=Detected(when="trap", thread=1, stack=()),
        store=Store(address=1, size=1, stack=(frame,)),
        access=access,
    )


def test_stores_of_many_instructions_of_a_line_are_one_finding() -> None:
    assert [one.count for one in fold([caught("write", 1, 7), caught("write", 5, 7)])] == [2]


def test_read_and_write_of_a_line_are_two() -> None:
    folded = fold([caught("read", 1, 7), caught("write", 5, 7)])

    assert [one.access for one in folded] == ["read", "write"]


def test_stores_without_a_line_are_told_apart_by_their_instructions() -> None:
    assert len(fold([caught("write", 1, None), caught("write", 5, None)])) == 2
