"""Suppressions: which findings a line speaks of, and what a wrong line is told."""

from pathlib import Path

import msgspec
import pytest
from support.reports import findings, trapped

from heapwitness.accept.suppressions import BadSuppressions, Rule, load, parse
from heapwitness.findings.model import Detected, Finding, Frame

FOUND = findings()
OVERFLOW = FOUND["heap-buffer-overflow"]


def rule(text: str) -> Rule:
    (one,) = parse(text, "rules.txt")
    return one


@pytest.mark.parametrize(
    "text",
    [
        "kind=heap-buffer-overflow",
        "kind=heap-*",
        "kind=heap-buffer-overflow module=app source=record.c",
        "source=record.c:*",
        "source=src/*.c",
        "source=/src/app/src/*",
        "module=/opt/*/app",
        "stack=detection kind=*-overflow function=*",
        'kind="heap-buffer-overflow" # why',
    ],
)
def test_a_finding_for_which_all_conditions_hold_is_suppressed(text: str) -> None:
    found = _made_by(Frame(pc=1, module="/opt/x/app", function="new_record", file="/src/app/src/record.c", line=41))

    assert rule(text).holds(found)


@pytest.mark.parametrize("text", ["source=./tool.py:3", "source=tool.py", "source=me/tool.py", "source=me/./tool.py:3"])
@pytest.mark.parametrize("file", ["./tool.py", "/home/me/tool.py", "/home/me/./tool.py", "/home/././me/./tool.py"])
def test_a_script_that_was_started_with_a_dot_is_the_same_file(text: str, file: str) -> None:
    found = _made_by(Frame(pc=1, function="main", file=file, line=3))

    assert rule(text).holds(found) is ("me/" not in text or "me/" in file)


@pytest.mark.parametrize(
    "text",
    [
        "kind=double-free",
        "kind=heap-buffer-overflow function=other",
        "source=ecord.c",
        "source=record.c:4",
        "source=src/*.h",
        "module=ap",
        "function=new_Record",
        "function=new_record module=libc.so*",
        "stack=store function=new_record",
    ],
)
def test_a_condition_that_does_not_hold_keeps_the_finding(text: str) -> None:
    found = _made_by(Frame(pc=1, module="/opt/x/app", function="new_record", file="/src/app/src/record.c", line=41))

    assert not rule(text).holds(found)


def test_conditions_on_a_frame_hold_for_one_and_the_same() -> None:
    inner = Frame(pc=1, module="/lib/libx.so", function="inner", file="/x.c", line=1)
    outer = Frame(pc=2, module="/app", function="outer", file="/y.c", line=2)

    found = _made_by(inner, outer)

    assert rule("function=inner module=libx.so").holds(found)
    assert rule("function=outer source=y.c:2").holds(found)
    assert not rule("function=inner module=app").holds(found)


def test_who_only_noticed_is_meant_only_where_nothing_else_is_known_or_where_it_is_asked_for() -> None:
    bare = msgspec.structs.replace(OVERFLOW, culprit=None, victim=None, suspect=None, detected=_noticed_by("walker"))

    assert not rule("function=walker").holds(msgspec.structs.replace(OVERFLOW, detected=_noticed_by("walker")))
    assert rule("function=walker stack=detection").holds(
        msgspec.structs.replace(OVERFLOW, detected=_noticed_by("walker"))
    )
    assert rule("function=walker").holds(bare)


def test_wrong_release_and_caught_store_are_places_of_the_fault() -> None:
    double = msgspec.structs.replace(FOUND["double-free"], detected=_noticed_by("drop_twice"))
    store = trapped().store
    assert store is not None

    assert rule("function=drop_twice").holds(double)
    assert rule(f"stack=store function={store.stack[0].function}").holds(trapped())


def test_a_function_is_meant_with_and_without_its_arguments() -> None:
    found = _made_by(Frame(pc=1, function="std::vector<int, std::allocator<int> >::reserve(unsigned long)"))

    assert rule("function=std::vector::reserve").holds(found)
    assert rule('function="std::vector<int, *>::reserve(unsigned long)"').holds(found)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("kind", "rules.txt:3: 'kind' is no condition of the form key=pattern."),
        ("kinds=double-free", "rules.txt:3: 'kinds' is no condition; there are kind, function, module, source, stack"),
        ("kind=double-fee", "rules.txt:3: there is no kind 'double-fee'; there are heap-buffer-overflow"),
        ("stack=heap function=f", "rules.txt:3: there is no stack 'heap'; there are allocation, release"),
        ("function=", "rules.txt:3: function is empty."),
        ('function="f', "rules.txt:3: the pattern of function has no closing quotation mark."),
        ('function="f"g', "rules.txt:3: the pattern of function has no closing quotation mark."),
        ("function=f function=g", "rules.txt:3: function is given twice."),
        ("function=*", "rules.txt:3: this would suppress everything"),
        ("stack=store", "rules.txt:3: this would suppress everything"),
        ("function=f g", "rules.txt:3: 'g' is no condition of the form key=pattern."),
    ],
)
def test_a_wrong_line_is_told_by_file_and_number(text: str, said: str) -> None:
    with pytest.raises(BadSuppressions) as raised:
        parse(f"# first\n\n{text}\n", "rules.txt")

    assert str(raised.value).startswith(said)


def test_a_file_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    (tmp_path / "bytes.txt").write_bytes(b"function=f\nfunction=\xff\n")

    with pytest.raises(BadSuppressions, match=r"bytes\.txt:2: this is no text in UTF-8"):
        load(tmp_path / "bytes.txt")
    with pytest.raises(BadSuppressions, match="cannot be read"):
        load(tmp_path)


def _made_by(*frames: Frame) -> Finding:
    assert OVERFLOW.culprit is not None and OVERFLOW.culprit.allocated is not None
    site = msgspec.structs.replace(OVERFLOW.culprit.allocated, stack=frames)
    return msgspec.structs.replace(OVERFLOW, culprit=msgspec.structs.replace(OVERFLOW.culprit, allocated=site))


def _noticed_by(function: str) -> Detected:
    return msgspec.structs.replace(OVERFLOW.detected, stack=(Frame(pc=1, module="/opt/x/app", function=function),))
