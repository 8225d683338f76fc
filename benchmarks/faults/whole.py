"""Runs of the whole product: each one `heapwitness run --json` of a process that damages its heap."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from engine import result, truth_of
from truth import Result

from heapwitness.report import json

_FOUND = 99
_TIMEOUT = 120


def runs(program: Path, seed: int, first: int, count: int, poison: bool) -> Iterator[tuple[int, Result]]:
    """Runs `first` to before `first + count`, each with its number."""
    for number in range(first, first + count):
        one = _run(program, seed, number, poison)
        if one is not None:
            yield number, one


def _run(program: Path, seed: int, number: int, poison: bool) -> Result | None:
    with tempfile.TemporaryDirectory() as directory:
        report = Path(directory) / "report.json"
        command = [sys.executable, "-m", "heapwitness", "run", "--check-signal", "USR2", "--output", os.devnull]
        command += ["--poison"] if poison else []
        command += ["--json", str(report), "--", str(program), str(seed), str(number), "1"]
        done = subprocess.run(
            [*command, "poison" if poison else "plain"],
            capture_output=True,
            text=True,
            timeout=_TIMEOUT,
            check=False,
        )
        lines = [line.split() for line in done.stdout.splitlines()]
        told = next((words for words in lines if words[0] == "run"), None)
        if told is None:
            return None
        findings = json.decode(report.read_bytes()).findings
    _, mode, truth, lost = truth_of(told)
    status = int(next(words[2] for words in lines if words[0] == "end"))
    if findings and done.returncode != _FOUND:
        status = done.returncode
    return result(findings, mode, truth, lost, status)
