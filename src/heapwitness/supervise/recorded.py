"""The report of a file of records."""

import os
import stat
import sys
from pathlib import Path

from heapwitness.errors import HeapwitnessError
from heapwitness.findings.model import Report
from heapwitness.findings.status import FINDINGS_EXIT
from heapwitness.layout.events import BadEvent
from heapwitness.report.advice import Advice
from heapwitness.supervise.ledger import Ledger
from heapwitness.supervise.options import OFTEN
from heapwitness.supervise.output import write_json
from heapwitness.supervise.records import CutShort, read_records
from heapwitness.supervise.remarks import missing
from heapwitness.supervise.reporter import Reporter
from heapwitness.supervise.screen import Screen

_ADVICE = Advice(stacks="HEAPWITNESS_STACKS=full", checks=f"HEAPWITNESS_CHECK_EVERY={OFTEN}")


def report(file: Path, json: Path | None = None, *, quiet: bool = False) -> int:
    """Show the findings of a file of records on stdout, and write them to `json`.

    Returns:
        the exit status: FINDINGS_EXIT with findings, else 0.

    Raises:
        HeapwitnessError: the file cannot be read, is no record, or is damaged (what comes before the
            damage is shown first), it ends in the middle of a message and no finding came before, or
            the report cannot be written.
    """
    ledger = Ledger()
    screen = Screen(sys.stdout, lambda: _ADVICE, quiet=quiet)
    trouble: BadEvent | None = None
    try:
        with open(file, "rb") as stream:
            status = os.fstat(stream.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise HeapwitnessError(f"{file} is no file of records.")
            reporter = Reporter(screen, until=status.st_mtime)
            try:
                for one in read_records(stream, ledger):
                    reporter.submit(one.examined, patiently=True)
            except BadEvent as error:
                trouble = error
    except OSError as error:
        raise HeapwitnessError(f"{file} cannot be read: {error.strerror}.") from error
    findings, repaired = reporter.close()
    if trouble is not None and not ledger.processes:
        raise HeapwitnessError(f"{file}: {trouble}") from trouble
    found = Report(
        program=ledger.program,
        source=str(file),
        findings=findings,
        summary=ledger.summary(findings, repaired, ledger.dropped + reporter.dropped),
        warnings=(*((f"{file}: {trouble}",) if trouble is not None else ()), *missing(ledger)),
        crashes=reporter.crashes,
    )
    if found.summary.findings or found.warnings or not quiet:
        screen.end(found)
    write_json(found, json)
    screen.check()
    # Who was ended while writing leaves half a message: the findings before it count, but none is not "nothing found".
    if trouble is not None and not (isinstance(trouble, CutShort) and found.summary.findings):
        raise HeapwitnessError(f"{file}: {trouble}") from trouble
    return FINDINGS_EXIT if found.summary.findings else 0
