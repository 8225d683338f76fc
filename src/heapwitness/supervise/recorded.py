"""The report of a file of records."""

import os
import stat
import sys
from pathlib import Path

from heapwitness.errors import HeapwitnessError
from heapwitness.layout.events import BadEvent
from heapwitness.report.model import Report
from heapwitness.supervise.ledger import Ledger
from heapwitness.supervise.options import FINDINGS_EXIT
from heapwitness.supervise.output import write_json
from heapwitness.supervise.records import read_records
from heapwitness.supervise.reporter import Reporter
from heapwitness.supervise.screen import Screen


def report(file: Path, json: Path | None = None, *, quiet: bool = False) -> int:
    """Show the findings of a file of records on stdout, and write them to `json`.

    Returns:
        the exit status: FINDINGS_EXIT with findings, else 0.

    Raises:
        HeapwitnessError: the file cannot be read, is no record, or is damaged (what comes before the
            damage is shown first), or `json` cannot be written.
    """
    ledger = Ledger()
    damaged: HeapwitnessError | None = None
    screen = Screen(sys.stdout)
    try:
        with open(file, "rb") as stream:
            status = os.fstat(stream.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise HeapwitnessError(f"{file} is no file of records.")
            reporter = Reporter(screen, until=status.st_mtime)
            try:
                for one in read_records(stream, ledger):
                    reporter.submit(one.examined)
            except BadEvent as error:
                damaged = error
    except OSError as error:
        raise HeapwitnessError(f"{file} cannot be read: {error.strerror}.") from error
    findings, repaired = reporter.close()
    if damaged is not None and not findings:
        raise damaged
    found = Report(
        source=str(file),
        findings=findings,
        summary=ledger.summary(findings, repaired, ledger.dropped + reporter.dropped),
    )
    if found.summary.findings or not quiet:
        screen.end(found)
    write_json(found, json)
    if damaged is not None:
        raise damaged
    return FINDINGS_EXIT if found.summary.findings else 0
