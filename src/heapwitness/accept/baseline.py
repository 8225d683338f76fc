"""The findings of an earlier report, which are known: only what is new counts.

A finding is known by its fingerprint, which holds when lines move or the program is built again. Several findings may
share one: then as many are known as the earlier report had, first of all those at the very same line and of the same
size.
"""

from collections import Counter
from collections.abc import Hashable
from pathlib import Path

import msgspec

from heapwitness.errors import HeapwitnessError
from heapwitness.findings.model import Finding, Report
from heapwitness.report import json
from heapwitness.report.fingerprint import fingerprint
from heapwitness.report.spots import spot


class Baseline:
    """What an earlier report knows, and what of it was not seen yet.

    Attributes:
        name: the file that it was in.
    """

    def __init__(self, report: Report, name: str = "") -> None:
        self.name = name
        found = (*report.findings, *(one.finding for one in report.accepted if one.by == "baseline"))
        self._exactly = Counter(_exactly(one) for one in found)
        self._left = Counter(fingerprint(one) for one in found)

    @property
    def left(self) -> int:
        """How many of its findings were not seen again."""
        return self._left.total()

    def take(self, finding: Finding) -> bool | None:
        """Whether a finding is known, once for each in the report; None where that depends on what comes after it."""
        for one in _forms(finding):
            if self._exactly[_exactly(one)] and self._left[fingerprint(one)]:
                self._exactly[_exactly(one)] -= 1
                self._left[fingerprint(one)] -= 1
                return True
        return None if any(self._left[fingerprint(one)] for one in _forms(finding)) else False

    def settle(self, finding: Finding) -> bool:
        """The same when nothing comes any more."""
        for one in map(fingerprint, _forms(finding)):
            if self._left[one]:
                self._left[one] -= 1
                return True
        return False


def load(path: Path) -> Baseline:
    """The baseline that a JSON report is.

    Raises:
        HeapwitnessError: it cannot be read, or is no report.
    """
    try:
        return Baseline(json.load(path), str(path))
    except HeapwitnessError as error:
        raise HeapwitnessError(f"the baseline {error}") from error


def _forms(finding: Finding) -> tuple[Finding, ...]:
    """The finding, and as it is told in a run that did not catch its store."""
    return (finding,) if finding.store is None else (finding, msgspec.structs.replace(finding, store=None))


def _exactly(finding: Finding) -> Hashable:
    at = spot(finding)
    size = finding.culprit.size if finding.culprit is not None else None
    return (fingerprint(finding), at.frame.line if at is not None else None, size)
