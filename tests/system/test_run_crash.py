"""A program that a signal ends: what is said of its heap, of the address, and of what it was read from."""

import shutil
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path

import pytest
from run_support import (
    FOUND,
    WORK,
    compiled,
    engine,
    environment,
    heapwitness_command,
    heapwitness_run,
    needs_engine,
)

pytestmark = needs_engine

CRASHES = r"""
#include <assert.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>
struct item { long value; struct item *next; char *name; long more[5]; void (*call)(void); };
__attribute__((noinline)) struct item *make(void) {
    struct item *p = malloc(sizeof *p);
    memset(p, 0, sizeof *p);
    return p;
}
__attribute__((noinline)) void drop(struct item *p) { free(p); }
__attribute__((noinline)) long value_of(struct item *p) { return p->value; }
__attribute__((noinline)) long next_value(struct item *p) { return p->next->value; }
__attribute__((noinline)) long name_length(struct item *p) { return strlen(p->name); }
__attribute__((noinline)) void call_it(struct item *p) { p->call(); }
__attribute__((noinline)) long deep(long x) { volatile char room[1000]; room[0] = x; return deep(x + 1) + room[0]; }
static void *recurses(void *p) { return (void *)deep(0); }
static void *in_thread(void *p) { return (void *)next_value(p); }
static void own(int number) { if (write(1, "own handler\n", 12)) _exit(7); }
static void ends(int number) { abort(); }
int main(int count, char **words) {
    struct item *volatile p = make(), *volatile q = make();
    const char *how = words[1];
    if (!strcmp(how, "next") || !strcmp(how, "own") || !strcmp(how, "alternate")) {
        if (!strcmp(how, "own"))
            signal(SIGSEGV, own);
        stack_t small = {.ss_sp = malloc(8192), .ss_size = 8192};
        if (!strcmp(how, "alternate"))
            sigaltstack(&small, NULL);
        drop(p);
        return next_value(p);
    }
    if (!strcmp(how, "name")) { drop(p); return name_length(p); }
    if (!strcmp(how, "call")) { drop(p); call_it(p); }
    if (!strcmp(how, "stale")) { drop(p); return ((long (*)(struct item *))value_of)((struct item *)p->value); }
    if (!strcmp(how, "uninitialised")) { drop(p); q = malloc(sizeof *q); return next_value(q); }
    if (!strcmp(how, "null")) return value_of(NULL);
    if (!strcmp(how, "callnull")) call_it(p);
    if (!strcmp(how, "abort")) abort();
    if (!strcmp(how, "assert")) assert(p == q);
    if (!strcmp(how, "deep")) return deep(0);
    if (!strcmp(how, "division")) return 1 / p->value + 7;
    if (!strcmp(how, "smash")) { char *volatile at = (char[8]){0}; memset(at, 'x', 100); return at[3]; }
    if (!strcmp(how, "over")) { memset(p, 'x', 120); return value_of(NULL); }
    if (!strcmp(how, "sent")) {
        int ready[2];
        char one = 0;
        pipe(ready);
        if (!fork()) { read(ready[0], &one, 1); kill(getppid(), SIGSEGV); _exit(0); }
        write(ready[1], &one, 1);
        for (;;) pause();
    }
    if (!strcmp(how, "deepthread")) {
        pthread_t thread;
        pthread_create(&thread, NULL, recurses, NULL);
        pthread_join(thread, NULL);
    }
    if (!strcmp(how, "thread")) {
        pthread_t thread;
        pthread_attr_t small;
        pthread_attr_init(&small);
        pthread_attr_setstacksize(&small, 16384);
        drop(p);
        pthread_create(&thread, &small, in_thread, p);
        pthread_join(thread, NULL);
    }
    if (!strcmp(how, "child")) {
        int status;
        if (!fork()) { drop(p); return next_value(p); }
        wait(&status);
        return WTERMSIG(status);
    }
    if (!strcmp(how, "busy")) {
        struct itimerval soon = {.it_value.tv_usec = 20000};
        signal(SIGALRM, ends);
        setitimer(ITIMER_REAL, &soon, NULL);
        for (size_t i = 1;; i++) { void *volatile x = malloc(i % 3000); free(x); }
    }
    return 0;
}
"""


