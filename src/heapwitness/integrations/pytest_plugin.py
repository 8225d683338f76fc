"""`pytest --heapwitness`: the test that damages the heap fails, with the report.

Without the engine pytest starts itself again under it (`pytest_run.py`). Then the whole heap is checked after each
test's setup, call and teardown; as each check leaves nothing unfound, what one finds was done in that phase.
"""

import os
import sys
import time
from collections.abc import Generator
from pathlib import Path

import pytest

from heapwitness import inside

DIRECTORY = "HEAPWITNESS_PYTEST"
"""The variable that names the directory shared with `pytest_run`."""

REPORT, RUNNING, SHOWN = "report", "running", "shown"
"""Files there: the findings' text, the test that runs, and how much of the text was shown."""

_PATIENCE = 5.0
_STEP = 0.05
"""Seconds to wait for a finding's text, which is made while the program goes on, and between looks."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """See pytest."""
    group = parser.getgroup("heapwitness")
    group.addoption(
        "--heapwitness",
        action="store_true",
        help="Run the tests on a heap whose headers have witnesses, and fail those that damage it.",
    )


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> None:
    """Start again under the engine, unless it is there."""
    if not config.option.heapwitness or inside.is_inside() or hasattr(config, "workerinput"):
        return
    if list(config.invocation_params.args) != sys.argv[1:]:
        raise pytest.UsageError("--heapwitness needs pytest to be started as a command, not by another program.")
    if DIRECTORY in os.environ:
        raise pytest.UsageError("--heapwitness: the engine could not be loaded into pytest.")
    capture = config.pluginmanager.getplugin("capturemanager")
    if capture is not None:
        capture.stop_global_capturing()
    command = [sys.executable, *sys.orig_argv[1:]]
    os.execv(sys.executable, [sys.executable, "-m", "heapwitness.integrations.pytest_run", *command])


def pytest_configure(config: pytest.Config) -> None:
    """Check from now on."""
    if config.option.heapwitness and inside.is_inside():
        inside.findings()
        config.pluginmanager.register(_Checks(hasattr(config, "workerinput")), "heapwitness-checks")


class _Checks:
    """Checks after each phase of a test.

    Args:
        shared: other processes have findings in the same report, so that it is not known whose is whose.
    """

    def __init__(self, shared: bool) -> None:
        directory = os.environ.get(DIRECTORY, "")
        self._place = Path(directory) if directory and not shared else None
        self._shown = 0
        self._failed: dict[str, int] = {}

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> Generator[None, object, object]:
        """See pytest."""
        self._note(item.nodeid)
        return (yield from self._checked(item, "setup"))

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_call(self, item: pytest.Item) -> Generator[None, object, object]:
        """See pytest."""
        return (yield from self._checked(item, "call"))

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_teardown(self, item: pytest.Item) -> Generator[None, object, object]:
        """See pytest."""
        result = yield from self._checked(item, "teardown")
        self._note("")
        return result

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """See pytest."""
        if self._failed:
            terminalreporter.section("heapwitness")
            for test, count in self._failed.items():
                terminalreporter.line(f"{test}: {_findings(count)} in the heap")

    def _checked(self, item: pytest.Item, when: str) -> Generator[None, object, object]:
        try:
            result = yield
        except BaseException:
            text = self._found(item)
            if text:
                item.add_report_section(when, "heapwitness", text)
            raise
        text = self._found(item)
        if text:
            pytest.fail(text, pytrace=False)
        return result

    def _found(self, item: pytest.Item) -> str:
        """The report of what was found since the last check; "" for nothing."""
        count = inside.findings()
        if not count:
            return ""
        self._failed[item.nodeid] = self._failed.get(item.nodeid, 0) + count
        text = f"{_findings(count)} in the heap\n\n{self._report()}".rstrip()
        item.user_properties.append(("heapwitness", text.split("\n\n")[1].split("\n")[0] if "\n\n" in text else text))
        return text

    def _report(self) -> str:
        if self._place is None:
            return "The report stands below the tests."
        until = time.monotonic() + _PATIENCE
        size, before = 0, -1
        while time.monotonic() < until and (size <= self._shown or size != before):
            time.sleep(_STEP)
            before, size = size, _size(self._place / REPORT)
        if size <= self._shown:
            return "Like one of an earlier test, of the same allocation site; else its report stands below the tests."
        with open(self._place / REPORT, encoding="utf-8", errors="replace") as stream:
            stream.seek(self._shown)
            text = stream.read()
            self._shown = stream.tell()
        (self._place / SHOWN).write_text(str(self._shown))
        return text

    def _note(self, test: str) -> None:
        if self._place is not None:
            (self._place / RUNNING).write_text(test, "utf-8", "backslashreplace")


def _size(file: Path) -> int:
    try:
        return file.stat().st_size
    except OSError:
        return 0


def _findings(count: int) -> str:
    return f"heapwitness: {count} {'finding' if count == 1 else 'findings'}"
