"""The documents that are made of a report."""

import contextlib
import sys
from pathlib import Path

from heapwitness.findings.model import Report
from heapwitness.outputs import Dialect, Format, Outputs
from heapwitness.report.writing import put


def encode(report: Report, format_: Format, root: Path, dialect: Dialect = "plain") -> bytes:
    """A report as a document."""
    from heapwitness.report import annotations, html, json, junit, sarif

    match format_:
        case "html":
            return html.encode(report)
        case "sarif":
            return sarif.encode(report, root)
        case "junit":
            return junit.encode(report)
        case "json":
            return json.encode(report)
        case "annotations":
            return annotations.encode(report, root, dialect)


def write(report: Report, outputs: Outputs) -> None:
    """Write the documents that are asked for; annotations go to stderr, where a CI reads them, too.

    Raises:
        HeapwitnessError: one could not be written; those before it were.
    """
    if outputs.dialect is not None and report.findings:
        with contextlib.suppress(OSError):
            sys.stderr.write(encode(report, "annotations", outputs.root, outputs.dialect).decode())
            sys.stderr.flush()
    for format_, path in outputs.files:
        put(encode(report, format_, outputs.root), path, format_)
