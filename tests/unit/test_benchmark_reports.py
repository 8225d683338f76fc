"""The runner of public reports: its table of what is right, and its judgement."""

import json as standard
import re
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
from support.heaps import Heap

from heapwitness.findings.model import Program, Report, Summary
from heapwitness.report import json

FOLDER = Path(__file__).parents[2] / "benchmarks" / "public_reports"
if not FOLDER.is_dir():
    pytest.skip("needs the benchmarks", allow_module_level=True)
sys.path.append(str(FOLDER))
import judge  # noqa: E402
from outcome import Outcome  # noqa: E402

TABLE = tomllib.loads((FOLDER / "rows.toml").read_text())


def overflow(*, status: int = 99, errors: str = "", length: int = 3) -> Outcome:
    """The outcome of a run with an overflow of a block of 20 bytes."""
    heap = Heap()
    blocks = [heap.allocate(20) for _ in range(3)]
    heap.write(heap.end(blocks[1]), b"x" * length)
    report = Report(
        program=Program(argv=("./server",), exit_status=0),
        findings=heap.findings(),
        summary=Summary(operations=3, findings=1),
    )
    return Outcome(status, errors, standard.loads(json.encode(report)))


def row(**right: Any) -> dict[str, Any]:
    return {"right": [right]}


RIGHT = {"kind": "heap-buffer-overflow", "offset": 0, "length": 3, "culprit": {"size": 20, "end": 0}}


def test_a_report_that_is_as_it_should_be_has_no_complaint() -> None:
    outcome = overflow(errors="it may\n  be so")
    expected = row(total=1, each=RIGHT, program=0, operations=3, says=["may be"], never=["surely"])

    assert judge.complaints(expected, outcome) == []


@pytest.mark.parametrize(
    ("right", "complaint"),
    [
        ({"total": 2}, "1 findings, not 2"),
        ({"total": 0}, "status 99, not 0"),
        ({"status": 2}, "status 99, not 2"),
        ({"program": 143}, "told as 0, not 143"),
        ({"operations": 4}, "3 operations"),
        ({"says": ["may be"]}, "does not say 'may be'"),
        ({"never": ["finding$"]}, "says 'finding$'"),
        ({"some": {"kind": "double-free"}}, "heap-buffer-overflow, not double-free"),
        ({"each": {"kind": "double-free"}}, "heap-buffer-overflow, not double-free"),
        ({"each": {"length": [4, 9]}}, "length 3"),
        ({"each": {"offset": -3}}, "offset 0"),
        ({"each": {"culprit": {"size": 24}}}, "the culprit is not the block of size 24"),
        ({"each": {"culprit": {"size": 20, "end": [1, 3]}}}, "the culprit is not the block"),
        ({"each": {"named": [{"size": 20, "start": [-8, -1]}]}}, "neither culprit nor suspect"),
    ],
)
def test_what_is_not_as_it_should_be_is_said(right: dict[str, Any], complaint: str) -> None:
    found = judge.complaints(row(**right), overflow(errors="1 finding"))

    assert [one for one in found if complaint in one]


def test_one_lawful_outcome_is_enough() -> None:
    expected = {"right": [{"total": 0}, {"total": 1}]}

    assert judge.complaints(expected, overflow()) == []


def test_a_run_without_a_report_is_wrong() -> None:
    assert judge.complaints(row(status=139), Outcome(139, "", {})) == ["no report"]


def test_a_suspect_is_accused_and_the_scene_is_not() -> None:
    outcome = overflow()
    finding = outcome.findings[0]
    expected = row(each={"named": [{"size": 20, "end": 0}]})

    finding["culprit"], finding["victim"] = None, finding["culprit"]
    assert judge.complaints(expected, outcome) != []
    finding["suspects"] = [{"block": finding["victim"], "why": "it ends there"}]
    assert judge.complaints(expected, outcome) == []


def test_a_run_is_what_its_row_is_about_when_the_fault_struck() -> None:
    assert judge.strikes({}, overflow())
    assert judge.strikes({"strikes": {"length": [1, 8]}}, overflow())
    assert not judge.strikes({"strikes": {"length": [5, 8]}}, overflow())
    assert not judge.strikes({"strikes": {}}, Outcome(0, "", {}))


@pytest.mark.parametrize("one", TABLE["row"], ids=lambda one: one["name"])
def test_a_row_has_surroundings_and_outcomes_that_the_judge_knows(one: dict[str, Any]) -> None:
    outcomes = {"total", "each", "some", "struck", "status", "program", "says", "never", "operations"}
    finding = {"kind", "offset", "length", "near", "culprit", "named"}
    known = {"name", "input", "arguments", "options", "in", "signal", "right_is", "right"}
    luck = {"strikes", "attempts", "runs"}

    assert one["in"] in TABLE["surroundings"]
    assert one.keys() <= known | luck
    assert one["right"]
    for right in one["right"]:
        assert right.keys() <= outcomes
        described = [one.get("strikes", {}), *(right.get(name, {}) for name in ("each", "some", "struck"))]
        assert {key for each in described for key in each} <= finding
        for pattern in (*right.get("says", []), *right.get("never", [])):
            re.compile(pattern)
