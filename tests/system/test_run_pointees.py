"""What is said of a released pointer that is no block: whose memory it leads to."""

import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from run_support import HEAPWITNESS, WORK, environment, heapwitness_run, needs_engine

from heapwitness.native import library

pytestmark = [needs_engine, pytest.mark.skipif(shutil.which("g++") is None, reason="needs g++")]

SOURCE = """
#include <cstdlib>
#include <cstdio>
#include <string_view>
#include <pthread.h>
#include <sys/mman.h>
#include <unistd.h>
static char counters[100];
char zeros[4096];
extern const char greeting[] = "a greeting that is long enough";
struct Row { ~Row() { first = 3; } int first, second, third; };
struct Shape { int kind; ~Shape() {} };
struct Named { long name; ~Named() {} };
struct Circle : Shape, Named { int points[10]; };
static pthread_barrier_t met;
static void *volatile wrong;
static void *wait_with_it(void *)
{
    char mine[64];
    pthread_setname_np(pthread_self(), "keeper");
    wrong = mine;
    pthread_barrier_wait(&met);
    pthread_barrier_wait(&met);
    return mine[0] ? nullptr : nullptr;
}
static void *release_own(void *)
{
    char mine[64];
    pthread_setname_np(pthread_self(), "spender");
    wrong = mine;
    free(wrong);
    return nullptr;
}
int main(int, char **words)
{
    std::string_view what = words[1];
    volatile char local[32] = "";
    pthread_t thread;
    if (what == "stack") wrong = (void *)local;
    if (what == "static") wrong = counters + 8;
    if (what == "global") wrong = zeros;
    if (what == "constant") wrong = (void *)greeting;
    if (what == "literal") wrong = (void *)"hello";
    if (what == "code") wrong = (void *)main;
    if (what == "libc") wrong = stdout;
    if (what == "mapped") wrong = mmap(0, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (what == "brk") wrong = sbrk(65536);
    if (what == "nowhere") wrong = (void *)16;
    if (wrong) free(wrong);
    if (what == "keeper") {
        pthread_barrier_init(&met, nullptr, 2);
        pthread_create(&thread, nullptr, wait_with_it, nullptr);
        pthread_barrier_wait(&met);
        free(wrong);
        pthread_barrier_wait(&met);
        pthread_join(thread, nullptr);
    }
    if (what == "spender") {
        pthread_create(&thread, nullptr, release_own, nullptr);
        pthread_join(thread, nullptr);
    }
    if (what == "array") { Row *volatile rows = new Row[10]; delete rows; }
    if (what == "element") { Row *volatile rows = new Row[10]; free(rows + 3); }
    if (what == "base") { Named *volatile named = new Circle; delete named; }
    if (what == "plain") { int *volatile numbers = new int[10]; free(numbers); }
    puts("done");
}
"""


@cache
def program(*options: str) -> Path:
    directory = Path(tempfile.mkdtemp(dir=WORK))
    source, made = directory / "source.cc", directory / "prog"
    source.write_text(SOURCE)
    subprocess.run(["g++", "-g", "-O1", "-w", "-pthread", *options, "-o", made, source], check=True)
    return made


def told(what: str, *options: str) -> tuple[dict[str, Any], str]:
    """The only finding of a run, and what its text says, on one line."""
    result = heapwitness_run(program(*options), what)
    assert result.stdout == "done\n"
    (finding,) = result.findings
    return finding, " ".join(result.stderr.split())


@pytest.mark.parametrize(
    ("what", "words"),
    [
        ("static", "memory 8 bytes into counters (data of prog) was released with free by main at source.cc:"),
        ("global", "memory in zeros (data of prog) was released with free"),
        ("constant", "memory in greeting (read-only data of prog) was released"),
        ("literal", "memory in read-only data of prog was released"),
        ("code", "memory in the code of prog (main) was released"),
        ("libc", "memory in _IO_2_1_stdout_ (data of libc.so.6) was released"),
        (
            "mapped",
            "memory that was mapped beside this heap (another allocator's, a thread's stack, or the program's own)",
        ),
        ("brk", "memory that brk gave beside this heap"),
        ("nowhere", "0x10 was released with free by main at source.cc"),
    ],
)
def test_memory_that_is_no_heaps_is_named(what: str, words: str) -> None:
    finding, text = told(what)

    assert finding["kind"] == "invalid-free"
    assert words in text


@pytest.mark.parametrize(("what", "name"), [("stack", "prog"), ("keeper", "keeper"), ("spender", "spender")])
def test_a_threads_stack_is_named_by_the_thread(what: str, name: str) -> None:
    finding, text = told(what)

    assert finding["place"]["kind"] == "stack"
    assert finding["place"]["thread_name"] == name
    assert f'memory on the stack of thread {finding["place"]["thread"]} "{name}" was released' in text
    assert (finding["place"]["thread"] == finding["detected"]["thread"]) == (what != "keeper")


def test_a_stripped_program_still_has_the_variables_that_it_exports() -> None:
    assert "memory in zeros (data of prog)" in told("global", "-s", "-rdynamic")[1]
    assert "memory in data of prog was released" in told("static", "-s", "-rdynamic")[1]


@pytest.mark.parametrize(
    ("what", "words"),
    [
        ("array", "a pointer 8 bytes into a 128-byte block of new[] was released with delete"),
        ("array", "Its array starts with a count, of 10 elements of 12 bytes; delete[] is needed."),
        ("element", "it is element 3 of 10, of 12 bytes each"),
        ("base", "has no virtual destructor"),
        ("plain", "a 40-byte block allocated with new[] by main at source.cc"),
        ("plain", "was released with free by main at source.cc"),
        ("plain", "delete[] is needed"),
    ],
)
def test_a_wrong_release_of_an_object_says_what_is_needed(what: str, words: str) -> None:
    assert words in told(what)[1]


def test_a_record_tells_of_modules_as_well(tmp_path: Path) -> None:
    record = tmp_path / "record"
    alone = {"LD_PRELOAD": str(library("preload")), "HEAPWITNESS_LOG": str(record)}
    subprocess.run([program(), "static"], env=alone, check=False, capture_output=True, timeout=60)

    shown = subprocess.run(
        [*HEAPWITNESS, "report", record], env=environment(), capture_output=True, text=True, check=False, timeout=60
    )

    assert "memory 8 bytes into counters (data of prog) was released" in " ".join(shown.stdout.split())
