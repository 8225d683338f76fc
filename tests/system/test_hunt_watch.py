"""Stores where a guard page does not fit, caught by the processor's watchpoints: each at its very line."""

import json
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest
from hunt_support import Hunted, heapwitness_hunt, line_of_store, needs_watchpoints
from programs.harness import build, line_of
from run_support import (
    FOUND,
    WORK,
    Result,
    compiled,
    environment,
    heapwitness_command,
    heapwitness_run,
    needs_engine,
)

from heapwitness.findings.sites import encoded
from heapwitness.native import library
from heapwitness.supervise.traps import traps_asked_for

pytestmark = [needs_engine, needs_watchpoints]

SOURCE = "watched.c"
CASES = (
    *("slack", "last_of_slack", "jump", "wild", "wild_byte", "wild_wide", "wild_backup"),
    *("thread", "old_thread", "child", "handler", "in_handler", "blocked"),
)


@cache
def place() -> str:
    """Where a store is wild, for `wild_at`: the program repeats itself."""
    return heapwitness_run(build(SOURCE), "where").stdout.split()[0]


@cache
def report_of(name: str) -> Path:
    """The report of a run without traps."""
    file = WORK / f"watched-{name}.json"
    file.write_text(json.dumps(heapwitness_run(build(SOURCE), name).report))
    return file


def site_of_victims() -> str:
    stack = json.loads(report_of("wild").read_text())["findings"][0]["victim"]["allocated"]["stack"]
    return ",".join(f"{Path(one['module']).name}@{one['build_id'][:16]}+{one['offset']:#x}" for one in stack[:2])


def watched_run(name: str, *options: str) -> Result:
    """A run in which what a wild store hit is watched, and other blocks of the same sites."""
    traps = ("--traps", str(report_of("wild")), "--trap-kind", "watch")
    return heapwitness_run(build(SOURCE), name, options=(*traps, *options))


def assert_caught(hunted: Hunted, name: str) -> None:
    assert hunted.status == FOUND
    (finding,) = hunted.stores
    assert line_of_store(finding, SOURCE) == line_of(SOURCE, name)
    assert finding["access"] == "write"
    assert finding["damage"] is not None and finding["repaired"]