@cache
def program() -> Path:
    return compiled(CRASHES, "-pthread", "-fstack-protector-all")


def test_null_pointer_is_said_with_its_stack_and_a_heap_that_is_whole() -> None:
    result = heapwitness_run(program(), "null")

    (crash,) = result.report["crashes"]
    assert (result.status, result.findings) == (139, [])
    assert (crash["signal"], crash["address"], crash["access"], crash["heap"]) == ("SIGSEGV", 0, "read", "whole")
    assert [frame["function"] for frame in crash["stack"][:2]] == ["value_of", "main"]
    assert "ended by SIGSEGV: reading address 0x0, a null pointer, in value_of" in " ".join(result.stderr.split())
    assert crash["nodes"] > 0 and crash["stale"] == []


@pytest.mark.parametrize("options", [(), ("--poison",), ("--stacks", "full")])
def test_pointer_that_was_read_from_a_released_block_names_that_block(options: tuple[str, ...]) -> None:
    result = heapwitness_run(program(), "next", options=options)

    (finding,) = result.findings
    assert result.status == FOUND
    assert (finding["kind"], finding["access"], finding["detected"]["when"]) == ("use-after-free-read", "read", "crash")
    assert finding["detected"]["stack"][0]["function"] == "next_value"
    assert finding["culprit"]["allocated"]["stack"][0]["function"] == "make"
    assert finding["culprit"]["freed"]["stack"][0]["function"] == "drop"
    assert finding["repaired"] is False
    assert "a pointer was read from a 72-byte block after it was released by drop" in " ".join(result.stderr.split())


@pytest.mark.parametrize(("how", "function"), [("name", "name_length"), ("call", "call_it")])
def test_poison_is_known_in_the_c_library_and_in_a_call(how: str, function: str) -> None:
    result = heapwitness_run(program(), how, options=("--poison",))

    (finding,) = result.findings
    assert finding["kind"] == "use-after-free-read"
    assert function in [frame["function"] for frame in finding["detected"]["stack"][:3]]
    assert finding["culprit"]["freed"]["stack"][0]["function"] == "drop"


def test_pointer_in_memory_that_was_not_initialised_is_said_to_be_one_or_the_other() -> None:
    result = heapwitness_run(program(), "uninitialised")

    (finding,) = result.findings
    assert finding["kind"] == "use-after-free-read"
    assert (finding["culprit"]["state"], finding["culprit"]["freed"]) == ("used", None)
    assert "released or uninitialised memory of a 72-byte block" in " ".join(result.stderr.split())


def test_register_that_leads_to_a_released_block_is_a_hint_and_no_finding() -> None:
    result = heapwitness_run(program(), "call")

    (crash,) = result.report["crashes"]
    assert (result.status, result.findings) == (139, [])
    assert [one["block"]["freed"]["stack"][0]["function"] for one in crash["stale"]] == ["drop"]
    assert (crash["access"], crash["stack"][1]["function"]) == ("execute", "call_it")


@pytest.mark.parametrize("how", ["thread", "alternate"])
def test_stack_of_a_handler_may_be_small(how: str) -> None:
    result = heapwitness_run(program(), how)

    assert (result.status, [one["kind"] for one in result.findings]) == (FOUND, ["use-after-free-read"])
    assert [one["heap"] for one in result.report["crashes"]] == ["whole"]


def test_child_of_a_fork_tells_its_own_crash() -> None:
    result = heapwitness_run(program(), "child", options=("--error-exitcode", "0"))

    (crash,) = result.report["crashes"]
    assert result.status == 11
    assert crash["pid"] != result.report["program"]["pid"]
    assert [one["kind"] for one in result.findings] == ["use-after-free-read"]


