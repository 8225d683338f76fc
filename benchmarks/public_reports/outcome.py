"""One run of a program under heapwitness, and what came of it."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a run left: its exit status as a shell gives it, its stderr, and the report (empty when there is none)."""

    status: int
    errors: str
    report: dict[str, Any]

    @property
    def findings(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.report.get("findings", [])
        return found


def run(command: list[str], options: list[str], ended_by: str | None, timeout: float) -> Outcome:
    """Run a command under heapwitness, in a directory of its own.

    Args:
        command: the program and its arguments.
        options: of `heapwitness run`.
        ended_by: a signal ("TERM") that the program is sent as soon as it has written a line.
        timeout: in seconds; whatever runs then is killed, and the status is that of SIGKILL.
    """
    with tempfile.TemporaryDirectory(prefix="public-reports-") as work:
        told = Path(work) / "report.json"
        wrap = [sys.executable, "-m", "heapwitness", "run", "--json", str(told), *options, "--"]
        with (
            open(Path(work) / "output", "w+b") as output,
            open(Path(work) / "errors", "w+b") as errors,
            subprocess.Popen(
                [*wrap, *command],
                cwd=work,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=errors,
                # The inputs' folder may be read-only; a session of its own, so that all that is left over can be ended.
                env=os.environ | {"LC_ALL": "C.UTF-8", "PYTHONDONTWRITEBYTECODE": "1"},
                start_new_session=True,
            ) as process,
        ):
            try:
                if ended_by is not None:
                    _send(signal.Signals[f"SIG{ended_by}"], process.pid, command[0], Path(output.name))
                process.wait(timeout)
            except subprocess.TimeoutExpired:
                pass
            finally:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        status = process.returncode if process.returncode >= 0 else 128 - process.returncode
        return Outcome(status, Path(errors.name).read_text(errors="replace"), _load(told))


def _load(report: Path) -> dict[str, Any]:
    nothing: dict[str, Any] = {}
    with contextlib.suppress(OSError, ValueError):
        nothing = json.loads(report.read_text())
    return nothing


def _send(number: signal.Signals, runner: int, program: str, output: Path, patience: float = 60) -> None:
    """Send a signal to the program, a descendant of the runner, once it has written something."""
    end = time.monotonic() + patience
    while time.monotonic() < end:
        if output.stat().st_size:
            for pid in _descendants(runner):
                with contextlib.suppress(OSError):
                    if os.path.samefile(f"/proc/{pid}/exe", program):
                        os.kill(pid, number)
                        return
        time.sleep(0.05)


def _descendants(pid: int) -> list[int]:
    found: list[int] = []
    with contextlib.suppress(OSError):
        for children in Path(f"/proc/{pid}/task").glob("*/children"):
            for child in children.read_text().split():
                found += [int(child), *_descendants(int(child))]
    return found
