"""The report as SARIF 2.1.0, which forges and editors read.

A message's text may hold links and placeholders by that standard, so brackets and braces in it are escaped; what a
target names is harmless first.
"""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import msgspec

from heapwitness import __version__
from heapwitness.findings.model import Accepted, Finding, Frame, Kind, Report
from heapwitness.report import crash as crash_text
from heapwitness.report import text
from heapwitness.report.explain import EXPLANATIONS, Explanation, kinds
from heapwitness.report.fingerprint import VERSION, fingerprints
from heapwitness.report.frames import named
from heapwitness.report.repository import Repository
from heapwitness.report.spots import SAID, Stack, spot, stacks

SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"
_ROOT = "SRCROOT"
_IN_TIME = ("allocation", "first release", "release", "store", "read", "detection")
_ESCAPES = str.maketrans({"\\": "\\\\", "[": "\\[", "]": "\\]", "{": "{{", "}": "}}"})
_SEVERITY = "8.1"


def encode(report: Report, root: Path) -> bytes:
    """The document, with the paths of files below `root` relative to it."""
    return msgspec.json.format(msgspec.json.encode(_log(report, Repository(root))), indent=2) + b"\n"


def _log(report: Report, repository: Repository) -> dict[str, Any]:
    found = (*report.findings, *(one.finding for one in report.accepted))
    marks = fingerprints(found)
    standings = [*(_new(report) for _ in report.findings), *(_accepted(report, one) for one in report.accepted)]
    return {
        "$schema": SCHEMA,
        "version": "2.1.0",
        "runs": [
            {
                "tool": {
                    "driver": {
                        "name": "heapwitness",
                        "version": __version__,
                        "semanticVersion": __version__,
                        "rules": [_rule(kind, EXPLANATIONS[kind]) for kind in kinds()],
                    }
                },
                "columnKind": "unicodeCodePoints",
                "invocations": [_invocation(report)],
                "originalUriBaseIds": {_ROOT: {"description": {"text": "The root of the repository."}}},
                "results": [
                    {**_result(finding, mark, repository), **standing}
                    for finding, mark, standing in zip(found, marks, standings, strict=True)
                ],
            }
        ],
    }


def _new(report: Report) -> dict[str, Any]:
    """What is said of a finding that counts, where there is a baseline."""
    return {"baselineState": "new"} if report.baseline is not None else {}


def _accepted(report: Report, one: Accepted) -> dict[str, Any]:
    if one.by == "baseline":
        return {"baselineState": "unchanged"}
    rule = report.suppressions[one.rule] if one.rule is not None and 0 <= one.rule < len(report.suppressions) else None
    why = (
        {"justification": f"{text.clean(rule.text)} ({text.clean(rule.file)}:{rule.line})"} if rule is not None else {}
    )
    return {**_new(report), "suppressions": [{"kind": "external", "status": "accepted", **why}]}


def _rule(kind: Kind, one: Explanation) -> dict[str, Any]:
    lists = [("Often comes from", one.causes), ("Look at", one.look)]
    plain = "\n\n".join(
        [one.meaning, *(f"{title}:\n" + "\n".join(f"- {each}" for each in each_) for title, each_ in lists)]
    )
    return {
        "id": kind,
        "name": "".join(word.capitalize() for word in kind.split("-")),
        "shortDescription": {"text": one.title},
        "fullDescription": {"text": one.summary},
        "help": {"text": plain, "markdown": plain},
        "helpUri": one.link,
        "defaultConfiguration": {"level": "error"},
        "properties": {
            "tags": ["security", "memory-safety", f"external/cwe/cwe-{one.cwe}"],
            "precision": "very-high",
            "security-severity": _SEVERITY,
        },
    }


def _invocation(report: Report) -> dict[str, Any]:
    program = report.program
    status = program.exit_status if program is not None else None
    notes = [("note", one) for one in report.warnings]
    notes += [("warning", crash_text.headline(one)) for one in report.crashes]
    notifications = [{"level": level, "message": _message(text.harmless(one))} for level, one in notes]
    return {
        # Of heapwitness itself: that a program failed is no failure of looking at it.
        "executionSuccessful": True,
        **({"exitCode": status} if status is not None else {}),
        **({"arguments": [text.clean(word) for word in program.argv]} if program is not None else {}),
        **({"toolExecutionNotifications": notifications} if notifications else {}),
    }


