"""What a run came to, when it has ended."""

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from heapwitness.accept.acceptance import Acceptance
    from heapwitness.findings.model import Accepted, Crash, Finding, HeapMap, Report


class Totals(NamedTuple):
    """The numbers of a `findings.model.Summary`, which is only made for a report."""

    operations: int = 0
    nodes: int = 0
    findings: int = 0
    repaired: int = 0
    backup_bytes: int = 0
    processes: int = 0
    dropped: int = 0
    trapped: int = 0
    missing: int = 0
    watched: int = 0
    suppressed: int = 0
    known: int = 0


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
    """A run as its end is told. `status` is the program's, as a shell gives it; `warnings` are sentences."""

    command: tuple[str, ...]
    pid: int
    status: int | None
    totals: Totals
    warnings: tuple[str, ...]
    inquired: Inquired
    acceptance: "Acceptance | None" = None

    def report(self) -> "Report":
        """All of it as a report."""
        from heapwitness.findings.model import Program, Report, Summary

        report = Report(
            program=Program(argv=self.command, pid=self.pid, exit_status=self.status),
            findings=self.inquired.findings,
            summary=Summary(**self.totals._asdict()),
            warnings=self.warnings,
            crashes=self.inquired.crashes,
            maps=self.inquired.maps,
        )
        return report if self.acceptance is None else self.acceptance.noted(report, self.inquired.accepted)
