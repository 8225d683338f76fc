"""JUnit XML of a report."""

import xml.etree.ElementTree as ElementTree

import msgspec
from support.reports import crash, everything, findings, report_of

from heapwitness.findings.model import Report
from heapwitness.report import junit


def suite_of(report: Report) -> ElementTree.Element:
    suite = ElementTree.fromstring(junit.encode(report)).find("testsuite")
    assert suite is not None
    return suite


def test_each_finding_is_a_case_that_failed_with_the_report_in_it() -> None:
    suite = suite_of(report_of(*findings().values()))

    cases = suite.findall("testcase")
    assert (suite.get("tests"), suite.get("failures")) == ("9", "9")
    assert [one.find("failure").get("type") for one in cases] == list(findings())  # type: ignore[union-attr]
    assert "from end  part" in (cases[0].findtext("failure") or "")
    assert (cases[0].get("file"), cases[0].get("line")) == ("/src/app/src/record.c", "41")


def test_a_crash_is_an_error() -> None:
    suite = suite_of(report_of(crashes=(crash(),)))

    (case,) = suite.findall("testcase")
    assert suite.get("errors") == "1"
    assert case.find("error").get("type") == "SIGSEGV"  # type: ignore[union-attr]


def test_a_run_without_findings_is_a_case_that_passed() -> None:
    suite = suite_of(report_of())

    (case,) = suite.findall("testcase")
    assert list(case) == []
    assert suite.get("failures") == "0"


def test_warnings_are_kept() -> None:
    assert suite_of(everything()).findtext("system-err") == "something was guessed."


def test_what_xml_cannot_hold_is_escaped() -> None:
    finding = msgspec.structs.replace(findings()["double-free"], detail="a\x00\x1b]]>&<b>\udcff\ufffe")

    suite = suite_of(report_of(finding))

    text = " ".join((suite.findtext("testcase/failure") or "").split())
    assert "a\\x00\\x1b]]>&<b>\\udcff\\ufffe" in text
