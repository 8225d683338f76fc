"""What a user of `heapwitness hunt` may ask for, and what it says."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from hunt_support import heapwitness_hunt
from run_support import ERROR, FOUND, HEAPWITNESS, OVERFLOW, compiled, environment, heapwitness_run, needs_engine

pytestmark = needs_engine

SERVICE = """
#include <stdio.h>
#include <stdlib.h>
__attribute__((noinline)) volatile char *make(void) { return malloc(24); }
__attribute__((noinline)) void request(int number) {
    volatile char *block = make();
    block[number % 50 == 49 ? 24 : 0] = 'x';
    free((void *)block);
}
int main(void) {
    for (int i = 0; i < 300; i++) request(i);
    puts("done");
}
"""


def function(finding: dict[str, object]) -> str:
    name: str = finding["store"]["stack"][0]["function"]  # type: ignore[index]
    return name


def test_store_of_a_bug_that_comes_again_is_caught_in_the_first_run() -> None:
    hunted = heapwitness_hunt(compiled(SERVICE))

    assert (hunted.status, hunted.tries) == (FOUND, 1)
    (finding,) = hunted.report["findings"]
    assert (function(finding), finding["count"]) == ("request", 5)


def test_run_traps_what_it_found_when_it_is_asked_to() -> None:
    result = heapwitness_run(compiled(SERVICE), options=("--trap-found",))

    assert [one["store"] is not None for one in result.findings] == [False, True]
    assert function(result.findings[1]) == "request"


def test_hunt_without_that_takes_another_run() -> None:
    hunted = heapwitness_hunt(compiled(SERVICE), options=("--no-trap-found",))

    assert (hunted.status, hunted.tries) == (FOUND, 2)
    assert [function(one) for one in hunted.report["findings"]] == ["request"]


def test_report_of_a_run_elsewhere_takes_the_place_of_the_first_run(tmp_path: Path) -> None:
    program, report = compiled(OVERFLOW), tmp_path / "report.json"
    report.write_text(json.dumps(heapwitness_run(program).report))

    hunted = heapwitness_hunt(program, options=("--from", report))

    assert (hunted.status, hunted.tries) == (FOUND, 1)
    assert [function(one) for one in hunted.stores] == ["spoil"]


def test_program_that_was_built_anew_since_the_report_is_hunted_by_what_it_shows_itself(tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    report.write_text(json.dumps(heapwitness_run(compiled(OVERFLOW)).report))
    rebuilt = compiled(OVERFLOW.replace("int main", "int more(int i) { return 7 * i; }\nint main"))

    hunted = heapwitness_hunt(rebuilt, options=("--from", report))

    assert (hunted.status, hunted.tries) == (FOUND, 2)
    assert [function(one) for one in hunted.stores] == ["spoil"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "cannot be read: No such file or directory."),
        ("{", "this is no heapwitness-report/1 document"),
        ('{"schema": "heapwitness-report/1"}', "has no finding whose store could be hunted"),
    ],
)
def test_report_that_is_of_no_use_is_an_error_before_anything_is_run(
    tmp_path: Path, content: str | None, message: str
) -> None:
    report = tmp_path / "report.json"
    if content is not None:
        report.write_text(content)

    hunted = heapwitness_hunt(compiled(OVERFLOW), options=("--from", report))

    assert (hunted.status, hunted.stdout) == (ERROR, "")
    assert message in hunted.stderr and len(hunted.stderr.splitlines()) == 1


def test_command_is_run_before_each_repetition(tmp_path: Path) -> None:
    options = ("--no-trap-found", "--before", f"echo reset >> {tmp_path}/log")

    hunted = heapwitness_hunt(compiled(OVERFLOW), options=options)

    assert (hunted.tries, (tmp_path / "log").read_text()) == (2, "reset\n")
    assert f"again after `{options[2]}` with traps on 1 allocation site: make at source.c:" in hunted.stderr


def test_command_that_fails_ends_the_hunt() -> None:
    hunted = heapwitness_hunt(compiled(OVERFLOW), options=("--before", "exit 3"))

    assert hunted.status == ERROR
    assert "the command before a repetition ended with status 3: exit 3." in hunted.stderr


def test_what_ends_the_hunt_hides_nothing_of_the_runs_before() -> None:
    hunted = heapwitness_hunt(compiled(OVERFLOW), options=("--no-trap-found", "--before", "exit 3"))

    assert hunted.status == ERROR
    assert "past the end of a 24-byte block" in " ".join(hunted.stderr.split())
    assert [one["kind"] for one in hunted.report["findings"]] == ["heap-buffer-overflow"]
    assert hunted.stderr.splitlines()[-1].startswith("heapwitness: the command before a repetition ended with status 3")


def test_keys_that_end_the_hunt_hide_nothing_of_the_runs_before() -> None:
    hunted = heapwitness_hunt(
        compiled(OVERFLOW), options=("--no-trap-found", "--before", "kill -INT $PPID; sleep 5; true")
    )

    assert hunted.status == 130
    assert "past the end of a 24-byte block" in " ".join(hunted.stderr.split())
    assert len(hunted.report["findings"]) == 1


COUNTS_AND_IS_KILLED = """
import os, signal, socket, struct
event = struct.Struct("<IHHIIIIIIQQQQII16sIIQ")
stats = struct.pack("<IIQQ7Q", 4, 0, 0, 56, 5, 5, 5, 5, 0, 0, 0)
place = next(value for value in os.environ.values() if value.endswith("/socket"))
with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as connection:
    connection.connect(place)
    words = 0x56455748, 2, 3, event.size + len(stats), os.getpid(), os.getpid(), os.getppid(), 4, *[0] * 7, b"", 0, 0, 0
    connection.send(event.pack(*words) + stats)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_findings_that_were_counted_and_never_came_are_findings_of_the_hunt() -> None:
    hunted = heapwitness_hunt("sh", "-c", '"$0" -c "$1"; true', sys.executable, COUNTS_AND_IS_KILLED)

    assert "5 findings are missing that process" in hunted.stderr
    assert hunted.status == FOUND and hunted.report["summary"]["findings"] == 5


