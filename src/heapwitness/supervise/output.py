"""The documents of a report as files: what can be known before the run is said before it."""

import os
from collections.abc import Iterable
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
    if path is None or not path.exists():
        return
    from heapwitness.regular import is_plain  # a run without a log goes without

    if not is_plain(path):
        raise HeapwitnessError(f"{path} cannot be the log: it is no plain file.")


def check_apart(written: Iterable[Path | None], others: Iterable[Path | None]) -> None:
    """Say before anything is written that one document would take the place of another, or of a file that is kept.

    Args:
        written: where documents go.
        others: what is read, or written by somebody else.

    Raises:
        HeapwitnessError: two of them are one file.
    """
    seen = {os.path.realpath(path) for path in others if path is not None}
    for path in written:
        # What is there and no plain file, such as /dev/null, may take any number of them.
        if path is None or path == STDOUT or (path.exists() and not path.is_file()):
            continue
        name = os.path.realpath(path)
        if name in seen:
            raise HeapwitnessError(f"{path} is named twice: one would take the other's place; name another file.")
        seen.add(name)


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