def _result(finding: Finding, mark: str, repository: Repository) -> dict[str, Any]:
    at = spot(finding)
    location = _location(at.frame, repository) if at is not None else None
    told = list(stacks(finding))
    flow = sorted(told, key=lambda stack: _IN_TIME.index(stack.role))
    return {
        "ruleId": finding.kind,
        "ruleIndex": kinds().index(finding.kind),
        "level": "error" if finding.certain else "warning",
        "kind": "fail",
        "message": _message(_sentence(finding)),
        "occurrenceCount": finding.count,
        **({"locations": [location]} if location else {}),
        **({"codeFlows": [_code_flow(flow, repository)]} if flow else {}),
        **({"stacks": _stacks(told, repository)} if told else {}),
        "partialFingerprints": {f"heapwitness/v{VERSION}": mark},
        "properties": {"repaired": finding.repaired, "certain": finding.certain},
    }


def _sentence(finding: Finding) -> str:
    sentence = text.headline(finding)
    detail = text.harmless(finding.detail)
    return f"{sentence}." + (f" {detail}" if detail else "")


def _message(plain: str) -> dict[str, str]:
    return {"text": plain.translate(_ESCAPES)}


def _code_flow(flow: Sequence[Stack], repository: Repository) -> dict[str, Any]:
    return {"threadFlows": [{"locations": list(_steps(flow, repository))}]}


def _steps(flow: Sequence[Stack], repository: Repository) -> Iterator[dict[str, Any]]:
    for order, stack in enumerate(flow, 1):
        frame = named(stack.frames)
        if frame is not None:
            location = {**_location(frame, repository), "message": _message(_said(stack))}
            yield {"location": location, "stack": _stack(stack, repository), "executionOrder": order}


def _stacks(told: Sequence[Stack], repository: Repository) -> list[dict[str, Any]]:
    """All different ones: blocks that were allocated at one place have the same."""
    shown: list[dict[str, Any]] = []
    for stack in told:
        one = _stack(stack, repository)
        if one not in shown:
            shown.append(one)
    return shown


def _said(stack: Stack) -> str:
    block = f"{text.sized(stack.block)} was " if stack.block is not None else ""
    return f"{block}{SAID[stack.role]}"


def _stack(stack: Stack, repository: Repository) -> dict[str, Any]:
    return {
        "message": _message(_said(stack)),
        "frames": [_frame(frame, stack, repository) for frame in stack.frames],
    }


def _frame(frame: Frame, stack: Stack, repository: Repository) -> dict[str, Any]:
    return {
        "location": _location(frame, repository),
        **({"module": text.clean(os.path.basename(frame.module))} if frame.module else {}),
        **({"threadId": stack.thread} if stack.thread else {}),
    }


def _location(frame: Frame, repository: Repository) -> dict[str, Any]:
    return {
        **({"physicalLocation": _physical(frame, frame.file, repository)} if frame.file else {}),
        "logicalLocations": [{"fullyQualifiedName": text.function(frame), "kind": "function"}],
    }


def _physical(frame: Frame, file: str, repository: Repository) -> dict[str, Any]:
    region: dict[str, int] = {}
    if frame.line is not None and frame.line > 0:
        region["startLine"] = frame.line
        if frame.column is not None and frame.column > 0:
            region["startColumn"] = frame.column
    return {"artifactLocation": _artifact(file, repository), **({"region": region} if region else {})}


def _artifact(file: str, repository: Repository) -> dict[str, str]:
    relative = repository.relative(file)
    if relative is not None:
        return {"uri": _quoted(relative), "uriBaseId": _ROOT}
    return {"uri": f"file://{_quoted(os.path.normpath(file))}" if os.path.isabs(file) else _quoted(file)}


def _quoted(path: str) -> str:
    return quote(path.encode("utf-8", "surrogateescape" if _is_bytes(path) else "surrogatepass"))


def _is_bytes(path: str) -> bool:
    """Whether lone surrogates in a path stand for bytes of a file's name."""
    return all(not 0xD800 <= ord(one) < 0xE000 or 0xDC80 <= ord(one) <= 0xDCFF for one in path)