def test_input_from_a_file_is_read_from_its_start_each_time(tmp_path: Path) -> None:
    program = compiled(
        OVERFLOW.replace("spoil(block);", "int c; while ((c = getchar()) != EOF) putchar(c);\nspoil(block);")
    )
    text = tmp_path / "input"
    text.write_text("some input\n")

    with text.open() as stream:
        done = subprocess.run(
            [*HEAPWITNESS, "hunt", "--", program],
            stdin=stream,
            capture_output=True,
            text=True,
            timeout=60,
            env=environment(),
        )

    assert done.stdout == "some input\ndone\n" * 2
    assert "standard input" not in done.stderr


def test_input_that_cannot_be_read_twice_is_told() -> None:
    hunted = heapwitness_hunt(compiled(OVERFLOW), stdin="some input\n")

    assert "its standard input is no file, so it gets what is left there" in hunted.stderr


def test_store_that_is_not_caught_is_told_with_the_finding_as_it_was() -> None:
    hunted = heapwitness_hunt(compiled(OVERFLOW), options=("--tries", "1"))

    assert (hunted.status, hunted.tries) == (FOUND, 1)
    assert [one["store"] for one in hunted.report["findings"]] == [None]
    assert "the store of 1 finding was not caught" in hunted.stderr


def test_quiet_hunt_says_only_what_it_found() -> None:
    hunted = heapwitness_hunt(compiled(OVERFLOW), options=("--quiet",))

    assert hunted.stderr.startswith("heap-buffer-overflow: spoil wrote right past the end of a 24-byte block")


NOW_AND_THEN = """
#include <stdlib.h>
#include <unistd.h>
__attribute__((noinline)) volatile char *make(void) { return malloc(24); }
int main(int count, char **words) {
    int again = access(words[1], F_OK) == 0;
    volatile char *block = make();
    block[again && count == 2 ? 24 : 0] = 1;
    free((void *)block);
    if (again && count > 2) *(volatile char *)8 = 1;
}
"""


@pytest.mark.parametrize("more", [(), ("crash",)])
def test_what_does_not_come_again_is_hunted_in_all_tries_and_told(tmp_path: Path, more: tuple[str, ...]) -> None:
    cause = tmp_path / "cause"
    cause.touch()
    options = ("--tries", "3", "--before", f"rm -f {cause}")

    hunted = heapwitness_hunt(compiled(NOW_AND_THEN), cause, *more, options=options)

    assert hunted.tries == 3
    assert "in 2 runs nothing went wrong: it may happen now and then only" in hunted.stderr


