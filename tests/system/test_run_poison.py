"""`--poison`: what still uses a block after it was resized uses one that is gone, and is told so."""

import json
import os
import re
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest
from run_support import FOUND, compiled, engine, heapwitness_command, heapwitness_run, needs_engine

pytestmark = needs_engine

STALE = """
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
__attribute__((noinline)) void stale(volatile char *block, long at) { block[at] = 's'; }
__attribute__((noinline)) char *again(char *block, size_t n) { return realloc(block, n); }
int main(int count, char **words) {
    size_t had = strtoul(words[1], 0, 0), n = strtoul(words[2], 0, 0);
    long at = atol(words[3]);
    char *old = malloc(had), *block;
    memset(old, 1, had);
    block = again(old, n);
    if (block == old) puts("stayed");
    for (size_t i = 0; i < had && i < n; i++)
        if (block[i] != 1) return 7;
    puts("whole");
    fflush(stdout);
    if (at >= 0) stale(old, at);
    memset(block, 2, n);
    free(block);
    return 0;
}
"""

SHRUNK_FAR, GROWN_BIG = (2_000_000, 100, 1_900_000), (1_000_000, 40_000_000, 999_999)
RESIZES = [
    pytest.param((100, 1, 40), id="shrunk to a byte"),
    pytest.param((100, 99, 98), id="shrunk by a byte"),
    pytest.param((100, 101, 99), id="grown within the same node"),
    pytest.param((100, 5_000, 20), id="grown"),
    pytest.param((300_000, 290_000, 295_000), id="large, shrunk"),
    pytest.param((2_000_000, 1_900_000, 1_950_000), id="big, shrunk"),
    pytest.param((1_000_000, 1_000_001, 0), id="big, grown by a byte"),
    pytest.param(GROWN_BIG, id="big, grown"),
    pytest.param(SHRUNK_FAR, id="big, no longer"),
]


def only_finding(words: tuple[int, ...]) -> dict[str, Any]:
    result = heapwitness_run(compiled(STALE), *map(str, words), options=("--poison",))
    assert (result.status, len(result.findings), result.stdout) == (FOUND, 1, "whole\n"), result.stderr
    return result.findings[0]


@pytest.mark.parametrize("words", RESIZES)
def test_stale_store_into_a_resized_block_is_a_write_after_its_release(words: tuple[int, ...]) -> None:
    had, _, at = words

    finding = only_finding(words)

    block, store, damage = finding["culprit"], finding["store"], finding["damage"]
    assert (finding["kind"], block["size"], block["state"]) in [
        ("use-after-free-write", had, state) for state in ("free", "cached")
    ]
    assert (store or damage)["address"] - block["address"] == at
    assert block["allocated"]["stack"][0]["function"] == "main"
    assert block["freed"]["stack"][0]["function"] == "again"


@pytest.mark.parametrize("words", [SHRUNK_FAR, GROWN_BIG])
def test_stale_store_into_a_big_block_is_told_at_the_store(words: tuple[int, ...]) -> None:
    finding = only_finding(words)

    assert finding["detected"]["when"] == "trap"
    assert [frame["function"] for frame in finding["store"]["stack"]][:2] == ["stale", "main"]


def test_stale_read_of_a_big_block_is_told_as_a_read_after_its_release() -> None:
    program = compiled(STALE.replace("block[at] = 's';", "if (block[at] == 's') abort();"))

    result = heapwitness_run(program, *map(str, GROWN_BIG), options=("--poison",))

    assert result.status == FOUND
    (finding,) = result.findings
    assert (finding["kind"], finding["access"]) == ("use-after-free-read", "read")
    assert finding["store"]["address"] - finding["culprit"]["address"] == GROWN_BIG[2]
    assert finding["culprit"]["size"] == GROWN_BIG[0]
    assert "stale read at offset 999,999 of a 1,000,000-byte block after it was released" in " ".join(
        result.stderr.split()
    )


@pytest.mark.parametrize(("had", "n"), [(100, 100), (2_000_000, 2_000_000)])
def test_block_that_is_resized_to_its_own_size_stays(had: int, n: int) -> None:
    result = heapwitness_run(compiled(STALE), str(had), str(n), "50", options=("--poison",))

    assert (result.status, result.stdout, result.findings) == (0, "stayed\nwhole\n", [])


@pytest.mark.parametrize(("had", "n"), [(100, 99), (2_000_000, 1_900_000)])
def test_resizes_stay_in_place_without_poison(had: int, n: int) -> None:
    result = heapwitness_run(compiled(STALE), str(had), str(n), "-1")

    assert (result.status, result.stdout, result.findings) == (0, "stayed\nwhole\n", [])


def test_record_of_a_stale_store_into_a_big_block_says_who_allocated_and_released_it(tmp_path: Path) -> None:
    log, report = tmp_path / "log", tmp_path / "report.json"
    variables = {"LD_PRELOAD": str(engine()), "HEAPWITNESS_POISON": "1", "HEAPWITNESS_LOG": str(log)}

    status = subprocess.run([compiled(STALE), *map(str, GROWN_BIG)], env=os.environ | variables, check=False).returncode
    heapwitness_command("report", "--json", report, log)

    (finding,) = json.loads(report.read_text())["findings"]
    assert (status, finding["kind"]) == (-signal.SIGSEGV, "use-after-free-write")
    assert finding["culprit"]["allocated"]["stack"][0]["function"] == "main"
    assert finding["culprit"]["freed"]["stack"][0]["function"] == "again"


