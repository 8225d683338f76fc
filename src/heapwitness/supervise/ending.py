"""What a run came to, when it has ended."""

from typing import TYPE_CHECKING, NamedTuple

from heapwitness.findings.totals import Totals

if TYPE_CHECKING:
    from heapwitness.accept.acceptance import Acceptance
    from heapwitness.findings.model import Accepted, Crash, Finding, HeapMap, Report


class Inquired(NamedTuple):
    """What there is to tell of findings and crashes; `dropped` are those that were too many to keep, and `accepted`
    those that do not count. `unasked` says of each of the findings whether no process was told of it that had asked."""

    findings: "tuple[Finding, ...]" = ()
    repaired: int = 0
    dropped: int = 0
    crashes: "tuple[Crash, ...]" = ()
    maps: "tuple[HeapMap, ...]" = ()
    accepted: "tuple[Accepted, ...]" = ()
    unasked: tuple[bool, ...] = ()


NOTHING_FOUND = Inquired()


class Ending(NamedTuple):
    """A run as its end is told. `status` is the program's, as a shell gives it; `warnings` are sentences, `python`
    says whether one of its processes was an interpreter of it."""

    command: tuple[str, ...]
    pid: int
    status: int | None
    totals: Totals
    warnings: tuple[str, ...]
    inquired: Inquired
    acceptance: "Acceptance | None" = None
    python: bool = False

    def report(self) -> "Report":
        """All of it as a report."""
        from heapwitness.findings.model import Program, Report, Summary

        report = Report(
            program=Program(
                argv=self.command,
                pid=self.pid,
                exit_status=self.status,
                language="python" if self.python else "c",
            ),
            findings=self.inquired.findings,
            summary=Summary(**self.totals._asdict()),
            warnings=self.warnings,
            crashes=self.inquired.crashes,
            maps=self.inquired.maps,
        )
        return report if self.acceptance is None else self.acceptance.noted(report, self.inquired.accepted)