HOT = """
#include <stdlib.h>
__attribute__((noinline)) volatile char *make(void) { return malloc(24); }
int main(int count, char **words) {
    volatile char *wrong = make();
    if (count > 1) wrong[24] = 1;
    free((void *)wrong);
    volatile char *all[9000];
    for (int i = 0; i < 9000; i++) all[i] = make();
    for (int i = 0; i < 9000; i++) free((void *)all[i]);
    for (int i = 0; i < 300000; i++) { volatile char *block = make(); block[23] = 1; free((void *)block); }
}
"""


def test_site_that_allocates_all_the_time_is_trapped_in_part_which_is_told(tmp_path: Path) -> None:
    program, report = compiled(HOT), tmp_path / "report.json"
    report.write_text(json.dumps(heapwitness_run(program, "wrong").report))

    result = heapwitness_run(program, options=("--traps", str(report)))

    assert (result.status, result.findings) == (0, [])
    assert 50_000 <= result.report["summary"]["trapped"] < 60_000
    assert "not all blocks of trapped sites were trapped, because these allocate too often" in result.stderr
    assert "were not trapped, because too many were in use at once" in result.stderr


CROWD = """
#include <stdlib.h>
__attribute__((noinline)) volatile char *few(void) { return malloc(24); }
__attribute__((noinline)) volatile char *many(void) { return malloc(24); }
int main(int count, char **words) {
    static volatile char *all[9000];
    all[0] = many();
    if (count > 1) all[0][24] = 1;
    for (int i = 1; i < 9000; i++) all[i] = many();
    for (int i = 0; i < 9; i++) {
        volatile char *block = few();
        block[24] = 1;
        free((void *)block);
    }
    for (int i = 0; i < 9000; i++) free((void *)all[i]);
}
"""


def test_site_that_allocates_a_lot_leaves_the_others_their_share_of_traps(tmp_path: Path) -> None:
    program, report = compiled(CROWD), tmp_path / "report.json"
    report.write_text(json.dumps(heapwitness_run(program, "wrong").report))

    result = heapwitness_run(program, options=("--traps", str(report)))

    assert [(function(one), one["count"]) for one in result.findings] == [("main", 9)]


QUIET = """
#include <stdio.h>
#include <stdlib.h>
__attribute__((noinline)) int *make(size_t n) { return calloc(n, sizeof(int)); }
__attribute__((noinline)) void poke(volatile int *block, int at) { block[at] = 7; }
__attribute__((noinline)) int peek(volatile int *block, int at) { return block[at]; }
int main(int count, char **words) {
    int *one = make(10), *other = make(400);
    poke(one, 100);
    int sum = peek(one, 12);
    free(one);
    sum += peek(one, 3);
    free(other);
    puts("done");
    if (count > 1) poke(NULL, 1);
    return 0;
}
"""
"""A store into another block, and two reads: nothing that a check of the heap can see."""


def test_every_block_is_trapped_when_a_share_of_all_is_asked_for() -> None:
    program = compiled(QUIET)

    without = heapwitness_run(program)
    result = heapwitness_run(program, options=("--trap-sample", "1/1"))

    assert without.findings == []
    assert [(one["kind"], one["access"]) for one in result.findings] == [
        ("heap-buffer-overflow", "write"),
        ("heap-buffer-overflow", "read"),
        ("use-after-free-read", "read"),
    ]
    assert "done" in result.stdout


def test_crash_that_no_finding_explains_is_hunted_with_all_blocks_trapped() -> None:
    hunted = heapwitness_hunt(compiled(QUIET), "crash", options=("--tries", "2"))

    assert "again with traps on all blocks" in hunted.stderr
    assert [function(one) for one in hunted.stores] == ["poke", "peek", "peek"]


SAMPLED = """
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
int main(void) {
    static char *block[1000];
    for (int i = 0; i < 200000; i++) {
        char **slot = &block[i * 7919L % 1000];
        free(*slot);
        *slot = malloc(1 + i % 600);
        memset(*slot, 1, 1 + i % 600);
    }
    puts("done");
}
"""


def test_some_blocks_of_a_healthy_program_are_trapped_by_chance_and_nothing_is_found() -> None:
    result = heapwitness_run(compiled(SAMPLED), options=("--trap-sample", "1/10"))

    assert (result.status, result.findings) == (0, [])
    assert 0 < result.report["summary"]["trapped"] < 20_000


def test_fewer_blocks_of_a_site_are_trapped_the_more_had_their_turn() -> None:
    result = heapwitness_run(compiled(SAMPLED), options=("--trap-sample", "1/100"))

    assert 0 < result.report["summary"]["trapped"] < 1_000, "of 200,000 blocks 2,000 have their turn"


