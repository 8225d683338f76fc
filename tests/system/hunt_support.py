"""Runs `heapwitness hunt` as a user does, on programs whose wrong lines are marked."""

import ctypes
import json
import os
import platform
import struct
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from run_support import HEAPWITNESS, WORK, environment

_PERF_EVENT_OPEN, _BREAKPOINT, _STORES = 298, 5, 2
_EXCLUDE_KERNEL, _REMOVE_ON_EXEC, _SIGTRAP = 1 << 5, 1 << 36, 1 << 37


def _can_watch() -> bool:
    """Whether the kernel gives this user watchpoints: perf_event_open with sigtrap."""
    if platform.machine() != "x86_64":
        return False
    word = ctypes.c_uint64(0)
    flags = _EXCLUDE_KERNEL | _REMOVE_ON_EXEC | _SIGTRAP
    event = struct.pack(
        "<IIQQQQQIIQQ48xQ", _BREAKPOINT, 128, 0, 1, 0, 0, flags, 0, _STORES, ctypes.addressof(word), 8, 0
    )
    file: int = ctypes.CDLL(None, use_errno=True).syscall(_PERF_EVENT_OPEN, event, 0, -1, -1, 8)
    if file >= 0:
        os.close(file)
    return file >= 0


needs_watchpoints = pytest.mark.skipif(not _can_watch(), reason="needs watchpoints (kernel.perf_event_paranoid)")


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
