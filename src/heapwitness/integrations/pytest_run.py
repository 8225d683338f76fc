"""Runs pytest under the engine, and shows what no test has shown.

python -m heapwitness.integrations.pytest_run COUNT [COUNT words: options of heapwitness run] PYTEST'S COMMAND
"""

import contextlib
import os
import sys
import tempfile
from collections.abc import Hashable
from functools import partial
from pathlib import Path

from heapwitness.cli import group, settings, straight
from heapwitness.cli.run import command as run_command
from heapwitness.errors import HeapwitnessError, each
from heapwitness.findings.model import Crash, Finding
from heapwitness.integrations.pytest_names import DIRECTORY, RUNNING
from heapwitness.report.folding import same
from heapwitness.supervise.limits import OwnLimits
from heapwitness.supervise.options import Options
from heapwitness.supervise.output import write_reports
from heapwitness.supervise.program import HeldSignals
from heapwitness.supervise.screen import PREFIX, Screen
from heapwitness.supervise.supervisor import held_signals, plan_for, watch

FAILED = 1
"""As pytest's own: some tests failed."""

MISUSED = 4
"""As pytest's own: it was called wrongly."""


_NAME = "heapwitness run"


class _Held:
    """Keeps what is found until the end, and which tests ran then."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self.during: dict[Hashable, tuple[str, ...]] = {}
        self.sentences: list[str] = []

    def finding(self, finding: Finding) -> None:
        self.during[same(finding)] = running(self._directory)

    def crash(self, crash: Crash) -> None:
        pass

    def sentence(self, text: str) -> None:
        self.sentences.append(text)


def running(directory: Path) -> tuple[str, ...]:
    """The tests that run, one in each process."""
    tests = []
    for file in sorted(directory.glob(f"{RUNNING}*")):
        with contextlib.suppress(OSError):
            tests.append(file.read_text("utf-8", "backslashreplace"))
    return tuple(filter(None, tests))


def main(words: list[str]) -> int:
    """Run it; the exit status is pytest's own, or FAILED with findings that no test has shown."""
    with tempfile.TemporaryDirectory(prefix="heapwitness-pytest-", ignore_cleanup_errors=True) as directory:
        os.environ[DIRECTORY] = directory
        try:
            limits = OwnLimits()
            with limits.telling():
                options = _options(words)
                with held_signals(options) as held:
                    return _run(options, Path(directory), limits, held)
        except HeapwitnessError as error:
            print(f"{PREFIX}{error}", file=sys.stderr)
            return MISUSED


def _options(words: list[str]) -> Options:
    with group.group.make_context("heapwitness", ["run"]) as context:
        defaults = settings.configured(run_command, "pytest", lambda: group.configurable(group.group, context))
        given = words[1 : 1 + int(words[0])]
        group.require_options(run_command, _NAME, given)
        values = group.read(run_command, _NAME, [*given, "--", *words[1 + len(given) :]], defaults)
    options = straight.options(**values)
    return options._replace(accepting=options.accepting._replace(at_once=True))


def _run(options: Options, directory: Path, limits: OwnLimits, signals: HeldSignals) -> int:
    plan = plan_for(options)
    held = _Held(directory)
    ending = watch(options, plan, held, limits, signals)
    unshown = [
        one for one, is_unshown in zip(ending.inquired.findings, ending.inquired.unasked, strict=True) if is_unshown
    ]
    report = ending.report()
    with Screen.to(options.output, options.advice, quiet=options.quiet, format=options.format) as screen:
        for sentence in held.sentences:
            screen.sentence(sentence)
        for finding in unshown:
            if tests := held.during.get(same(finding), ()):
                screen.sentence(f"noticed while {' and '.join(tests)} ran:")
            screen.finding(finding)
        for crash in report.crashes:
            screen.crash(crash)
        if report.summary.findings or not options.quiet:
            screen.end(report)
        for test in running(directory):
            screen.sentence(f"pytest ended in the middle of {test}")
    each(partial(write_reports, report, options.json, options.outputs), screen.check)
    lost = ending.totals.dropped + ending.totals.missing
    return FAILED if unshown or lost else ending.status or 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