@pytest.mark.parametrize(
    ("how", "signal", "status", "function"),
    [
        ("abort", "SIGABRT", 134, "main"),
        ("assert", "SIGABRT", 134, "__assert_fail"),
        ("smash", "SIGABRT", 134, "__stack_chk_fail"),
        ("callnull", "SIGSEGV", 139, "call_it"),
        ("deep", "SIGSEGV", 139, "deep"),
        ("sent", "SIGSEGV", 139, "main"),
        ("busy", "SIGABRT", 134, "ends"),
    ],
)
def test_crash_without_damage_says_so_and_is_no_finding(how: str, signal: str, status: int, function: str) -> None:
    result = heapwitness_run(program(), how)

    (crash,) = result.report["crashes"]
    assert (result.status, result.findings) == (status, [])
    assert crash["signal"] == signal
    assert crash["heap"] in (("whole", "partly checked") if how == "busy" else ("whole",))
    assert function in [frame["function"] for frame in crash["stack"]]


def test_stack_that_has_run_out_is_called_so() -> None:
    result = heapwitness_run(program(), "deep")

    assert "the stack has run out" in " ".join(result.stderr.split())


OVER_THE_STACK = """
#include <string.h>
static void fill(unsigned long bytes) { char array[64]; memset(array, 'A', bytes); }
int main(void) { fill(1ul << 30); return 0; }
"""


def test_array_on_the_stack_that_is_written_past_the_end_of_the_stack_is_called_so() -> None:
    result = heapwitness_run(compiled(OVER_THE_STACK, "-O0"))

    (crash,) = result.report["crashes"]
    assert (crash["signal"], crash["heap"]) == ("SIGSEGV", "whole")
    assert any("an array on the stack was written past its end" in note for note in crash["notes"])
    assert not any("has run out" in note for note in crash["notes"])


SMASHED = """
#include <stdlib.h>
__attribute__((noinline)) static void fill(long word, int words) {
    static int i; /* not beside the array */
    volatile long array[2];
    for (i = 0; i < words; i++) array[i] = word;
}
int main(int count, char **argument) {
    free(malloc(100));
    fill(strtol(argument[1], NULL, 0), 6);
    return count;
}
"""


@pytest.mark.parametrize(
    ("address", "text"), [("0x4141414141414141", ' ("AAAAAAAA")'), ("0x500000000", ""), ("0x7fff00000000", "")]
)
def test_return_to_what_is_no_code_is_called_an_overwritten_stack(address: str, text: str) -> None:
    result = heapwitness_run(compiled(SMASHED, "-O0", "-fno-stack-protector"), address)

    (crash,) = result.report["crashes"]
    assert (crash["signal"], crash["heap"], crash["stale"]) == ("SIGSEGV", "whole", [])
    (note,) = crash["notes"]
    assert f"A function returned to {address}{text}, which is no code: its frame on the stack was overwritten" in note


def test_what_the_compiler_s_check_of_the_stack_finds_names_the_function_and_no_object() -> None:
    result = heapwitness_run(compiled(SMASHED, "-O0", "-fstack-protector-all"), "0x4141414141414141")

    (crash,) = result.report["crashes"]
    assert (crash["signal"], crash["heap"], crash["stale"]) == ("SIGABRT", "whole", [])
    (note,) = crash["notes"]
    assert "check at the end of fill found its frame on the stack overwritten" in note


CALLED = """
#include <stdlib.h>
int main(int count, char **argument) {
    free(malloc(100));
    void (*volatile function)(void) = (void (*)(void))strtol(argument[count - 1], NULL, 0);
    function();
    return 0;
}
"""


