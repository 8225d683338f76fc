"""Runs `heapwitness hunt` as a user does, on programs whose wrong lines are marked."""

import json
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from run_support import HEAPWITNESS, WORK, environment


@dataclass(frozen=True, slots=True)
class Hunted:
    """What a user sees of a hunt, and its report as JSON."""

    status: int
    stdout: str
    stderr: str
    report: dict[str, Any]

    @property
    def stores(self) -> list[dict[str, Any]]:
        """The findings whose access was caught."""
        return [one for one in self.report["findings"] if one["store"] is not None]

    @property
    def tries(self) -> int:
        return self.stderr.count("heapwitness: try ")


def heapwitness_hunt(*words: str | Path, options: tuple[str | Path, ...] = (), stdin: str = "", **more: str) -> Hunted:
    """`heapwitness hunt OPTIONS --json FILE -- WORDS`."""
    with tempfile.TemporaryDirectory(dir=WORK) as directory:
        file = Path(directory) / "report.json"
        done = subprocess.run(
            [*HEAPWITNESS, "hunt", *options, "--json", file, "--", *words],
            input=stdin,
            capture_output=True,
            text=True,
            timeout=120,
            env=environment(**more),
        )
        text = file.read_text() if file.exists() else ""
    return Hunted(done.returncode, done.stdout, done.stderr, json.loads(text) if text else {})


def line_of_store(finding: dict[str, Any], source: str) -> int | None:
    """The line of the innermost frame of a store in a source beside the programs; None for none."""
    lines = [
        frame["line"] for frame in finding["store"]["stack"] if frame["file"] and Path(frame["file"]).name == source
    ]
    return lines[0] if lines else None
