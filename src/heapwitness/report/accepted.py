"""What is said at the end of findings that do not count: which suppressions fired, and what a baseline knew."""

from collections.abc import Iterator

from heapwitness.findings.model import Compared, Report, Suppression
from heapwitness.findings.words import be, count
from heapwitness.report import text

_LINES_SHOWN = 10


def sentences(report: Report) -> Iterator[str]:
    """One for each suppression that fired, one for those of a file that did not, and one for the baseline."""
    for one in report.suppressions:
        if one.fired:
            yield f"suppressed {count(one.fired, 'finding')}: {text.clean(one.text)} ({one.file}:{one.line})"
    for file in dict.fromkeys(one.file for one in report.suppressions):
        yield from _unused(file, [one for one in report.suppressions if one.file == file])
    if report.baseline is not None:
        yield _compared(report.baseline, report.summary.findings)


def _unused(file: str, rules: list[Suppression]) -> Iterator[str]:
    unused = [one for one in rules if not one.fired]
    if not unused:
        return
    shown = ", ".join(str(one.line) for one in unused[:_LINES_SHOWN])
    more = f" and {len(unused) - _LINES_SHOWN:,} more" if len(unused) > _LINES_SHOWN else ""
    lines = "line" if len(unused) == 1 else "lines"
    verb = "was" if len(unused) == 1 else "were"
    yield f"{len(unused):,} of {count(len(rules), 'suppression')} in {file} {verb} not used: {lines} {shown}{more}"


def _compared(baseline: Compared, new: int) -> str:
    gone = f"; {baseline.missing:,} of its findings not seen again" if baseline.missing else ""
    return (
        f"compared with {baseline.file}: {count(new, 'finding')} {be(new)} new, "
        f"{baseline.known:,} {be(baseline.known)} known{gone}"
    )
