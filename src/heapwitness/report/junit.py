"""The report as JUnit XML: a case that failed for each finding and each crash, one that passed where there is none."""

import io
import xml.etree.ElementTree as ElementTree

from heapwitness.findings.model import Accepted, Crash, Finding, Report
from heapwitness.report import accepted, terminal, text
from heapwitness.report import crash as crash_text
from heapwitness.report.facts import thread
from heapwitness.report.spots import spot

_WIDTH = 100


def encode(report: Report) -> bytes:
    """The document."""
    name = report.program.argv[0] if report.program is not None and report.program.argv else report.source or "heap"
    program = text.clean(name)
    suite = ElementTree.Element("testsuite", name="heapwitness", tests="0", failures="0", errors="0", skipped="0")
    for finding in report.findings:
        _finding(suite, program, finding)
    for crash in report.crashes:
        _crash(suite, program, crash)
    for one in report.accepted:
        _accepted(suite, program, one)
    if not len(suite):
        _case(suite, program, "heap")
    suite.set("tests", str(len(suite)))
    suite.set("failures", str(len(report.findings)))
    suite.set("errors", str(len(report.crashes)))
    suite.set("skipped", str(len(report.accepted)))
    sentences = [text.harmless(one) for one in (*report.warnings, *accepted.sentences(report))]
    if sentences:
        ElementTree.SubElement(suite, "system-err").text = "\n".join(sentences)
    root = ElementTree.Element("testsuites")
    root.append(suite)
    ElementTree.indent(root)
    document: bytes = ElementTree.tostring(root, "utf-8", xml_declaration=True)
    return document + b"\n"


def _case(suite: ElementTree.Element, program: str, name: str) -> ElementTree.Element:
    return ElementTree.SubElement(suite, "testcase", classname=program, name=name, time="0")


def _finding(suite: ElementTree.Element, program: str, finding: Finding) -> None:
    case = _case_of(suite, program, finding)
    failure = ElementTree.SubElement(case, "failure", type=finding.kind, message=text.headline(finding))
    failure.text = _text(finding)


def _accepted(suite: ElementTree.Element, program: str, one: Accepted) -> None:
    """A finding that does not count: a case that was skipped."""
    why = "suppressed" if one.by == "suppression" else "known from the baseline"
    case = _case_of(suite, program, one.finding)
    ElementTree.SubElement(case, "skipped", message=f"{why}: {text.headline(one.finding)}")


def _case_of(suite: ElementTree.Element, program: str, finding: Finding) -> ElementTree.Element:
    at = spot(finding)
    where = text.place([at.frame]) if at is not None else ""
    case = _case(suite, program, f"{finding.kind} at {where}" if where else finding.kind)
    if at is not None and at.frame.file and at.frame.line is not None:
        case.set("file", text.clean(at.frame.file))
        case.set("line", str(at.frame.line))
    return case


def _crash(suite: ElementTree.Element, program: str, crash: Crash) -> None:
    case = _case(suite, program, f"crash of {thread(crash)}")
    error = ElementTree.SubElement(case, "error", type=crash.signal, message=crash_text.headline(crash))
    error.text = _text(crash)


def _text(what: Finding | Crash) -> str:
    """As a terminal without colours shows it."""
    from rich.console import Console

    stream = io.StringIO()
    terminal.render(what, Console(file=stream, width=_WIDTH, color_system=None, force_terminal=False))
    return stream.getvalue()
