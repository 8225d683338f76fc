"""Small blocks lie in runs of 64 KiB: what is written over the end of one goes on in the next, and is one finding."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from run_support import FOUND, compiled, environment, heapwitness_command, heapwitness_run, needs_engine

from heapwitness.native import library

pytestmark = needs_engine

OVER_THE_END = """
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
enum { BLOCKS = 300, RUN = 65536 };
__attribute__((noinline)) static char *make(size_t size) { return malloc(size); }
int main(int count, char **words) {
    size_t size = atoi(words[1]), past = atoi(words[2]);
    static char *block[BLOCKS], *last;
    for (int i = 0; i < BLOCKS; i++) block[i] = make(size);
    for (int i = 0; i + 1 < BLOCKS; i++)
        if ((uintptr_t)block[i] / RUN + 1 == (uintptr_t)block[i + 1] / RUN) last = block[i];
    size_t length = RUN - (uintptr_t)last % RUN + past;
    memset(last, 'x', length);
    for (int i = 0; i < BLOCKS; i++) free(block[i]);
    printf("%p %zu\\n", last, length);
}
"""
"""Writes over the last block of a run, and so many bytes of the next."""

WAYS = pytest.mark.parametrize(("size", "past"), [(1000, 5), (1000, 1500), (2000, 9000), (8000, 30)])


def recorded(words: tuple[str, ...], directory: Path) -> list[dict[str, Any]]:
    """The findings of a program that nobody listened to, by its record."""
    log, report = directory / "log", directory / "report.json"
    subprocess.run(
        [compiled(OVER_THE_END), *words],
        env=environment(LD_PRELOAD=str(library("preload")), HEAPWITNESS_LOG=str(log)),
        check=True,
        capture_output=True,
    )
    heapwitness_command("report", "--json", str(report), str(log))
    findings: list[dict[str, Any]] = json.loads(report.read_text())["findings"]
    return findings


@WAYS
def test_overflow_from_a_run_into_the_next_is_one_finding_of_the_block_it_came_from(size: int, past: int) -> None:
    result = heapwitness_run(compiled(OVER_THE_END), str(size), str(past))

    start, length = result.stdout.split()
    (finding,) = result.findings
    assert (result.status, finding["kind"], finding["certain"]) == (FOUND, "heap-buffer-overflow", True)
    assert (finding["culprit"]["address"], finding["culprit"]["size"]) == (int(start, 16), size)
    assert finding["damage"]["address"] + finding["damage"]["length"] == int(start, 16) + int(length)
    assert finding["repaired"]


@WAYS
def test_record_tells_the_same_of_an_overflow_from_a_run_into_the_next(size: int, past: int, tmp_path: Path) -> None:
    words = str(size), str(past)

    told = heapwitness_run(compiled(OVER_THE_END), *words).findings

    (kept,) = recorded(words, tmp_path)
    assert {name: kept[name] for name in ("kind", "certain", "count")} == {
        name: told[0][name] for name in ("kind", "certain", "count")
    }
    assert kept["damage"]["length"] == told[0]["damage"]["length"]
    assert kept["culprit"]["allocated"]["stack"][0]["function"] == "make"