def test_call_of_what_is_no_code_is_no_overwritten_stack() -> None:
    for address in ("0x500000000", "0x4141414141414141"):
        result = heapwitness_run(compiled(CALLED, "-O0"), address)

        (crash,) = result.report["crashes"]
        assert crash["signal"] == "SIGSEGV"
        assert not crash["notes"]


def test_thread_whose_stack_has_run_out_is_said_to_have_ended_unchecked() -> None:
    result = heapwitness_run(program(), "deepthread")

    assert (result.status, result.findings, result.report["crashes"]) == (139, [], [])
    assert "ended unchecked: SIGSEGV ended it, which it handles itself, or a thread" in result.report["warnings"][0]


def test_sender_of_a_signal_is_named() -> None:
    result = heapwitness_run(program(), "sent")

    assert result.report["crashes"][0]["sender"] > 0
    assert "ended by SIGSEGV, sent by process" in result.stderr


def test_damage_is_told_beside_the_crash_that_it_led_to() -> None:
    result = heapwitness_run(program(), "over")

    (finding,) = result.findings
    assert (finding["kind"], finding["detected"]["when"]) == ("heap-buffer-overflow", "crash")
    assert finding["detected"]["stack"][0]["function"] == "value_of"
    assert [one["heap"] for one in result.report["crashes"]] == ["damaged"]


def test_handler_of_the_program_s_own_sees_no_difference() -> None:
    plain = subprocess.run([program(), "own"], capture_output=True, text=True)

    result = heapwitness_run(program(), "own")

    assert (result.status, result.stdout) == (plain.returncode, plain.stdout) == (7, "own handler\n")
    assert (result.findings, result.report["crashes"]) == ([], [])


def test_quiet_run_says_nothing_of_a_crash_without_a_finding() -> None:
    result = heapwitness_run(program(), "null", options=("--quiet",))

    assert (result.status, result.stderr) == (139, "")
    assert len(result.report["crashes"]) == 1


def test_record_has_the_crash_too(tmp_path: Path) -> None:
    log = tmp_path / "log"
    subprocess.run([program(), "null"], env=environment(LD_PRELOAD=str(engine()), HEAPWITNESS_LOG=str(log)))

    shown = heapwitness_command("report", log)

    assert "ended by SIGSEGV: reading address 0x0, a null pointer, in value_of" in " ".join(shown.stdout.split())
    assert shown.returncode == 0


# --- the loader's own blocks ---------------------------------------------------------------------

PLUGIN = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#ifdef PLUGIN
int call(int (*back)(int)) { return back(1) + 1; }
#else
static char *volatile first;
static char *how;
static void own(int number) { if (write(1, "own handler\n", 12)) _exit(7); }
__attribute__((noinline)) char *make(void) { return malloc(64); }
static int back(int number) {
    memset(first, 'A', 12288); /* the loader's tables of what is mapped where among it */
    if (strstr(how, "free")) {
        free(first);
        for (int i = 1; i < 100; i++) { char *volatile x = malloc(i * 8); free(x); }
        _exit(write(1, "went on\n", 8) == 8 ? 5 : 6);
    }
    *(volatile int *)NULL = 1;
    return number;
}
int main(int count, char **words) {
    first = make();
    how = words[2];
    int (*call)(int (*)(int)) = (int (*)(int (*)(int)))dlsym(dlopen(words[1], RTLD_NOW), "call");
    if (strstr(how, "own"))
        signal(SIGSEGV, own);
    return call(back);
}
#endif
"""


@cache
def plugin() -> tuple[Path, Path]:
    """A program, and a library that it loads: what the loader keeps of it lies in the heap."""
    return compiled(PLUGIN, "-ldl"), compiled(PLUGIN, "-DPLUGIN", "-shared", "-fPIC")


@pytest.mark.parametrize(
    ("how", "own_status", "stacks"),
    [
        *(("crash", 139, stacks) for stacks in ("caller", "fast", "full")),
        *(("free", 5, stacks) for stacks in ("caller", "fast", "full")),
        *(("own-free", 5, stacks) for stacks in ("caller", "fast")),
        ("own", 7, "full"),
    ],
)
def test_overflow_into_what_the_loader_keeps_costs_frames_and_not_the_finding(
    how: str, own_status: int, stacks: str
) -> None:
    options = ("--stacks", stacks, "--error-exitcode", "0")

    result = heapwitness_run(*plugin(), how, options=options)

    (finding,) = result.findings
    assert result.status == own_status
    assert finding["kind"] == "heap-buffer-overflow"
    assert finding["culprit"]["allocated"]["stack"][0]["function"] == "make"
    assert how == "own" or "back" in [frame["function"] for frame in finding["detected"]["stack"]]
    assert ("own handler" in result.stdout) == (how == "own")
    assert ("went on" in result.stdout) == how.endswith("free")


# --- Python and C++ ------------------------------------------------------------------------------

FAULT = """
import ctypes
def inner():
    ctypes.string_at(0)
