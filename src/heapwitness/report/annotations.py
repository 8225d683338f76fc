"""Findings as lines that a CI shows at the source line: one a finding, at the store or the allocation."""

import os
from collections.abc import Iterator
from pathlib import Path

from heapwitness.findings.model import Finding, Report
from heapwitness.outputs import Dialect
from heapwitness.report import text
from heapwitness.report.repository import Repository
from heapwitness.report.spots import spot


def encode(report: Report, root: Path, dialect: Dialect) -> bytes:
    """A line for each finding."""
    repository = Repository(root)
    write = {"github": _github, "azure": _azure, "plain": _plain}[dialect]
    return "".join(f"{line}\n" for one in report.findings for line in write(one, repository)).encode()


def _where(finding: Finding, repository: Repository) -> tuple[str, int, int]:
    """File, line and column; "" for a file that is not known, 0 for a number."""
    at = spot(finding)
    if at is None or not at.frame.file:
        return "", 0, 0
    frame = at.frame
    file = repository.relative(at.frame.file) or os.path.normpath(at.frame.file)
    return text.harmless(file), max(0, frame.line or 0), max(0, frame.column or 0)


def _sentence(finding: Finding) -> str:
    times = f" ({finding.count:,} times)" if finding.count > 1 else ""
    return f"{text.headline(finding)}{times}"


def _github(finding: Finding, repository: Repository) -> Iterator[str]:
    file, line, column = _where(finding, repository)
    properties = {
        "file": file,
        "line": str(line or ""),
        "col": str(column or ""),
        "title": f"heapwitness: {finding.kind}",
    }
    if not file:
        properties = {"title": properties["title"]}
    shown = ",".join(f"{name}={_github_property(value)}" for name, value in properties.items() if value)
    yield f"::{'error' if finding.certain else 'warning'} {shown}::{_github_text(_sentence(finding))}"


def _github_text(value: str) -> str:
    return value.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _github_property(value: str) -> str:
    return _github_text(value).replace(":", "%3A").replace(",", "%2C")


def _azure(finding: Finding, repository: Repository) -> Iterator[str]:
    file, line, column = _where(finding, repository)
    properties = {"sourcepath": file, "linenumber": str(line or ""), "columnnumber": str(column or "")}
    shown = "".join(f"{name}={_azure_property(value)};" for name, value in properties.items() if value and file)
    level = "error" if finding.certain else "warning"
    code = f"code={finding.kind};"
    yield f"##vso[task.logissue type={level};{shown}{code}]{_sentence(finding).replace('%', '%AZP25')}"


def _azure_property(value: str) -> str:
    return value.replace("%", "%AZP25").replace(";", "%3B").replace("]", "%5D")


def _plain(finding: Finding, repository: Repository) -> Iterator[str]:
    file, line, column = _where(finding, repository)
    place = ":".join([file, *(str(one) for one in (line, column) if one)]) if file else "heapwitness"
    yield f"{place}: {'error' if finding.certain else 'warning'}: {finding.kind}: {_sentence(finding)}"