@pytest.mark.parametrize("name", CASES)
def test_store_beside_a_watched_block_is_told_at_its_line_in_the_second_run(name: str) -> None:
    hunted = heapwitness_hunt(build(SOURCE), name, options=("--trap-kind", "watch", "--tries", "2"))

    assert_caught(hunted, name)
    assert len(hunted.report["findings"]) == 1
    first, second = hunted.stdout[: len(hunted.stdout) // 2], hunted.stdout[len(hunted.stdout) // 2 :]
    assert first == second and "done" in first


def test_program_that_the_program_starts_is_watched() -> None:
    hunted = heapwitness_hunt(build(SOURCE), "exec", options=("--trap-kind", "watch", "--tries", "2"))

    assert_caught(hunted, "wild")
    assert hunted.stdout.count("done") == 4


@pytest.mark.parametrize("optimise", ["-O0", "-O2"])
def test_store_by_a_wild_pointer_is_told_at_its_line_after_two_runs(optimise: str) -> None:
    place = heapwitness_run(build(SOURCE, optimise), "where").stdout.split()[0]

    hunted = heapwitness_hunt(build(SOURCE, optimise), "wild_at", place, options=("--tries", "2"))

    assert_caught(hunted, "wild_at")


def test_nobody_is_blamed_for_a_wild_store_but_who_did_it() -> None:
    hunted = heapwitness_hunt(build(SOURCE), "wild_at", place(), options=("--trap-kind", "watch", "--tries", "2"))

    (finding,) = hunted.stores
    assert (finding["kind"], finding["certain"], finding["culprit"]) == ("header-overwrite", False, None)
    assert "header-overwrite: wild_at wrote 8 bytes of the header of a 40-byte block" in hunted.stderr
    assert "The instruction does not show which pointer led there" in hunted.stderr.replace("\n            ", " ")


def test_register_that_holds_a_blocks_address_tells_whose_store_it_is() -> None:
    hunted = heapwitness_hunt(build(SOURCE), "jump", options=("--trap-kind", "watch", "--tries", "2"))

    (finding,) = hunted.stores
    assert (finding["kind"], finding["certain"]) == ("heap-buffer-overflow", True)
    assert finding["culprit"]["address"] in finding["store"]["registers"].values()
    assert finding["damage"]["offset"] == 16


def test_block_far_away_whose_pointer_led_there_is_named() -> None:
    hunted = heapwitness_hunt(build(SOURCE), "far_index", place(), options=("--tries", "2"))

    assert_caught(hunted, "far_index")
    (finding,) = hunted.stores
    assert (finding["kind"], finding["certain"], finding["culprit"]["size"]) == ("heap-buffer-overflow", True, 16)
    assert finding["damage"]["offset"] == finding["victim"]["address"] - 16 - finding["culprit"]["address"] - 16
    assert "far_index wrote 8 bytes past the end of a 16-byte block" in hunted.stderr


def test_block_far_away_whose_pointer_led_to_a_guard_is_named() -> None:
    hunted = heapwitness_hunt(build(SOURCE), "far_to_guard", options=("--trap-kind", "start", "--tries", "2"))

    (finding,) = hunted.stores
    assert line_of_store(finding, SOURCE) == line_of(SOURCE, "far_to_guard")
    assert (finding["kind"], finding["certain"]) == ("heap-buffer-overflow", True)
    assert (finding["culprit"]["size"], finding["victim"]["size"]) == (16, 40)


def test_access_is_told_with_its_size_value_and_instruction() -> None:
    hunted = heapwitness_hunt(build(SOURCE), "wild", options=("--trap-kind", "watch", "--tries", "2"))

    (finding,) = hunted.stores
    store = finding["store"]
    assert (store["address"], store["size"]) == (finding["damage"]["address"], 8)
    assert store["value"] == "41" * 8
    assert store["instruction"].startswith("mov qword ptr [")


def test_kernels_store_is_told_at_the_line_of_the_call() -> None:
    hunted = heapwitness_hunt(build(SOURCE), "by_kernel", options=("--trap-kind", "watch", "--tries", "2"))

    assert hunted.stdout.split("\n")[:2] == ["14", "done"]
    assert [line_of_store(one, SOURCE) for one in hunted.stores] in ([line_of(SOURCE, "by_kernel")], [])


def test_program_that_damages_nothing_does_the_same_with_watchpoints() -> None:
    without = heapwitness_run(build(SOURCE), "healthy")

    watched = watched_run("healthy")

    assert (watched.status, watched.findings, watched.stdout) == (0, [], without.stdout)
    assert watched.report["summary"]["watched"] > 20
    assert watched.report["summary"]["operations"] == without.report["summary"]["operations"]


def test_program_keeps_breakpoints_of_its_own() -> None:
    program = build(SOURCE)
    try:
        subprocess.run([program, "own_traps"], timeout=10, check=False, capture_output=True)
        how = "both"
    except subprocess.TimeoutExpired:  # some hypervisors do not get past the second instruction
        how = "one"

    hunted = heapwitness_hunt(program, "own_traps", how, options=("--trap-kind", "watch", "--tries", "2"))

    assert_caught(hunted, "wild")
    assert hunted.stdout == f"{2 if how == 'both' else 1} traps\ndone\n" * 2


def test_watchpoint_that_was_met_and_not_named_by_the_processor_does_not_end_the_program() -> None:
    watched = watched_run("unsaid")

    assert (watched.status, watched.stdout, watched.findings) == (0, "done\n", [])


def test_site_that_allocates_all_the_time_is_watched_in_part_which_is_told() -> None:
    watched = watched_run("hot")

    assert (watched.status, watched.stdout, watched.findings) == (0, "done\n", [])
    assert "because these allocate too often; 0 were, and" in watched.stderr


def test_blocks_beside_damage_are_told_with_their_numbers_at_their_sites() -> None:
    result = watched_run("wild")

    (finding,) = result.findings
    assert line_of_store(finding, SOURCE) == line_of(SOURCE, "wild")
    assert finding["victim"]["number"] == 58
    assert finding["previous"]["number"] == 55  # the one of its size before


def test_one_block_of_a_site_is_watched_by_its_number() -> None:
    program, site = build(SOURCE), site_of_victims()

    right = heapwitness_run(program, "wild", options=("--trap", f"watch-10:{site}#58"))
    wrong = heapwitness_run(program, "wild", options=("--trap", f"watch-10:{site}#90"))

    assert [line_of_store(one, SOURCE) for one in right.findings] == [line_of(SOURCE, "wild")]
    assert [one["store"] for one in wrong.findings] == [None]


def test_one_block_of_a_site_is_trapped_by_its_number() -> None:
    result = heapwitness_run(build(SOURCE), "slack", options=("--trap", f"tight:{site_of_victims()}#59"))

    assert [line_of_store(one, SOURCE) for one in result.findings] == [line_of(SOURCE, "slack")]
    assert result.findings[0]["culprit"]["number"] == 59
    assert result.report["summary"]["trapped"] == 1


def test_more_stores_than_there_are_watchpoints_are_caught_in_turn() -> None:
    program = build("many.c")
    places = heapwitness_run(program).stdout.split()[:6]

    hunted = heapwitness_hunt(program, *places)

    lines = {line_of_store(one, "many.c") for one in hunted.stores}
    assert lines == {line_of("many.c", f"store_{number}") for number in range(6)}
    assert len(hunted.stores) == len(hunted.report["findings"])


ALONE = """
#define _GNU_SOURCE
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>
__attribute__((noinline)) void *make(void) { return malloc(40); }
static void forbid(void) {
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_perf_event_open, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog filter = {4, code};
    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter);
}
static volatile sig_atomic_t seen;
static void note(int number) { seen++; }
static void take_all(void) {
    static volatile long mine[4];
    signal(SIGTRAP, note);
    for (int i = 0; i < 4; i++) {
        struct { uint32_t type, size; uint64_t config, period, a, b, flags; uint32_t c, what; uint64_t address, length;
                 uint64_t rest[6], data; } event = {
            5, 128, 0, 1, 0, 0, 1ULL << 5 | 1ULL << 6 | 1ULL << 36 | 1ULL << 37, 0, 2, (uintptr_t)&mine[i], 8, {0}, 7};
        if (syscall(SYS_perf_event_open, &event, 0, -1, -1, 8) < 0) { puts("none"); exit(0); }
    }
    mine[1] = 1;
    mine[3] = 1;
    printf("%d of its own\\n", (int)seen);
}
int main(int count, char **words) {
    if (strcmp(words[1], "forbid") == 0) forbid(); else take_all();
    volatile uint64_t *blocks[20];
    for (int i = 0; i < 20; i++) blocks[i] = make();
    *(volatile uint32_t *)((char *)blocks[9] - 12) = 7;
    for (int i = 0; i < 20; i++) free((void *)blocks[i]);
    puts("done");
}
"""


@pytest.mark.parametrize(
    ("how", "output", "why"),
    [
        ("forbid", ["done"], "because the kernel does not permit it"),
        ("take_all", ["2 of its own", "done"], "because others use the processor's watchpoints"),
    ],
)
def test_where_nothing_can_be_watched_that_is_said_and_the_program_runs_on(
    how: str, output: list[str], why: str
) -> None:
    hunted = heapwitness_hunt(compiled(ALONE), how, options=("--trap-kind", "watch", "--tries", "2"))

    assert hunted.stdout.splitlines() == output * 2
    assert [one["store"] for one in hunted.report["findings"]] == [None]
    assert f"no bytes beside blocks that were to be watched were, {why}" in hunted.stderr


OTHERWISE = """
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
__attribute__((noinline)) void *make(void) { return malloc(40); }
int main(int count, char **words) {
    FILE *file = fopen(words[1], "r+");
    int run = fgetc(file) - '0';
    fseek(file, 0, SEEK_SET);
    fputc('1' + run, file);
    fclose(file);
    volatile uint64_t *blocks[90];
    for (int i = 0; i < 90; i++) blocks[i] = make();
    *(volatile uint32_t *)((char *)blocks[20 + run * 11] - 12) = 7;
    for (int i = 0; i < 90; i++) free((void *)blocks[i]);
    puts("done");
}
"""


def test_program_that_does_not_repeat_itself_is_told_to_be_one(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("0")
    options = ("--trap-kind", "watch", "--tries", "4")

    hunted = heapwitness_hunt(compiled(OTHERWISE), tmp_path / "run", options=options)

    said = "the program does not repeat itself: of make at source.c:5 it was block 32 that was hit before, and block 43"
    assert hunted.status == FOUND
    assert said in hunted.stderr or hunted.stores


PYTHON = """
import ctypes
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
libc.free.argtypes = [ctypes.c_void_p]
def make(): return libc.malloc(40)
def wild(block): ctypes.memset(block - 12, ctypes.string_at(block - 12, 1)[0] ^ 7, 1)
blocks = [make() for _ in range(50)]
wild(blocks[20])
for block in blocks: libc.free(block)
"""
"""Its blocks lie elsewhere in each run, as hashes of texts are others."""


def test_block_of_a_program_that_lays_its_blocks_out_anew_each_time_is_watched_by_its_number(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(PYTHON)

    hunted = heapwitness_hunt(sys.executable, script, options=("--trap-kind", "watch", "--tries", "4"))

    (finding,) = hunted.stores
    python = [frame for frame in finding["store"]["stack"] if frame["language"] == "python"]
    assert [(frame["function"], frame["line"]) for frame in python] == [("wild", 7), ("<module>", 9)]
    assert finding["victim"]["number"] == 21


PASSING = """
#include <stdlib.h>
__attribute__((noinline)) static char *passing(void) { return malloc(48); }
__attribute__((noinline)) static char *lasting(void) { return malloc(40); }
__attribute__((noinline)) static void wild(volatile char *at) { *at ^= 7; }
int main(void) {
    enum { BLOCKS = 50 };
    char *block[BLOCKS];
    for (int i = 0; i < BLOCKS; i++) {
        char *other = passing();
        block[i] = lasting();
        free(other);
    }
    wild(block[0] - 12);
    for (int i = 0; i < BLOCKS; i++) free(block[i]);
}
"""
"""What is hit lies between a block that is released, again and again, and one that stays: both are watched."""


def test_bytes_between_two_blocks_are_watched_for_the_one_that_stays() -> None:
    hunted = heapwitness_hunt(compiled(PASSING), options=("--trap-kind", "watch", "--tries", "4"))

    (finding,) = hunted.stores
    assert finding["store"]["stack"][0]["function"] == "wild"
    assert (finding["victim"]["size"], finding["victim"]["number"]) == (40, 1)


CLOSES = """
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
__attribute__((noinline)) void *make(void) { return malloc(40); }
int main(int count, char **words) {
    volatile char *block = make();
    for (int i = 3; i < 5000; i++) close(i);
    for (int i = 0; i < atoi(words[1]); i++) free(make());
    block[-12] = 7;
    free((void *)block);
    puts("done");
}
"""


@pytest.mark.parametrize(("blocks", "caught"), [("1000", True), ("0", False)])
def test_watchpoint_whose_file_the_program_closed_is_set_again_which_is_said(blocks: str, caught: bool) -> None:
    hunted = heapwitness_hunt(compiled(CLOSES), blocks, options=("--trap-kind", "watch", "--tries", "2"))

    assert bool(hunted.stores) is caught
    assert "because the program closed files that are not its own" in hunted.stderr


def test_record_of_a_watched_store_gives_the_same_report(tmp_path: Path) -> None:
    traps = traps_asked_for((), report_of("wild"))
    watched = [one._replace(how="watch", offset=-16, number=58) for one in traps]
    log, report = tmp_path / "log", tmp_path / "report.json"

    subprocess.run(
        [build(SOURCE), "wild"],
        env=environment(
            LD_PRELOAD=str(library("preload")), HEAPWITNESS_LOG=str(log), HEAPWITNESS_TRAPS=encoded(watched)
        ),
        check=False,
        capture_output=True,
    )
    heapwitness_command("report", "--json", str(report), str(log))

    (finding,) = json.loads(report.read_text())["findings"]
    assert line_of_store(finding, SOURCE) == line_of(SOURCE, "wild")
    assert finding["victim"]["number"] == 58
