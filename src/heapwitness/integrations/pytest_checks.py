"""What is done to each test under the engine: checks, and what their findings are told as."""

import contextlib
import os
import resource
import threading
from collections import Counter
from collections.abc import Generator
from pathlib import Path
from typing import NamedTuple

import pytest

from heapwitness import inside
from heapwitness.findings.words import count
from heapwitness.integrations.pytest_marker import Switches, switches
from heapwitness.integrations.pytest_names import RUNNING
from heapwitness.integrations.pytest_pace import Pace

_PROPERTY = "heapwitness"


class _Found(NamedTuple):
    """What a check found: sentences and texts of what counts, and how many do not."""

    sentences: tuple[str, ...] = ()
    texts: tuple[str, ...] = ()
    accepted: int = 0


class Checks:
    """Checks after each phase of a test.

    Args:
        directory: shared with `pytest_run`; "" for none.
        each: see `Pace`.
    """

    def __init__(self, directory: str, *, each: bool) -> None:
        self._pid = os.getpid()
        self._running = _opened(Path(directory) / f"{RUNNING}{self._pid}") if directory else None
        self._pace = Pace(each=each)
        self._count = inside.total()
        self._told = 0
        self._children = _children()
        self._switched: dict[str, Switches] = {}
        self._wrong: dict[str, str] = {}
        self._failed: dict[str, list[str]] = {}
        self._accepted = 0

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, config: pytest.Config, items: list[pytest.Item]) -> None:
        """See pytest. A worker of xdist cannot say what a marker has wrong: there the test fails of it."""
        for item in items:
            try:
                wanted = switches(item)
            except pytest.UsageError as error:
                if not hasattr(config, "workerinput"):
                    raise
                self._wrong[item.nodeid] = str(error)
            else:
                if wanted is not None:
                    self._switched[item.nodeid] = wanted

    @pytest.hookimpl(wrapper=True)
    def pytest_make_collect_report(self, collector: pytest.Collector) -> Generator[None, pytest.CollectReport, object]:
        """See pytest: what importing a file of tests damages is its own."""
        report = yield
        if isinstance(collector, pytest.File):
            found = self._look(f"collecting {collector.nodeid}")
            if found.sentences:
                self._failed[f"collecting {collector.nodeid}"] = list(found.sentences)
                report.outcome = "failed"
                report.longrepr = _text(found)
        return report

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> Generator[None, object, object]:
        """See pytest."""
        self._note(item.nodeid)
        if item.nodeid in self._wrong:
            pytest.fail(self._wrong[item.nodeid], pytrace=False)
        if item.nodeid in self._switched:
            self._switched[item.nodeid].on()
        return (yield from self._checked(item, "setup"))

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_call(self, item: pytest.Item) -> Generator[None, object, object]:
        """See pytest."""
        return (yield from self._checked(item, "call"))

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_teardown(self, item: pytest.Item) -> Generator[None, object, object]:
        """See pytest."""
        try:
            return (yield from self._checked(item, "teardown"))
        finally:
            if item.nodeid in self._switched:
                self._switched[item.nodeid].off()
            self._note("")

    def pytest_sessionfinish(self) -> None:
        """See pytest: what is still unseen is found now, and told below the tests."""
        if os.getpid() == self._pid:
            inside.total()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """See pytest; it hears of the tests of workers, too."""
        if report.when == "teardown":
            said = [str(value) for name, value in report.user_properties if name == _PROPERTY]
            if said:
                self._failed[report.nodeid] = said

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """See pytest."""
        if not self._failed and not self._accepted:
            return
        terminalreporter.section("heapwitness")
        for test, sentences in self._failed.items():
            terminalreporter.line(f"{test}: {count(len(sentences), 'finding')} in the heap")
            for sentence in sentences:
                terminalreporter.line(f"  {sentence}")
        if self._accepted:
            terminalreporter.line(f"{count(self._accepted, 'finding')} suppressed or known from the baseline")

    def _checked(self, item: pytest.Item, when: str) -> Generator[None, object, object]:
        try:
            result = yield
        except BaseException:
            found = self._found(item, when)
            if found.sentences:
                item.add_report_section(when, "heapwitness", _text(found))
            raise
        found = self._found(item, when)
        if found.sentences:
            pytest.fail(_text(found), pytrace=False)
        return result

    def _found(self, item: pytest.Item, when: str) -> _Found:
        """What was found since the last check; nothing in the child of a fork, whose parent goes on."""
        if os.getpid() != self._pid:
            return _Found()
        wanted = self._switched.get(item.nodeid)
        found = self._look(f"{item.nodeid} ({when})", surely=wanted is not None)
        if wanted is not None and not wanted.check:
            return _Found()
        item.user_properties.extend((_PROPERTY, sentence) for sentence in found.sentences)
        return found

    def _look(self, place: str, *, surely: bool = False) -> _Found:
        total, since = self._pace.look(place, self._count, surely=surely)
        fresh, self._count = total - self._count, total
        children = _children()
        if not fresh and children == self._children and not _have_children():
            return _Found()
        self._children = children
        self._told, shown = inside.shown_since(self._told)
        counting = [one for one in shown if not one.accepted]
        self._accepted += len(shown) - len(counting)
        unknown = max(0, fresh - len(shown))
        times = Counter(one.alike for one in counting)
        different = list({one.alike: one for one in reversed(counting)}.values())[::-1]
        sentences = [_counted(one.sentence, times[one.alike]) for one in different]
        sentences += [f"{count(unknown, 'finding')} of which no more is known here"] if unknown else []
        bound = (f"It was done in one of the phases since {since}; checks were spread (--heapwitness-checks).",)
        texts = tuple(one.text or one.sentence for one in different)
        return _Found(tuple(sentences), (*(bound if since and sentences else ()), *texts), self._accepted)

    def _note(self, test: str) -> None:
        if self._running is not None and os.getpid() == self._pid:
            with contextlib.suppress(OSError):
                os.ftruncate(self._running, 0)
                os.pwrite(self._running, test.encode("utf-8", "backslashreplace"), 0)


def _opened(path: Path) -> int | None:
    """The file that says which test runs. It stays open: opening it for each test would take longer than small ones."""
    try:
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError:
        return None


def _counted(sentence: str, times: int) -> str:
    return sentence if times == 1 else f"{times} times: {sentence}"


def _text(found: _Found) -> str:
    """The first line is what a summary of pytest has."""
    left = len(found.sentences) - 1
    more = f", and {count(left, 'finding')} more" if left else ""
    first = f"heapwitness: {found.sentences[0]}{more}"
    return "\n\n".join([first, *found.texts]).rstrip()


def _children() -> tuple[float, float, int]:
    """Changes when a child has ended and was waited for."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime, used.ru_stime, used.ru_minflt


def _have_children() -> bool:
    """Whether one of the threads has started a process that is still there."""
    threads = [str(os.getpid())] if threading.active_count() == 1 else os.listdir("/proc/self/task")
    return any(map(_has_children, threads))


def _has_children(thread: str) -> bool:
    try:
        file = os.open(f"/proc/self/task/{thread}/children", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        return bool(os.read(file, 1))
    finally:
        os.close(file)
