"""The documents that are made of a report."""

import sys
from functools import partial
from pathlib import Path

from heapwitness.errors import HeapwitnessError, each
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
        HeapwitnessError: some could not be written; all others were.
    """
    steps = [partial(_write, report, format_, path, outputs) for format_, path in outputs.files]
    each(partial(_annotate, report, outputs), *steps)


def _write(report: Report, format_: Format, path: Path, outputs: Outputs) -> None:
    put(encode(report, format_, outputs.root), path, format_)


def _annotate(report: Report, outputs: Outputs) -> None:
    if outputs.dialect is None or not report.findings:
        return
    try:
        sys.stderr.write(encode(report, "annotations", outputs.root, outputs.dialect).decode())
        sys.stderr.flush()
    except OSError as error:
        raise HeapwitnessError(f"the annotations could not be written: {error.strerror or error}.") from error