@pytest.mark.parametrize("share", ["0", "2/3", "1/0", "1/x", "1", "1/99999999999"])
def test_share_that_makes_no_sense_is_refused(share: str) -> None:
    hunted = heapwitness_hunt("true", options=("--trap-sample", share))

    assert hunted.status == ERROR
    assert "is no share; 1/1000 is one block in a thousand" in hunted.stderr


LIBRARY = """
#include <stdlib.h>
__attribute__((noinline)) void *library_make(void) { return malloc(24); }
__attribute__((noinline)) void library_spoil(volatile char *block) { block[24] = 1; }
"""
USER = """
#include <stdlib.h>
void *library_make(void);
void library_spoil(volatile char *);
int main(void) { void *block = library_make(); library_spoil(block); free(block); }
"""


def test_store_in_a_library_without_debug_information_is_told_by_its_function(tmp_path: Path) -> None:
    library = tmp_path / "libspoil.so"
    source = tmp_path / "library.c"
    source.write_text(LIBRARY)
    subprocess.run(["gcc", "-O1", "-w", "-shared", "-fPIC", "-s", "-o", library, source], check=True)

    hunted = heapwitness_hunt(
        compiled(USER, "-Wl,--no-as-needed", str(library), f"-Wl,-rpath,{tmp_path}"), options=("--tries", "2")
    )

    (finding,) = hunted.stores
    frame = finding["store"]["stack"][0]
    assert (frame["function"], Path(frame["module"]).name, frame["file"]) == ("library_spoil", "libspoil.so", None)


CXX = """
#include <cstdio>
#include <string>
#include <vector>
__attribute__((noinline)) void wrong(std::vector<int> &numbers, std::size_t at) {
    numbers.data()[at] = 5; // store
}
int main() {
    std::vector<int> numbers(10);
    std::string text(40, 'x');
    wrong(numbers, numbers.capacity());
    std::puts("done");
}
"""


@pytest.mark.skipif(shutil.which("g++") is None, reason="needs g++")
def test_store_past_a_container_is_told_at_its_line(tmp_path: Path) -> None:
    source, program = tmp_path / "source.cpp", tmp_path / "program"
    source.write_text(CXX)
    subprocess.run(["g++", "-g", "-O1", "-w", "-o", program, source], check=True)

    hunted = heapwitness_hunt(program, options=("--tries", "2"))

    (finding,) = hunted.stores
    frame = finding["store"]["stack"][0]
    assert (frame["line"], finding["culprit"]["origin"], finding["culprit"]["size"]) == (6, "new", 40)


CHILD = """
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>
__attribute__((noinline)) volatile char *make(void) { return malloc(24); }
__attribute__((noinline)) void spoil(volatile char *block) { block[24] = 1; }
int main(int count, char **words) {
    if (count > 1) { volatile char *block = make(); spoil(block); free((void *)block); return 0; }
    if (fork() == 0) execl(words[0], words[0], "child", (char *)0);
    wait(0);
}
"""


def test_store_in_a_program_that_the_program_starts_is_told() -> None:
    hunted = heapwitness_hunt(compiled(CHILD), options=("--tries", "2"))

    assert [function(one) for one in hunted.stores] == ["spoil"]


def test_record_of_a_trapped_store_gives_the_same_report(tmp_path: Path) -> None:
    from heapwitness.findings.sites import TrappedSite, encoded, name_of
    from heapwitness.native import library
    from heapwitness.report.json import decode

    program, report, log = compiled(OVERFLOW), tmp_path / "report.json", tmp_path / "log"
    heapwitness_run(program, options=("--json", str(report)))
    result = heapwitness_run(program)
    (finding,) = decode(json.dumps(result.report).encode()).findings
    assert finding.culprit is not None
    name = name_of(finding.culprit.allocated)
    assert name is not None

    subprocess.run(
        [program],
        env=environment(
            LD_PRELOAD=str(library("preload")), HEAPWITNESS_LOG=str(log), HEAPWITNESS_TRAPS=encoded([TrappedSite(name)])
        ),
        check=False,
    )
    subprocess.run([*HEAPWITNESS, "report", "--json", report, log], env=environment(), check=False, capture_output=True)

    (told,) = json.loads(report.read_text())["findings"]
    assert (told["kind"], told["access"], function(told)) == ("heap-buffer-overflow", "write", "spoil")
    assert told["culprit"]["size"] == 24 and told["store"]["instruction"]
