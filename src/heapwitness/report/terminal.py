"""A report on a terminal, for someone in a hurry: the sentence first, then the store or the closest thing
to it, the blocks, the bytes, the stacks.

Colour marks only damage, and only on a terminal (rich sees to NO_COLOR); everything reads the same
without it. Nothing is wrapped but sentences, so that lines can be searched for when the output is a file.
"""

import os
import textwrap
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from heapwitness.findings.model import Crash, Finding, Frame, Header, Report
from heapwitness.findings.words import count
from heapwitness.report import crash as crash_text
from heapwitness.report import hyperlinks, source, text
from heapwitness.report.advice import Advice
from heapwitness.report.brief import brief_facts, brief_stack, runs_python
from heapwitness.report.facts import Fact, facts, thread
from heapwitness.report.frames import folded, named
from heapwitness.report.picture import BYTES, Row, rows
from heapwitness.report.plain import summed_up
from heapwitness.report.spots import Role, Stack, spot, stacks

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

_DAMAGE = "bold red"
_HEAD = "bold"
_LABEL = 12
_FRAMES = 16
_PICTURE = 71
"""Columns of a row of bytes beside its place; in less, what they should be stands below."""
_NARROWEST, _WIDEST = 40, 100
_NO_ADVICE = Advice()


def render(
    what: Report | Finding | Crash,
    console: "Console",
    *,
    findings: bool = False,
    advice: Advice = _NO_ADVICE,
    briefly: bool = False,
) -> None:
    """Show a finding, or what there is to say at the end of a report.

    Args:
        what: a finding or a crash is shown in full. Of a report, how often each finding was seen, its warnings, and
            the sum of all, in the last line.
        findings: of a report, show each finding in full first.
        advice: how more can be asked for, where it can be.
        briefly: show a finding without the heap's insides (`brief`).
    """
    if isinstance(what, Finding):
        if briefly:
            _brief(what, console, advice)
        else:
            _finding(what, console, advice)
        return
    if isinstance(what, Crash):
        _crash(what, console, advice)
        return
    if findings:
        for finding in what.findings:
            _finding(finding, console, advice)
        for crash in what.crashes:
            _crash(crash, console, advice)
    _end(what, console)


def short(what: Finding | Crash, console: "Console") -> None:
    """Show a finding or a crash in one line that starts with its place in the source, as compilers write it."""
    out = _Lines(console)
    if isinstance(what, Crash):
        out.plain(f"crash: {crash_text.headline(what)}")
        return
    at = spot(what)
    place = text.line(at.frame, whole_path=True) if at is not None else ""
    line = out.text(f"{place}: " if place else "")
    line.append(what.kind, _HEAD)
    line.append(f": {text.headline(what)}{'; repaired' if what.repaired else ''}")
    out.line(line)


def _finding(finding: Finding, console: "Console", advice: Advice) -> None:
    out = _Lines(console)
    out.head(finding.kind, text.headline(finding))
    out.blank()
    _facts(out, facts(finding))
    if more := advice.on(finding):
        out.entry("more", more, wrap=True)
    if finding.damage is not None:
        _picture(out, list(rows(finding.damage)), _origin(finding))
    if finding.header is not None:
        _header(out, finding.header, finding)
    _stacks(out, finding)
    out.blank()


def _brief(finding: Finding, console: "Console", advice: Advice) -> None:
    out = _Lines(console)
    out.head(finding.kind, text.headline(finding))
    out.blank()
    _facts(out, brief_facts(finding))
    if more := advice.briefly_on(finding):
        out.entry("more", more, wrap=True)
    _stacks(out, finding, briefly=True)
    out.blank()


