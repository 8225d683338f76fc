"""A simulation on a terminal: what the kernel says, and what we say, operation by operation."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from heapwitness.findings.words import count
from heapwitness.liteos.dump.terminal import plain, render_finding
from heapwitness.liteos.simulate.simulate import Step
from heapwitness.report import text

if TYPE_CHECKING:
    from rich.console import Console


def render(steps: Iterable[Step], console: "Console", *, everything: bool, full: bool) -> int:
    """Show a simulation while it runs; the number of findings.

    Args:
        everything: show every operation, not only those that somebody has something to say about.
        full: show findings in full.
    """
    operations = findings = messages = disagreements = 0
    silent = 0
    for step in steps:
        operations = step.number
        findings += len(step.findings)
        messages += bool(step.console)
        disagreements += bool(step.disagrees)
        silent += bool(step.findings) and not step.console
        if everything or step.console or step.findings or step.faults or step.died or step.disagrees:
            _step(step, console, full=full)
    plain(
        console,
        f"heapwitness: {count(operations, 'operation')}; the kernel spoke {_times(messages)}; "
        f"{count(findings, 'finding')}, {_times(silent)} where the kernel said nothing",
    )
    if disagreements:
        plain(console, f"heapwitness: {_times(disagreements)} the recorded kernel did otherwise: check --config")
    return findings


def _step(step: Step, console: "Console", *, full: bool) -> None:
    for fault in step.faults:
        plain(console, f"       injected {text.clean(fault)}")
    plain(console, f"{step.number:>6} {text.clean(step.text)}")
    if step.disagrees:
        plain(console, f"       {step.disagrees}")
    said = step.console.rstrip("\n")
    answer = "" if step.kernel_answer is None else f" answers {step.kernel_answer:#x}"
    if step.died:
        plain(console, f"       kernel{answer} stops here: {text.clean(step.died)}")
    elif said:
        plain(console, f"       kernel{answer}{' and' if answer else ''} prints:")
    elif answer or step.findings:
        plain(console, f"       kernel{answer}{' and' if answer else ''} says nothing")
    for line in said.splitlines():
        plain(console, f"         {text.clean(line)}".rstrip())
    ours = "" if step.our_answer is None else f" answer {step.our_answer:#x}"
    if not step.findings:
        if ours:
            plain(console, f"       we{ours}")
        return
    plain(console, f"       we{ours}{' and' if ours else ''} find:")
    for finding in step.findings:
        if full:
            render_finding(finding, console)
        else:
            repaired = "; repaired" if finding.repaired else ""
            plain(console, f"         {finding.kind}: {text.headline(finding)}{repaired}")


def _times(number: int) -> str:
    return "once" if number == 1 else f"{number:,} times"
