"""Compiles small programs and runs heapwitness on them as a user does."""

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

import heapwitness
from heapwitness.errors import HeapwitnessError
from heapwitness.native import library

FOUND = 99
ERROR = 2

SOURCE = Path(heapwitness.__file__).parents[1]
HEAPWITNESS = (sys.executable, "-m", "heapwitness")
WORK = Path(tempfile.mkdtemp(prefix="heapwitness-run-"))
atexit.register(shutil.rmtree, WORK, ignore_errors=True)


def engine() -> Path | None:
    """The engine's library, None when it was not built."""
    try:
        return library("preload")
    except HeapwitnessError:
        return None


needs_engine = pytest.mark.skipif(
    engine() is None or shutil.which("gcc") is None, reason="needs gcc and the engine, built by `make build`"
)

OVERFLOW = """
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
__attribute__((noinline)) char *make(void) { return malloc(24); }
__attribute__((noinline)) void spoil(char *block) { memset(block, 'x', 27); }
int main(int count, char **words) {
    char *block = make();
    setvbuf(stdout, NULL, _IOLBF, 0);
    if (count > 1 && strcmp(words[1], "wait") == 0) {
        puts("ready");
        getchar();
    }
    spoil(block);
    free(block);
    puts("done");
    return 5;
}
"""
"""Writes 3 bytes past a block of 24, ends with status 5; with `wait` it waits for a line before."""


@cache
def compiled(text: str, *options: str) -> Path:
    """The program of a C source."""
    directory = Path(tempfile.mkdtemp(dir=WORK))
    source, program = directory / "source.c", directory / "program"
    source.write_text(text)
    subprocess.run(["gcc", "-g", "-O1", "-w", *options, "-o", program, source], check=True)
    return program


def environment(**more: str) -> dict[str, str]:
    """The environment in which this source tree's heapwitness is found."""
    return {**os.environ, "PYTHONPATH": str(SOURCE), **more}


@dataclass(frozen=True, slots=True)
class Result:
    """What a user sees of a run, and its report as JSON."""

    status: int
    stdout: str
    stderr: str
    report: dict[str, Any]

    @property
    def findings(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.report["findings"]
        return found


def heapwitness_run(
    *words: str | Path,
    options: tuple[str, ...] = (),
    stdin: str = "",
    cwd: Path | None = None,
    **more: str,
) -> Result:
    """`heapwitness run OPTIONS --json FILE -- WORDS`."""
    with tempfile.TemporaryDirectory(dir=WORK) as directory:
        file = Path(directory) / "report.json"
        done = subprocess.run(
            [*HEAPWITNESS, "run", *options, "--json", file, "--", *words],
            input=stdin,
            capture_output=True,
            text=True,
            timeout=60,
            cwd=cwd,
            env=environment(**more),
        )
        text = file.read_text() if file.exists() else ""
    return Result(done.returncode, done.stdout, done.stderr, json.loads(text) if text else {})


def heapwitness_command(*words: str | Path, **more: str) -> subprocess.CompletedProcess[str]:
    """`heapwitness WORDS`."""
    return subprocess.run(
        [*HEAPWITNESS, *words], capture_output=True, text=True, timeout=60, env=environment(**more), input=""
    )