TWICE = """
#include <stdlib.h>
int main(void) {
    char *old = malloc(1000000), *block = realloc(old, 3000000);
    free(old);
    free(block);
    return block == old;
}
"""


def test_release_of_a_big_block_that_was_moved_is_the_second_one() -> None:
    result = heapwitness_run(compiled(TWICE), options=("--poison",))

    assert [(one["kind"], one["culprit"]["size"]) for one in result.findings] == [("double-free", 1_000_000)]


HELD = """
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
static pthread_barrier_t all;
static void *work(void *unused) {
    for (int i = 0; i < 4000; i++) {
        char *volatile block = malloc(20000);
        memset(block, 1, 20000);
        free(block);
    }
    pthread_barrier_wait(&all);
    return NULL;
}
int main(int count, char **words) {
    struct rusage used;
    int n = atoi(words[1]);
    char *grown = NULL;
    pthread_t thread[64];
    pthread_barrier_init(&all, NULL, n);
    for (int i = 0; i < n; i++) pthread_create(&thread[i], NULL, work, NULL);
    for (int i = 0; i < n; i++) pthread_join(thread[i], NULL);
    for (size_t size = 1 << 20; size <= 64 << 20; size += 1 << 20) {
        grown = realloc(grown, size);
        memset(grown, 1, size);
    }
    getrusage(RUSAGE_SELF, &used);
    printf("%ld\\n", used.ru_maxrss >> 10);
    return 0;
}
"""


def test_what_is_held_back_is_bounded_for_the_whole_process() -> None:
    result = heapwitness_run(compiled(HELD, "-pthread"), "32", options=("--poison",))

    mebibytes = int(re.findall(r"\d+", result.stdout)[0])
    assert (result.status, result.findings) == (0, []), result.stderr
    assert mebibytes < 200  # 32 for all threads together; each for itself it would be 1,024


HELD_BACK = """
#include <stdlib.h>
#include <string.h>
enum { LATER = 4000 };
static void pass(int count) {
    while (count--) { char *volatile other = malloc(40); free(other); }
}
int main(int count, char **words) {
    size_t size = strtoul(words[1], 0, 0), at = strtoul(words[2], 0, 0);
    char *volatile block = malloc(size);
    memset(block, 1, size);
    free(block);
    pass(LATER);
    ((volatile char *)block)[at] = 's';
    pass(LATER);
    return 0;
}
"""


@pytest.mark.parametrize(
    ("size", "at"), [(33, 20), (100, 99), (1_000, 16), (1_100, 700), (60_000, 30_000), (300_000, 99)]
)
def test_stale_store_into_a_block_of_any_size_is_told_when_it_is_given_out_again(size: int, at: int) -> None:
    result = heapwitness_run(compiled(HELD_BACK), str(size), str(at), options=("--poison",))

    (finding,) = result.findings
    assert (finding["kind"], finding["detected"]["when"]) == ("use-after-free-write", "free")
    assert (finding["culprit"]["size"], finding["damage"]["address"] - finding["culprit"]["address"]) == (size, at)


REUSED = """
#include <stdlib.h>
#include <string.h>
int main(int count, char **words) {
    static char *block[64];
    for (int i = 0; i < 8; i++) block[i] = malloc(100);
    for (int i = 0; i < 8; i++) free(block[i]);
    unsigned poisoned[4] = {0x13A7C5B9, 0xB1D38FA5, 0, 0};
    for (int i = 0; i < 16; i++) ((volatile char *)block[7])[i] = ((char *)poisoned)[i];
    for (int i = 0; i < 64; i++) {
        block[i] = malloc(100);
        if (!block[i]) return 7;
        memset(block[i], i, 100);
    }
    for (int i = 0; i < 64; i++) free(block[i]);
    return 0;
}
"""


def test_block_whose_links_were_made_to_look_poisoned_is_given_out_again() -> None:
    result = heapwitness_run(compiled(REUSED))

    assert [one["kind"] for one in result.findings] == ["use-after-free-write"], result.stderr
    assert result.report["program"]["exit_status"] == 0


WORDS = """
#include <stdlib.h>
#include <string.h>
int main(int count, char **words) {
    size_t n = strtoul(words[1], 0, 0), at = strtoul(words[2], 0, 0), bytes = strtoul(words[4], 0, 0);
    long value = atol(words[3]);
    volatile char *block = malloc(n);
    memset((char *)block, 7, n);
    free((char *)block);
    for (size_t i = 0; i < bytes; i++) block[at + i] = ((char *)&value)[i];
    return 0;
}
"""


@pytest.mark.parametrize("size", [16, 24, 400])
@pytest.mark.parametrize("value", [0, 1])
@pytest.mark.parametrize(("at", "bytes"), [(0, 1), (0, 8), (4, 4)])
def test_usual_value_at_the_start_of_a_released_block_is_told(size: int, value: int, at: int, bytes: int) -> None:
    result = heapwitness_run(compiled(WORDS), *map(str, (size, at, value, bytes)), options=("--poison",))

    assert [one["kind"] for one in result.findings] == ["use-after-free-write"]
    damage = result.findings[0]["damage"]
    assert (damage["offset"], result.findings[0]["culprit"]["size"]) == (at, size)