def _crash(crash: Crash, console: "Console", advice: Advice) -> None:
    out = _Lines(console)
    out.head("crash", crash_text.headline(crash))
    out.blank()
    out.entry("heap", crash_text.heap(crash), wrap=True)
    out.entry("thread", thread(crash))
    for label, words in (("register", crash_text.stale(crash)), ("note", crash.notes)):
        for number, sentence in enumerate(words):
            out.entry(label if number == 0 else "", text.harmless(sentence), wrap=True)
    if more := advice.on_crash(crash):
        out.entry("more", more, wrap=True)
    if crash.stack:
        out.blank()
        out.plain("  stack")
        _stack(out, crash.stack, set())
    out.blank()


def _facts(out: "_Lines", told: Iterable[Fact]) -> None:
    for fact in told:
        for number, line in enumerate(fact.lines):
            out.entry(fact.label if number == 0 else "", line, wrap=fact.wrap)


def _origin(finding: Finding) -> str:
    if finding.damage is None or finding.damage.offset is None:
        return "address"
    return {"heap-buffer-overflow": "from end"}.get(finding.kind, "from start")


def _picture(out: "_Lines", picture: Sequence[Row], origin: str) -> None:
    out.blank()
    width = max(len(origin), *(len(row.place) for row in picture)) if picture else len(origin)
    wide = out.width >= width + _PICTURE
    out.plain(f"  {origin:>{width}}  part      bytes                   text{'      should be' if wide else ''}")
    for row in picture:
        line = out.text(f"  {row.place:>{width}}  {row.part:<8}")
        if row.note:
            line.append(f" {row.note}")
        else:
            _cells(line, row)
            line.append(f" {row.text:<8}  {row.expected if wide else ''}")
        line.rstrip()
        out.line(line)
        if row.expected and not wide:
            out.plain(f"  {'':>{width}}  {'':<8} {row.expected:<{3 * BYTES}} should be")


def _cells(line: "Text", row: Row) -> None:
    shown = row.bytes
    damaged = {
        2 * number + offset + number + 1 for number, cell in enumerate(row.cells) if cell[1] for offset in (0, 1)
    }
    for position, character in enumerate(shown):
        line.append(character, _DAMAGE if position in damaged or character in "[]" else None)


def _header(out: "_Lines", header: Header, finding: Finding) -> None:
    stored, backup = header.stored or {}, header.backup or {}
    names = list(dict.fromkeys((*stored, *backup)))
    if not names:
        return
    out.blank()
    of = f" of {finding.victim.address:#x}" if finding.victim is not None else ""
    width = max(9, *(len(name) for name in names))
    out.plain(f"  {'header' + of:<{width}}")
    out.plain(f"  {'':<{width}}  {'stored':<12} backup")
    for name in names:
        one, other = _field(stored.get(name)), _field(backup.get(name))
        line = out.text(f"  {text.clean(name):<{width}}  ")
        differs = name in stored and name in backup and one != other
        line.append(f"{one:<12} {other:<12}", _DAMAGE if differs else None)
        line.append(" differs" if differs else "")
        line.rstrip()
        out.line(line)


