"""One program of the campaign: run without and with the heap, and compared."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

# How unittest and pytest begin a line that names a test that failed.
COMPLAINTS = ("FAIL: ", "ERROR: ", "FAILED ")

Verdict = Literal["same", "both fail", "differs", "finding", "hangs", "skipped"]


class Skip(Exception):
    """What the task needs is not on this machine."""


@dataclass(frozen=True, slots=True)
class Task:
    """A program to be run twice, in a directory of its own that `prepare` fills.

    `words` picks what is compared from the output, in addition to the exit status (all of it by default).
    `note` says what of it the heap does not see. With `plain_first` unset the plain run is only made when the other did
    not succeed, to see whether it does there.
    """

    group: str
    name: str
    command: tuple[str, ...]
    prepare: Callable[[Path], None] = lambda work: None
    words: Callable[[str], str] = lambda output: output
    environment: Mapping[str, str] = field(default_factory=dict)
    plain_first: bool = True
    timeout: float = 600
    note: str = ""

    @property
    def key(self) -> str:
        return f"{self.group}/{self.name}"


@dataclass(frozen=True, slots=True)
class Result:
    """What came of it. `seconds` without and with the heap; `operations` that were checked."""

    key: str
    verdict: Verdict
    seconds: float
    seconds_with: float
    operations: int
    processes: int
    remark: str


@dataclass(frozen=True, slots=True)
class _Run:
    status: int
    output: str
    tail: str
    complaints: frozenset[str]
    seconds: float


def carry_out(task: Task, work: Path) -> Result:
    """Run a task in the empty directory `work`."""
    try:
        plain = None
        if task.plain_first:
            plain = _run(task, _fresh(task, work), ())
        with_heap, report = _run_with_heap(task, work)
        if plain is None and (with_heap.status != 0 or report["findings"]):
            plain = _run(task, _fresh(task, work), ())
    except Skip as skip:
        return Result(task.key, "skipped", 0, 0, 0, 0, str(skip))
    verdict, remark = _judge(task, plain, with_heap, report)
    summary = report["summary"]
    return Result(
        task.key,
        verdict,
        plain.seconds if plain else 0,
        with_heap.seconds,
        summary.get("operations", 0),
        summary.get("processes", 0),
        remark,
    )


def _judge(task: Task, plain: _Run | None, with_heap: _Run, report: dict[str, Any]) -> tuple[Verdict, str]:
    if report["findings"]:
        first = report["findings"][0]
        return "finding", f"{first['kind']}: {first['detail'] or first['damage']}"[:300]
    if plain is None:
        return "same", _about(task, report)
    if with_heap.status == -signal.SIGKILL:
        return ("both fail", "both hang") if plain.status == -signal.SIGKILL else ("hangs", with_heap.tail)
    if with_heap.status != plain.status:
        return "differs", f"status {with_heap.status}, not {plain.status}: {with_heap.tail}"
    if plain.complaints != with_heap.complaints:
        return "differs", f"not both complain: {', '.join(sorted(plain.complaints ^ with_heap.complaints))}"[:300]
    if plain.status != 0:
        return "both fail", f"status {plain.status}: {plain.tail}"
    if task.words(plain.output) != task.words(with_heap.output):
        return "differs", "the output is another"
    return "same", _about(task, report)


def _about(task: Task, report: dict[str, Any]) -> str:
    return task.note if report["summary"].get("operations") else "brings its own allocator: no operation was seen"


def _fresh(task: Task, work: Path) -> Path:
    """An empty directory, prepared."""
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    task.prepare(work)
    return work


def _run_with_heap(task: Task, work: Path) -> tuple[_Run, dict[str, Any]]:
    """The run and its report; what processes of another user found is read from the log."""
    _fresh(task, work)
    told, log, recorded = (work.with_suffix(suffix) for suffix in (".told.json", ".log", ".recorded.json"))
    log.touch()
    log.chmod(0o666)
    heapwitness = (sys.executable, "-m", "heapwitness")
    options = ("--output", os.devnull, "--json", str(told), "--log", str(log))
    run = _run(task, work, (*heapwitness, "run", *options, "--"))
    report = _load(told)
    if log.stat().st_size:
        command = [*heapwitness, "report", "--json", str(recorded), str(log)]
        subprocess.run(command, capture_output=True, timeout=task.timeout, check=False)
        report["findings"] += _load(recorded)["findings"]
    for path in (told, log, recorded):
        path.unlink(missing_ok=True)
    return run, report


def _load(report: Path) -> dict[str, Any]:
    """A report; an empty one when there is none, as after a time-out."""
    nothing: dict[str, Any] = {"findings": [], "summary": {}}
    with contextlib.suppress(OSError, ValueError):
        nothing = json.loads(report.read_text())
    return nothing


def _run(task: Task, work: Path, wrap: tuple[str, ...]) -> _Run:
    start = time.monotonic()
    # A session of its own, so that all that is left over can be ended.
    process = subprocess.Popen(
        [*wrap, *task.command],
        cwd=work,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        env=os.environ | {"PYTHONMALLOC": "malloc", "LC_ALL": "C.UTF-8"} | dict(task.environment),
        start_new_session=True,
    )
    try:
        output, errors = process.communicate(timeout=task.timeout)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        output, errors = process.communicate()
    finally:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
    tail = " / ".join((errors or output).strip().splitlines()[-3:])[-300:]
    complaints = frozenset(line for line in (output + errors).splitlines() if line.startswith(COMPLAINTS))
    return _Run(process.returncode, output, tail, complaints, time.monotonic() - start)
