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

OVER_MANY = """
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
enum { BYTES = 1000000, RUN = 65536, FROM = 5 };
__attribute__((noinline)) static char *make(size_t size) { return malloc(size); }
int main(int count, char **words) {
    size_t size = atoi(words[1]), runs = atoi(words[2]), n = BYTES / size, met = FROM;
    char **block = malloc(n * sizeof *block);
    for (size_t i = 0; i < n; i++) block[i] = make(size);
    size_t length = runs * RUN;
    memset(block[FROM], 'x', length);
    if (strcmp(words[3], "middle") == 0)
        while (block[met] < block[FROM] + length / 2) met++;
    if (strcmp(words[3], "end") != 0) free(block[met]);
    printf("%p %zu\\n", block[FROM], length);
}
"""
"""Writes from a block over several runs, met at the block itself, at one in the middle, or by the check at the end."""

NUMBERS = """
#include <stdio.h>
#include <stdlib.h>
enum { BLOCKS = 2000, FROM = 5 };
__attribute__((noinline)) static char *make(size_t size) { return malloc(size); }
int main(int count, char **words) {
    size_t size = atoi(words[1]), length = atoi(words[2]);
    static char *block[BLOCKS];
    for (int i = 0; i < BLOCKS; i++) block[i] = make(size);
    double *at = (double *)block[FROM];
    for (size_t i = 0; i < length / sizeof *at; i++)
        at[i] = *words[3] == 'h' ? i * 0.5 : (double)rand() / 7;
    printf("%p\\n", block[FROM]);
    free(block[FROM]);
}
"""
"""Writes numbers from a block over those behind it: halves that count, or random ones."""

BY_CHANCE = """
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
enum { BLOCKS = 300, CONTROL = 16 };
int main(int count, char **words) {
    size_t size = atoi(words[1]), past = atoi(words[2]);
    static char *block[BLOCKS];
    for (int i = 0; i < BLOCKS; i++) memset(block[i] = malloc(size), '-', size);
    for (int i = 0; i + 1 < BLOCKS; i++) {
        char *end = block[i] + size, last = end[CONTROL - 1];
        if (end + CONTROL != block[i + 1] || last == 0 || last == '-' || memchr(end, last, CONTROL - 1)) continue;
        memset(end, last, past);
        printf("%p\\n", end);
        break;
    }
    for (int i = 0; i < BLOCKS; i++) free(block[i]);
}
"""
"""Writes past a block without slack what the last byte of the control data behind it is already."""

KEYED = 4
"""Bytes of a header that are random in each process: a byte written there may be what it was, and is not seen."""

WAYS = pytest.mark.parametrize(("size", "past"), [(1000, 5), (1000, 1500), (2000, 9000), (8000, 30)])


def recorded(source: str, words: tuple[str, ...], directory: Path) -> list[dict[str, Any]]:
    """The findings of a program that nobody listened to, by its record."""
    log, report = directory / "log", directory / "report.json"
    subprocess.run(
        [compiled(source), *words],
        env=environment(LD_PRELOAD=str(library("preload")), HEAPWITNESS_LOG=str(log)),
        check=True,
        capture_output=True,
    )
    heapwitness_command("report", "--json", str(report), str(log))
    findings: list[dict[str, Any]] = json.loads(report.read_text())["findings"]
    return findings


def reaches(finding: dict[str, Any], end: int) -> bool:
    """Whether the damage ends there, or at the last byte before it that was seen."""
    reach: int = finding["damage"]["address"] + finding["damage"]["length"]
    return reach == end or (end - KEYED <= reach < end and not finding["damage"]["exact"])


@WAYS
def test_overflow_from_a_run_into_the_next_is_one_finding_of_the_block_it_came_from(size: int, past: int) -> None:
    result = heapwitness_run(compiled(OVER_THE_END), str(size), str(past))

    start, length = result.stdout.split()
    (finding,) = result.findings
    assert (result.status, finding["kind"], finding["certain"]) == (FOUND, "heap-buffer-overflow", True)
    assert (finding["culprit"]["address"], finding["culprit"]["size"]) == (int(start, 16), size)
    assert reaches(finding, int(start, 16) + int(length))
    assert finding["repaired"]


@WAYS
def test_record_tells_the_same_of_an_overflow_from_a_run_into_the_next(size: int, past: int, tmp_path: Path) -> None:
    words = str(size), str(past)

    told = heapwitness_run(compiled(OVER_THE_END), *words).findings

    (kept,) = recorded(OVER_THE_END, words, tmp_path)
    assert {name: kept[name] for name in ("kind", "certain", "count")} == {
        name: told[0][name] for name in ("kind", "certain", "count")
    }
    assert abs(kept["damage"]["length"] - told[0]["damage"]["length"]) <= KEYED
    assert kept["culprit"]["allocated"]["stack"][0]["function"] == "make"


@pytest.mark.parametrize("met", ["itself", "middle", "end"])
@pytest.mark.parametrize(("size", "runs"), [(16, 2), (100, 3), (1000, 5), (3000, 2), (8000, 4)])
def test_overflow_over_many_runs_is_one_finding_wherever_it_is_met(
    size: int, runs: int, met: str, tmp_path: Path
) -> None:
    words = str(size), str(runs), met

    result = heapwitness_run(compiled(OVER_MANY), *words)

    start, length = result.stdout.split()
    (finding,) = result.findings
    assert (finding["kind"], finding["certain"], finding["count"]) == ("heap-buffer-overflow", True, 1)
    assert (finding["culprit"]["address"], finding["culprit"]["size"]) == (int(start, 16), size)
    assert reaches(finding, int(start, 16) + int(length))
    (kept,) = recorded(OVER_MANY, words, tmp_path)
    assert kept["kind"] == "heap-buffer-overflow"


@pytest.mark.parametrize("numbers", ["halves", "random"])
@pytest.mark.parametrize(("size", "length"), [(100, 600), (1000, 20000), (40, 3000), (2000, 200_000)])
def test_numbers_over_many_blocks_are_one_finding_of_the_block_that_they_began_in(
    size: int, length: int, numbers: str
) -> None:
    result = heapwitness_run(compiled(NUMBERS), str(size), str(length), numbers)

    (finding,) = result.findings
    start, reach = int(result.stdout, 16), finding["damage"]["address"] + finding["damage"]["length"]
    assert (finding["kind"], finding["culprit"]["address"]) == ("heap-buffer-overflow", start)
    assert reach <= start + length + 16
    assert reach > start + length // 3 or not finding["damage"]["exact"]


@pytest.mark.parametrize(("size", "past"), [(16, 20), (48, 30), (1024, 40), (48, 17)])
def test_damage_goes_on_over_a_byte_that_was_written_with_the_value_that_it_had(size: int, past: int) -> None:
    result = heapwitness_run(compiled(BY_CHANCE), str(size), str(past))

    (finding,) = result.findings
    assert (finding["kind"], finding["certain"]) == ("heap-buffer-overflow", True)
    assert (finding["damage"]["address"], finding["damage"]["length"]) == (int(result.stdout, 16), past)
