"""The JSON report as a file: tried before the run, written after it."""

from pathlib import Path
from typing import TYPE_CHECKING

from heapwitness.errors import HeapwitnessError

if TYPE_CHECKING:
    from heapwitness.report.model import Report


def check_writable(path: Path | None) -> int:
    """Length of a file that is going to be written to, 0 when it is still to be made.

    Raises:
        HeapwitnessError: it cannot be written; better said before a run than after it.
    """
    if path is None:
        return 0
    try:
        with open(path, "ab") as stream:
            return stream.tell()
    except OSError as error:
        raise HeapwitnessError(f"{path} cannot be written: {error.strerror}.") from error


def write_json(report: "Report", path: Path | None) -> None:
    """Write a report, if it was asked for.

    Raises:
        HeapwitnessError: it cannot be written.
    """
    if path is None:
        return
    from heapwitness.report import json

    try:
        json.write(report, path)
    except OSError as error:
        raise HeapwitnessError(
            f"{path} could not be written: {error.strerror}; the report's text is all there is of it."
        ) from error