def outer():
    inner()
outer()
"""


@pytest.mark.parametrize("options", [(), ("-X", "faulthandler")])
def test_python_s_own_handler_shows_its_stack_and_the_fault_is_told_all_the_same(options: tuple[str, ...]) -> None:
    result = heapwitness_run(sys.executable, *options, "-c", FAULT)

    (crash,) = result.report["crashes"]
    assert (result.status, result.findings) == (139, [])
    assert ("Fatal Python error: Segmentation fault" in result.stderr) == bool(options)
    assert (crash["address"], crash["access"], crash["heap"]) == (0, "read", "whole")
    assert [one["function"] for one in crash["stack"] if one["language"] == "python"][-3:] == [
        *("inner", "outer", "<module>"),
    ]


@pytest.mark.skipif(shutil.which("g++") is None, reason="needs g++")
def test_exception_that_nobody_catches_is_a_crash_of_a_whole_heap() -> None:
    directory = Path(tempfile.mkdtemp(dir=WORK))
    (directory / "throws.cpp").write_text("int main() { throw 1; }")
    subprocess.run(["g++", "-g", "-o", directory / "throws", directory / "throws.cpp"], check=True)

    result = heapwitness_run(directory / "throws")

    (crash,) = result.report["crashes"]
    assert (result.status, result.findings) == (134, [])
    assert (crash["signal"], crash["heap"]) == ("SIGABRT", "whole")


def test_program_that_two_threads_crash_is_looked_at_to_the_end() -> None:
    source = r"""
    #include <pthread.h>
    #include <stdlib.h>
    #include <string.h>
    static pthread_barrier_t together;
    static char *volatile block;
    static void *crash(void *unused) { pthread_barrier_wait(&together); return (void *)(long)*(volatile int *)NULL; }
    int main(void) {
        pthread_t thread;
        block = malloc(24);
        memset(block, 'x', 30);
        pthread_barrier_init(&together, NULL, 2);
        pthread_create(&thread, NULL, crash, NULL);
        crash(NULL);
    }
    """

    result = heapwitness_run(compiled(source, "-pthread"), options=("--error-exitcode", "0"))

    assert (result.status, [one["kind"] for one in result.findings]) == (139, ["heap-buffer-overflow"])
    assert [one["heap"] for one in result.report["crashes"]] == ["damaged"]


AFTER_DAMAGE = """
#include <stdlib.h>
int main(void)
{
    volatile char *block = malloc(20);
    block[20] = 1;
    free((void *)block);
    *(volatile int *)0 = 1;
}
"""


def test_crash_after_damage_was_found_says_that_it_may_come_of_that() -> None:
    result = heapwitness_run(compiled(AFTER_DAMAGE))

    assert len(result.findings) == 1
    (crash,) = result.report["crashes"]
    assert crash["heap"] == "whole"
    assert crash["notes"][0].startswith("1 finding had come from this process before.")
