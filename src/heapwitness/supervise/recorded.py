"""The report of a file of records, or of a report that was written as JSON."""

import os
import stat
import sys
from functools import partial
from pathlib import Path
from typing import BinaryIO, get_args

import msgspec

from heapwitness.accept.acceptance import Acceptance, applied, load
from heapwitness.accept.asked import NONE, Accepting
from heapwitness.errors import HeapwitnessError, each
from heapwitness.findings.model import Program, Report, Summary
from heapwitness.findings.status import FINDINGS_EXIT
from heapwitness.layout.events import BadEvent
from heapwitness.named import reading
from heapwitness.outputs import FORMATS, NOTHING, STDOUT, Format, Outputs, TextFormat
from heapwitness.report.advice import Advice
from heapwitness.supervise.ledger import Ledger
from heapwitness.supervise.options import OFTEN
from heapwitness.supervise.output import check_apart, write_reports
from heapwitness.supervise.records import CutShort, read_records
from heapwitness.supervise.remarks import missing
from heapwitness.supervise.reporter import Reporter
from heapwitness.supervise.screen import Screen

_ADVICE = Advice(
    stacks="HEAPWITNESS_STACKS=full",
    checks=f"HEAPWITNESS_CHECK_EVERY={OFTEN}",
    poison="HEAPWITNESS_POISON=1",
    full="--format full",
)


def report(
    file: Path,
    json: Path | None = None,
    *,
    quiet: bool = False,
    outputs: Outputs = NOTHING,
    format: str = "auto",
    accepting: Accepting = NONE,
) -> int:
    """Show the findings of a file on stdout, and write them to `json` and `outputs`.

    Args:
        format: one of `outputs.TextFormat`, or of `outputs.FORMATS`, which goes to stdout instead of text. Text goes
            to stderr where a document goes to stdout.
        accepting: which findings do not count.

    Returns:
        the exit status: FINDINGS_EXIT with findings, else 0.

    Raises:
        HeapwitnessError: the file cannot be read, is no record, or is damaged (what comes before the
            damage is shown first), it ends in the middle of a message and no finding came before, the
            report cannot be written, or would be written over the file.
    """
    text = next((one for one in get_args(TextFormat) if one == format), None)
    document = text is None
    written = (json, *(path for _, path in outputs.files))
    check_apart(written, (file,))
    busy = STDOUT in written
    stream = None if document else sys.stderr if busy else sys.stdout
    screen = Screen(stream, lambda: _ADVICE, quiet=quiet, format=text or "full")
    found, trouble = _read(file, screen, load(accepting))
    if found.summary.findings or found.warnings or not quiet:
        screen.end(found)
    each(
        partial(write_reports, found, json, outputs),
        *([partial(_print, found, format, outputs)] if document else []),
        screen.check,
        partial(_refuse, file, trouble, found),
    )
    return FINDINGS_EXIT if found.summary.findings else 0


def _refuse(file: Path, trouble: BadEvent | None, found: Report) -> None:
    # Who was ended while writing leaves half a message: the findings before it count, but none is not "nothing found".
    if trouble is not None and not (isinstance(trouble, CutShort) and found.summary.findings):
        raise HeapwitnessError(f"{file}: {trouble}") from trouble


def _print(found: Report, format: str, outputs: Outputs) -> None:
    from heapwitness.report import documents
    from heapwitness.report.writing import put

    kind: Format = next(one for one in FORMATS if one == format)
    put(documents.encode(found, kind, outputs.root, outputs.dialect or "plain"), STDOUT, "format")


def _read(file: Path, screen: Screen, acceptance: Acceptance | None) -> tuple[Report, BadEvent | None]:
    """The report of a file, whose findings are shown as they come, and what is wrong with the file's end."""
    try:
        with reading(file) as stream:
            status = os.fstat(stream.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise HeapwitnessError(f"{file} is no file of records.")
            start = stream.read(1)
            stream.seek(0)
            if start == b"{":
                return _from_json(file, stream, screen, acceptance), None
            return _from_records(file, stream, status.st_mtime, screen, acceptance)
    except OSError as error:
        raise HeapwitnessError(f"{file} cannot be read: {error.strerror}.") from error


def _from_json(file: Path, stream: BinaryIO, screen: Screen, acceptance: Acceptance | None) -> Report:
    from heapwitness.report import json

    data = stream.read(json.BYTES_LIMIT + 1)
    if len(data) > json.BYTES_LIMIT:
        raise HeapwitnessError(f"{file} is too long for a report.")
    try:
        found = applied(_summed(json.decode(data)), acceptance)
    except json.BadReport as error:
        raise HeapwitnessError(f"{file}: {error}") from error
    for finding in found.findings:
        screen.finding(finding)
    for crash in found.crashes:
        screen.crash(crash)
    return found


def _summed(found: Report) -> Report:
    """A report whose sum is of no fewer findings than it has: somebody may have put it together."""
    least = sum(max(1, one.count) for one in found.findings)
    if found.summary.findings >= least:
        return found
    return msgspec.structs.replace(found, summary=msgspec.structs.replace(found.summary, findings=least))


def _from_records(
    file: Path, stream: BinaryIO, until: float, screen: Screen, acceptance: Acceptance | None
) -> tuple[Report, BadEvent | None]:
    ledger = Ledger()
    reporter = Reporter(screen, until, acceptance)
    trouble: BadEvent | None = None
    try:
        for one in read_records(stream, ledger):
            reporter.submit(one.examined, patiently=True)
    except BadEvent as error:
        trouble = error
    except OSError as error:  # what came before it is told all the same
        trouble = BadEvent(f"it cannot be read to its end: {error.strerror or error}.")
    findings, repaired = reporter.close()
    if trouble is not None and not ledger.processes:
        raise HeapwitnessError(f"{file}: {trouble}") from trouble
    found = Report(
        program=Program(argv=ledger.program[0], pid=ledger.program[1]) if ledger.program is not None else None,
        source=str(file),
        findings=findings,
        summary=Summary(**ledger.totals(findings, repaired, ledger.dropped + reporter.dropped)._asdict()),
        warnings=(*((f"{file}: {trouble}",) if trouble is not None else ()), *missing(ledger)),
        crashes=reporter.crashes,
    )
    return found if acceptance is None else acceptance.noted(found, reporter.accepted), trouble
