"""Compiles the programs with one bug each and runs them under `heapwitness run`.

A program prints what it did as facts, `name number` a line; see case.h. `run` gives them beside the report.
"""

import atexit
import json
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest

SOURCES = Path(__file__).parent
FOUND = 99
TIMEOUT_S = 120

_work = Path(tempfile.mkdtemp(prefix="heapwitness-programs-"))
atexit.register(shutil.rmtree, _work, ignore_errors=True)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a run: exit status, output, the program's facts and the report's findings."""

    status: int
    stdout: str
    stderr: str
    facts: dict[str, int]
    report: dict[str, Any]

    @property
    def findings(self) -> list[dict[str, Any]]:
        findings: list[dict[str, Any]] = self.report["findings"]
        return findings

    @property
    def finding(self) -> dict[str, Any]:
        """The only finding, of a program that came to its end with status 99."""
        assert self.status == FOUND, self
        assert "done" in self.stdout.split(), self
        assert len(self.findings) == 1, [(each["kind"], each["damage"]) for each in self.findings]
        assert self.findings[0]["count"] == 1
        return self.findings[0]

    def assert_clean(self) -> None:
        """The program came to its end and nothing was found."""
        assert self.findings == []
        assert self.status == 0, self
        assert "done" in self.stdout.split()


@cache
def build(source: str, optimise: str = "-O2") -> Path:
    """The executable of `source` (a file beside this one), compiled once for each level of optimisation."""
    compiler = "g++" if source.endswith(".cpp") else "gcc"
    if shutil.which(compiler) is None:
        pytest.skip(f"{compiler} is not installed")
    program = _work / f"{Path(source).stem}{optimise}"
    # The bugs are meant: no warnings, and no builtins by which the compiler would see and remove them; no calls made
    # into jumps, which leave no frame.
    command = [
        compiler,
        "-g",
        optimise,
        "-w",
        "-fno-builtin",
        "-fno-optimize-sibling-calls",
        "-pthread",
        "-o",
        str(program),
        str(SOURCES / source),
    ]
    subprocess.run(command, check=True, timeout=TIMEOUT_S)
    return program


def line_of(source: str, marker: str) -> int:
    """The number of the line of `source` that ends with the comment `marker`."""
    for number, line in enumerate((SOURCES / source).read_text().splitlines(), start=1):
        if line.rstrip(" */").endswith(f"/ {marker}") or line.rstrip(" */").endswith(f"* {marker}"):
            return number
    raise AssertionError(f"{source} has no line marked {marker!r}")


def heapwitness(
    *arguments: str | Path,
    environment: dict[str, str] | None = None,
    cwd: Path | None = None,
    timeout: float = TIMEOUT_S,
) -> subprocess.CompletedProcess[str]:
    """Run the command line tool, with additions to the environment."""
    command = [sys.executable, "-m", "heapwitness", *map(str, arguments)]
    return subprocess.run(
        command,
        capture_output=True,
        text=True,
        errors="replace",
        cwd=cwd,
        timeout=timeout,
        check=False,
        env=os.environ | (environment or {}),
    )


def run_command(
    *command: str | Path,
    options: tuple[str, ...] = (),
    environment: dict[str, str] | None = None,
    cwd: Path | None = None,
    timeout: float = TIMEOUT_S,
) -> Outcome:
    """Run any program under `heapwitness run` with `options`, and read its report."""
    handle, name = tempfile.mkstemp(suffix=".json", dir=_work)
    os.close(handle)
    report = Path(name)
    done = heapwitness(
        "run", "--json", report, *options, "--", *command, environment=environment, cwd=cwd, timeout=timeout
    )
    assert report.stat().st_size > 0, done.stderr
    facts = {}
    for line in done.stdout.splitlines():
        words = line.split()
        if len(words) == 2 and words[1].isdigit():
            facts[words[0]] = int(words[1])
    return Outcome(done.returncode, done.stdout, done.stderr, facts, json.loads(report.read_text()))


def run(source: str, optimise: str = "-O2", options: tuple[str, ...] = (), **case: object) -> Outcome:
    """Run one of the programs with `case` as its arguments, and read its report."""
    words = [f"{key}={value}" for key, value in case.items() if value is not None]
    return run_command(build(source, optimise), *words, options=options)


def allocated_at(block: dict[str, Any], file: str) -> int:
    """The line in `file` of the innermost frame of the block's allocation that lies in it."""
    for frame in block["allocated"]["stack"]:
        if frame["file"] is not None and Path(frame["file"]).name == file:
            line: int = frame["line"]
            return line
    raise AssertionError(f"no frame of {file} in {block['allocated']}")
