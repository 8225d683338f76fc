"""The documents of a report as files: what can be known before the run is said before it."""

import os
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from heapwitness.errors import HeapwitnessError, each
from heapwitness.outputs import STDOUT, Outputs
from heapwitness.replacing import where

if TYPE_CHECKING:
    from heapwitness.findings.model import Report


def check_writable(path: Path | None) -> None:
    """Say before a run that a file cannot be written after it; the file is not touched.

    Raises:
        HeapwitnessError: it cannot be written.
    """
    if path is None or path == STDOUT:
        return
    try:
        where(path)
    except OSError as error:
        raise HeapwitnessError(f"{path} cannot be written: {error.strerror}.") from error
    if path.is_dir():
        why = "it is a directory"
    elif path.exists():
        why = "" if os.access(path, os.W_OK) else "no permission"
    elif not path.parent.is_dir():
        why = "there is no such directory"
    else:
        why = "" if os.access(path.parent, os.W_OK | os.X_OK) else "no permission"
    if why:
        raise HeapwitnessError(f"{path} cannot be written: {why}.")


def check_log(path: Path | None) -> None:
    """As `check_writable`; engines add to plain files only, since whatever else may hold a program up.

    Raises:
        HeapwitnessError: it cannot be written, or is there and no plain file.
    """
    check_writable(path)
    if path is not None and path.exists() and not path.is_file():
        raise HeapwitnessError(f"{path} cannot be the log: it is no plain file.")


def write_reports(report: "Report", json: Path | None, outputs: Outputs) -> None:
    """Write a report as JSON and as the other documents that were asked for; what cannot be written costs no other.

    Raises:
        HeapwitnessError: some cannot be written; says so of each.
    """
    each(partial(_write_json, report, json), partial(_write_documents, report, outputs))


def _write_json(report: "Report", path: Path | None) -> None:
    if path is not None:
        from heapwitness.report import json

        json.write(report, path)


def _write_documents(report: "Report", outputs: Outputs) -> None:
    if outputs.are_wanted:
        from heapwitness.report import documents

        documents.write(report, outputs)