def _field(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return text.clean(str(value)) if value is not None else "-"


_TITLES: dict[Role, str] = {
    "store": "stored by",
    "read": "read by",
    "release": "wrongly released by",
    "detection": "noticed",
    "allocation": "was allocated",
    "first release": "was released",
}


def _stacks(out: "_Lines", finding: Finding, *, briefly: bool = False) -> None:
    sources: set[tuple[str | None, int | None]] = set()
    for one in stacks(finding):
        frames = brief_stack(one.frames) if briefly else one.frames
        if frames:
            out.blank()
            out.plain(f"  {_title(one, finding, briefly=briefly)}")
            _stack(out, frames, sources, briefly=briefly)


def _title(stack: Stack, finding: Finding, *, briefly: bool) -> str:
    title = _TITLES[stack.role]
    if stack.block is None:
        return title
    named = {"the block": finding.culprit, text.called_suspect(finding): finding.suspect}
    name = next((name for name, one in named.items() if one is not None and one.address == stack.block.address), None)
    size = f", {count(stack.block.size, 'byte')}," if briefly and stack.block is not finding.culprit else ""
    return f"{name or 'the victim'}{size} {title}{_doer(stack, briefly=briefly)}"


def _doer(stack: Stack, *, briefly: bool) -> str:
    if stack.task is not None:
        return f" by task {text.clean(stack.task)}"
    return f" by thread {stack.thread}" if stack.thread and not briefly else ""


def _stack(
    out: "_Lines", stack: Sequence[Frame], sources: set[tuple[str | None, int | None]], *, briefly: bool = False
) -> None:
    # The source of the innermost frame that has any here, and of the innermost Python frame.
    python = next((frame for frame in stack if frame.language == "python"), None)
    told_of = named(stack)
    shown = False
    rows = list(folded(stack))
    for row in rows[:_FRAMES]:
        if isinstance(row, int):
            out.plain(f"    ... {count(row, 'frame')} of the interpreter")
            continue
        number, frame = row
        where = text.line(frame, whole_path=True)
        module = f"({text.clean(frame.module)})" if frame.module and not where else ""
        mark = "  [inlined]" if frame.inlined else ""
        told = out.text(f"    {text.function(frame)}  " if briefly else f"    #{number:<2} {text.function(frame)}  ")
        told.append(where or module, out.link(frame) if where else None)
        told.append(mark)
        told.rstrip()
        out.line(told)
        if (frame is told_of if briefly else not shown or frame is python) and (frame.file, frame.line) not in sources:
            sources.add((frame.file, frame.line))
            for line, written in source.lines(frame):
                shown = True
                out.plain(
                    f"        {'>' if line == frame.line else ' '} {line:>5} | {written[: out.source_width]}".rstrip()
                )
    left = sum(row if isinstance(row, int) else 1 for row in rows[_FRAMES:])
    if left:
        out.plain(f"    ... {count(left, 'frame')} more")


def _end(report: Report, console: "Console") -> None:
    out = _Lines(console)
    for finding in report.findings:
        if finding.count > 1:
            out.plain(f"{finding.count:,} times: {finding.kind}: {text.headline(finding)}")
    for warning in report.warnings:
        out.paragraph(text.clean(warning), "warning: ")
    out.plain(f"heapwitness: {summed_up(report.summary, insides=not runs_python(report))}")


class _Lines:
    """Writes lines to a console as they are: no markup, no highlighting, no wrapping."""

    def __init__(self, console: "Console") -> None:
        from rich.text import Text

        self._console = console
        self._text = Text
        self.width = max(_NARROWEST, min(console.width, _WIDEST))
        self._links = console.is_terminal and hyperlinks.are_known(os.environ)
        self.source_width = max(40, console.width - 20) if console.is_terminal else _WIDEST

    def link(self, frame: Frame) -> str | None:
        """The style of a link to a frame's file; None where the terminal knows no links."""
        place = hyperlinks.link(frame) if self._links else ""
        return f"link {place}" if place else None

    def text(self, plain: str) -> "Text":
        return self._text(plain)

    def line(self, line: "Text") -> None:
        self._console.print(line, soft_wrap=True, highlight=False, markup=False)

    def plain(self, line: str) -> None:
        self.line(self._text(line))

    def blank(self) -> None:
        self.plain("")

    def head(self, kind: str, sentence: str) -> None:
        first, *rest = textwrap.wrap(f"{kind}: {sentence}", self.width) or [""]
        for number, line in enumerate((first, *rest)):
            styled = self._text(line if number == 0 else f"  {line}")
            styled.stylize(_HEAD)
            self.line(styled)

    def entry(self, label: str, value: str, *, wrap: bool = False) -> None:
        """A label in the first column and what it says in the second."""
        lines = textwrap.wrap(value, max(20, self.width - _LABEL)) if wrap else [value]
        for number, line in enumerate(lines or [""]):
            self.plain(f"  {label if number == 0 else '':<{_LABEL - 2}}{line}".rstrip())

    def paragraph(self, value: str, label: str) -> None:
        for line in textwrap.wrap(label + value, self.width, subsequent_indent="  "):
            self.plain(line)
