"""Which findings of a run count: those that no suppression speaks of, and that no baseline knows."""

from collections import Counter
from collections.abc import Sequence
from copy import deepcopy

import msgspec

from heapwitness.accept import baseline, suppressions
from heapwitness.accept.asked import Accepting, Mark, counts
from heapwitness.accept.baseline import Baseline
from heapwitness.accept.suppressions import Rule
from heapwitness.findings.model import Accepted, Compared, Finding, Report, Suppression


class Acceptance:
    """Judges the different findings of one run, each once.

    Args:
        rules: the suppressions.
        known: the findings of an earlier report.
        at_once: see `asked.Accepting`.
    """

    def __init__(self, rules: Sequence[Rule] = (), known: Baseline | None = None, *, at_once: bool = False) -> None:
        self._rules = tuple(rules)
        self._baseline = known
        self._at_once = at_once

    def fresh(self) -> "Acceptance":
        """The same for another run."""
        return Acceptance(self._rules, deepcopy(self._baseline), at_once=self._at_once)

    def judge(self, finding: Finding) -> tuple[Mark | None, bool]:
        """Why a finding is accepted, None where it counts; and whether that is decided before all others are there."""
        for number, rule in enumerate(self._rules):
            if rule.holds(finding):
                return Mark("suppression", number), True
        known = self._baseline.take(finding) if self._baseline is not None else False
        if known is None and self._at_once:
            known = self.settle(finding) is not None
        return (Mark("baseline") if known else None), known is not None

    def settle(self, finding: Finding) -> Mark | None:
        """Judge a finding that was not decided, when all others are there."""
        return Mark("baseline") if self._baseline is not None and self._baseline.settle(finding) else None

    def noted(self, report: Report, accepted: Sequence[Accepted]) -> Report:
        """The report with what is accepted, beside what it had accepted before, and how often suppressions fired."""
        fired: Counter[int] = Counter()
        for one in accepted:
            if one.rule is not None:
                fired[one.rule] += one.finding.count
        rules = tuple(
            Suppression(file=rule.file, line=rule.line, text=rule.text, fired=fired[number])
            for number, rule in enumerate(self._rules)
        )
        compared = None
        if self._baseline is not None:
            compared = Compared(file=self._baseline.name, known=counts(accepted)["known"], missing=self._baseline.left)
        before = len(report.suppressions)
        added = [msgspec.structs.replace(one, rule=None if one.rule is None else one.rule + before) for one in accepted]
        numbers = {name: count + getattr(report.summary, name) for name, count in counts(accepted).items()}
        return msgspec.structs.replace(
            report,
            accepted=(*report.accepted, *added),
            suppressions=(*report.suppressions, *rules),
            baseline=compared or report.baseline,
            summary=msgspec.structs.replace(report.summary, **numbers),
        )


def load(asked: Accepting) -> Acceptance | None:
    """What the files say; None where none is asked for.

    Raises:
        HeapwitnessError: a file cannot be read, or is none of its kind.
    """
    if not asked.suppressions and asked.baseline is None:
        return None
    rules = [rule for path in dict.fromkeys(asked.suppressions) for rule in suppressions.load(path)]
    known = baseline.load(asked.baseline) if asked.baseline is not None else None
    return Acceptance(rules, known, at_once=asked.at_once)


def applied(report: Report, acceptance: Acceptance | None) -> Report:
    """A whole report, as it is with what is accepted beside what it has accepted already."""
    if acceptance is None:
        return report
    marks = [(one, *acceptance.judge(one)) for one in report.findings]
    settled = [(one, mark if sure else acceptance.settle(one)) for one, mark, sure in marks]
    counted = tuple(one for one, mark in settled if mark is None)
    accepted = [Accepted(finding=one, by=mark.by, rule=mark.rule) for one, mark in settled if mark is not None]
    noted = acceptance.noted(report, accepted)
    taken = sum(one.finding.count for one in accepted)
    mended = sum(one.finding.count for one in accepted if one.finding.repaired)
    summary = msgspec.structs.replace(
        noted.summary,
        findings=max(0, report.summary.findings - taken),
        repaired=max(0, report.summary.repaired - mended),
    )
    return msgspec.structs.replace(noted, findings=counted, summary=summary)
