"""A report as a page shows it: words, in the order in which they are read. What comes from a target is harmless here,
and markup is escaped by the templates."""

import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from heapwitness.findings.model import Block, Crash, Finding, Frame, Header, Kind, Report
from heapwitness.findings.words import count
from heapwitness.report import accepted, facts, text
from heapwitness.report import crash as crash_text
from heapwitness.report.brief import runs_python
from heapwitness.report.explain import EXPLANATIONS, Explanation
from heapwitness.report.html.picture import Picture, picture_of
from heapwitness.report.html.stacks import Group, Sources, groups
from heapwitness.report.plain import summed_up
from heapwitness.report.spots import Stack, spot, stacks

_TITLES = {
    "store": "stored",
    "read": "read",
    "release": "released wrongly",
    "allocation": "allocated",
    "first release": "released",
    "detection": "noticed",
}


@dataclass(frozen=True, slots=True)
class StackView:
    """A stack with its title ("the block was allocated by thread 7")."""

    title: str
    role: str
    groups: tuple[Group, ...]
    left_out: int


@dataclass(frozen=True, slots=True)
class HeaderRow:
    """One field of a header in both copies."""

    name: str
    stored: str
    backup: str
    differs: bool


@dataclass(frozen=True, slots=True)
class FindingView:
    """A finding; `number` counts from 1."""

    number: int
    kind: str
    sentence: str
    place: str
    count: int
    repaired: bool
    certain: bool
    facts: tuple[tuple[str, tuple[str, ...]], ...]
    picture: Picture | None
    header: tuple[HeaderRow, ...]
    stacks: tuple[StackView, ...]
    searched: str


@dataclass(frozen=True, slots=True)
class CrashView:
    """A crash in words."""

    sentence: str
    heap: str
    thread: str
    notes: tuple[str, ...]
    stack: StackView


@dataclass(frozen=True, slots=True)
class ReportView:
    """The whole page but the maps."""

    title: str
    command: str
    verdict: str
    summary: str
    kinds: tuple[tuple[str, int], ...]
    explained: Mapping[Kind, Explanation]
    findings: tuple[FindingView, ...]
    crashes: tuple[CrashView, ...]
    warnings: tuple[str, ...]


def view(report: Report, sources: Sources) -> ReportView:
    """Everything that a page says of a report."""
    findings = tuple(_finding(number, one, sources) for number, one in enumerate(report.findings, 1))
    kinds = Counter(one.kind for one in findings)
    return ReportView(
        title=_title(report),
        command=_command(report),
        verdict=_verdict(report),
        summary=_summary(report),
        kinds=tuple((kind, kinds[kind]) for kind in EXPLANATIONS if kind in kinds),
        explained=EXPLANATIONS,
        findings=findings,
        crashes=tuple(_crash(one, sources) for one in report.crashes),
        warnings=tuple(text.harmless(one) for one in (*report.warnings, *accepted.sentences(report))),
    )


def _title(report: Report) -> str:
    name = report.program.argv[0] if report.program is not None and report.program.argv else report.source or "heap"
    return text.clean(os.path.basename(name) or name)


def _command(report: Report) -> str:
    if report.program is None:
        return text.clean(report.source or "")
    words = " ".join(report.program.argv)
    status = report.program.exit_status
    return text.clean(words) + (f" (exit status {status})" if status is not None else "")


def _verdict(report: Report) -> str:
    found, repaired = report.summary.findings, report.summary.repaired
    if not found:
        return f"{_title(report)}: nothing found overwritten" + (", but it crashed" if report.crashes else "")
    mended = "repaired" if repaired == found else f"{repaired:,} repaired" if repaired else "not repaired"
    damaged = repaired or any(one.damage is not None for one in report.findings)
    return f"{_title(report)}: {count(found, 'finding')}{f', {mended}' if damaged else ''}"


def _summary(report: Report) -> str:
    summary = report.summary
    if not summary.operations:
        return f"{count(summary.nodes, 'node')}, {text.amount(summary.backup_bytes)} of backups"
    return summed_up(summary, insides=not runs_python(report)).partition("; ")[2]


def _finding(number: int, finding: Finding, sources: Sources) -> FindingView:
    at = spot(finding)
    place = text.place([at.frame]) if at is not None else ""
    sentence = text.headline(finding)
    shown = tuple(_stack(one, finding, sources) for one in stacks(finding))
    return FindingView(
        number=number,
        kind=finding.kind,
        sentence=sentence,
        place=place,
        count=finding.count,
        repaired=finding.repaired,
        certain=finding.certain,
        facts=tuple((one.label, one.lines) for one in facts.facts(finding)),
        picture=picture_of(finding),
        header=tuple(_header(finding.header)) if finding.header is not None else (),
        stacks=shown,
        searched=" ".join((finding.kind, sentence, place)).lower(),
    )


def _stack(stack: Stack, finding: Finding, sources: Sources) -> StackView:
    title = _TITLES[stack.role]
    if stack.block is not None:
        title = f"{_called(stack.block, finding)} was {title}"
    doer = f" by thread {stack.thread}" if stack.thread else ""
    doer = f" by task {text.clean(stack.task)}" if stack.task is not None else doer
    return StackView(title[:1].upper() + title[1:] + doer, stack.role, *_groups(stack.frames, sources))


def _groups(frames: Sequence[Frame], sources: Sources) -> tuple[tuple[Group, ...], int]:
    shown = groups(frames, sources)
    return shown, len(frames) - sum(len(one.frames) for one in shown)


def _called(block: Block, finding: Finding) -> str:
    for name, one in (("the block", finding.culprit), (text.called_suspect(finding), finding.suspect)):
        if one is not None and one.address == block.address:
            return name
    return "the victim"


def _header(header: Header) -> Iterator[HeaderRow]:
    stored, backup = header.stored or {}, header.backup or {}
    for name in dict.fromkeys((*stored, *backup)):
        one, other = _field(stored.get(name)), _field(backup.get(name))
        yield HeaderRow(text.clean(name), one, other, name in stored and name in backup and one != other)


def _field(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return text.clean(str(value)) if value is not None else "-"


def _crash(crash: Crash, sources: Sources) -> CrashView:
    sentence = crash_text.headline(crash)
    return CrashView(
        sentence=sentence[:1].upper() + sentence[1:],
        heap=crash_text.heap(crash),
        thread=facts.thread(crash),
        notes=tuple(text.harmless(one) for one in (*crash_text.stale(crash), *crash.notes)),
        stack=StackView("Stack", "detection", *_groups(crash.stack, sources)),
    )
