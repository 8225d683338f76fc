"""A baseline knows the findings of an earlier report, each once, and says which ones are new."""

from pathlib import Path

import msgspec
import pytest
from support.reports import findings, report_of, trapped

from heapwitness.accept.acceptance import Acceptance, applied, load
from heapwitness.accept.asked import Accepting
from heapwitness.accept.baseline import Baseline
from heapwitness.accept.suppressions import parse
from heapwitness.errors import HeapwitnessError
from heapwitness.findings.model import Finding, Report
from heapwitness.report import json

FOUND = findings()
OVERFLOW, DOUBLE = FOUND["heap-buffer-overflow"], FOUND["double-free"]


def at_line(line: int) -> Finding:
    """The overflow, of a block that was allocated at another line of the same function."""
    culprit = OVERFLOW.culprit
    assert culprit is not None and culprit.allocated is not None
    first, *rest = culprit.allocated.stack
    stack = (msgspec.structs.replace(first, line=line), *rest)
    site = msgspec.structs.replace(culprit.allocated, stack=stack)
    return msgspec.structs.replace(OVERFLOW, culprit=msgspec.structs.replace(culprit, allocated=site))


def compared(old: Report, new: Report) -> Report:
    return applied(new, Acceptance((), Baseline(old, "old.json")))


def test_only_findings_that_the_baseline_has_not_count() -> None:
    done = compared(report_of(OVERFLOW), report_of(OVERFLOW, DOUBLE))

    assert done.findings == (DOUBLE,)
    assert (done.summary.findings, done.summary.known) == (1, 1)
    assert [(one.by, one.finding) for one in done.accepted] == [("baseline", OVERFLOW)]
    assert done.baseline is not None and (done.baseline.file, done.baseline.missing) == ("old.json", 0)


def test_what_is_not_seen_again_is_counted() -> None:
    done = compared(report_of(OVERFLOW, DOUBLE), report_of(OVERFLOW))

    assert done.baseline is not None and done.baseline.missing == 1


def test_a_finding_whose_line_moved_is_known() -> None:
    done = compared(report_of(at_line(10)), report_of(at_line(14)))

    assert done.findings == ()


def test_of_findings_that_look_alike_the_one_at_a_new_line_is_new() -> None:
    done = compared(report_of(at_line(10), at_line(20)), report_of(at_line(15), at_line(10), at_line(20)))

    assert done.findings == (at_line(15),)


def test_judged_at_once_as_many_are_known_as_there_were() -> None:
    acceptance = Acceptance((), Baseline(report_of(at_line(10))), at_once=True)

    standings = [acceptance.judge(at_line(line)) for line in (11, 12)]

    assert [(mark is not None, sure) for mark, sure in standings] == [(True, True), (False, True)]


def test_a_finding_is_known_when_its_store_was_caught_this_time() -> None:
    caught = trapped()

    done = compared(report_of(msgspec.structs.replace(caught, store=None)), report_of(caught))

    assert done.findings == ()


def test_a_report_that_was_compared_is_a_baseline_too() -> None:
    first = compared(report_of(OVERFLOW), report_of(OVERFLOW, DOUBLE))

    done = compared(json.decode(json.encode(first)), report_of(OVERFLOW, DOUBLE))

    assert done.findings == ()


def test_suppressions_count_what_they_fired_for() -> None:
    rules = parse("kind=double-free\nfunction=nobody\n", "rules.txt")
    several = msgspec.structs.replace(DOUBLE, count=3)

    done = applied(
        msgspec.structs.replace(report_of(OVERFLOW, several), summary=report_of().summary), Acceptance(rules)
    )

    assert done.findings == (OVERFLOW,)
    assert [(one.line, one.fired) for one in done.suppressions] == [(1, 3), (2, 0)]
    assert done.summary.suppressed == 3


def test_what_an_earlier_report_accepted_stays_accepted() -> None:
    rules = parse("kind=double-free\n", "rules.txt")
    first = applied(report_of(OVERFLOW, DOUBLE), Acceptance(rules))

    done = compared(report_of(OVERFLOW), first)

    assert done.findings == ()
    assert [(one.by, one.rule) for one in done.accepted] == [("suppression", 0), ("baseline", None)]
    assert (done.summary.findings, done.summary.suppressed, done.summary.known) == (0, 1, 1)


def test_a_file_that_is_no_report_is_no_baseline(tmp_path: Path) -> None:
    (tmp_path / "old.json").write_text("{}nothing")

    with pytest.raises(HeapwitnessError, match=r"the baseline .*old\.json: this is no heapwitness-report/1"):
        load(Accepting(baseline=tmp_path / "old.json"))
