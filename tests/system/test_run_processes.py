"""All the processes that a program makes."""

import os
import signal
import subprocess
import time

import pytest
from run_support import FOUND, OVERFLOW, compiled, heapwitness_run, needs_engine

pytestmark = needs_engine

FORKING = """
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
__attribute__((noinline)) char *make(void) { return malloc(24); }
__attribute__((noinline)) char *make_other(void) { return malloc(24); }
__attribute__((noinline)) void spoil(char *block) { memset(block, 'x', 27); }
int main(int count, char **words) {
    int children = atoi(words[1]);
    for (int i = 0; i < children; i++)
        if (fork() == 0) {
            char *block = i % 2 ? make() : make_other();
            spoil(block);
            free(block);
            exit(0);
        }
    while (wait(NULL) > 0) ;
    puts("done");
}
"""

THREADS = """
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
__attribute__((noinline)) void spoil(char *block) { memset(block, 'x', 27); }
static void *work(void *unused) {
    for (int i = 0; i < 50; i++) {
        char *block = malloc(24);
        spoil(block);
        free(block);
    }
    return NULL;
}
int main(void) {
    pthread_t threads[8];
    for (int i = 0; i < 8; i++) pthread_create(&threads[i], NULL, work, NULL);
    for (int i = 0; i < 8; i++) pthread_join(threads[i], NULL);
    puts("done");
}
"""


def test_every_process_of_a_pipeline_is_watched() -> None:
    result = heapwitness_run("sh", "-c", "ls / | sort | wc -l; true")

    assert result.status == 0
    assert int(result.stdout) > 3
    assert result.report["summary"]["processes"] == 4


def test_findings_of_many_children_at_once_are_told_by_their_sites() -> None:
    result = heapwitness_run(compiled(FORKING), "40")

    assert (result.status, result.stdout) == (FOUND, "done\n")
    assert sorted(one["count"] for one in result.findings) == [20, 20]
    assert result.report["summary"]["findings"] == result.report["summary"]["repaired"] == 40
    assert result.report["summary"]["processes"] == 41


def test_findings_of_many_threads_at_once_are_folded() -> None:
    result = heapwitness_run(compiled(THREADS, "-pthread"))

    assert (result.status, result.stdout) == (FOUND, "done\n")
    assert sum(one["count"] for one in result.findings) == 400
    assert result.report["summary"]["repaired"] == 400


def test_program_that_is_executed_by_another_is_watched() -> None:
    result = heapwitness_run("sh", "-c", f"exec {compiled(OVERFLOW)}")

    assert (result.status, len(result.findings)) == (FOUND, 1)


def test_program_that_is_left_running_is_named() -> None:
    result = heapwitness_run("sh", "-c", "sleep 30 >/dev/null 2>&1 & echo $!")

    pid = int(result.stdout)
    os.kill(pid, signal.SIGKILL)
    assert result.status == 0
    assert f"process {pid} still runs" in result.stderr


def test_program_with_a_malloc_of_its_own_runs_and_is_told() -> None:
    text = """
    #include <stddef.h>
    #include <stdio.h>
    static char room[1 << 20]; static size_t used;
    void *malloc(size_t n) { void *p = room + used; used += (n + 15) & ~15ul; return p; }
    void free(void *p) { }
    int main(void) { printf("%d\\n", malloc(5) != NULL); }
    """
    result = heapwitness_run(compiled(text))

    assert (result.status, result.stdout) == (0, "1\n")
    assert "brings its own malloc" in result.stderr


def test_program_that_allocates_nothing_is_told() -> None:
    text = "int main(void) { return 4; }"

    result = heapwitness_run(compiled(text))

    assert result.status == 4
    assert "no allocation was seen" in result.stderr


def test_program_that_is_started_by_the_dynamic_linker_is_watched() -> None:
    program = compiled(OVERFLOW)
    linker = subprocess.run(["ldd", program], capture_output=True, text=True).stdout.split("ld-linux")
    if len(linker) != 2:
        pytest.skip("needs a dynamic linker of that name")
    path = linker[0].split()[-1] + "ld-linux" + linker[1].split()[0]

    result = heapwitness_run(path, program)

    assert (result.status, result.stdout) == (FOUND, "done\n"), result.stderr
    assert [one["kind"] for one in result.findings] == ["heap-buffer-overflow"]


def test_program_that_drops_its_environment_is_watched_until_then() -> None:
    result = heapwitness_run("env", "-i", "/bin/ls", "/")

    assert (result.status, result.stderr.count("\n")) == (0, 2)
    assert "/bin/ls ran without the engine, in an environment that what started it had cleared" in result.stderr
    assert result.report["summary"]["processes"] == 1


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become somebody else")
@pytest.mark.parametrize("with_log", [False, True])
def test_program_that_gave_up_root_is_heard(with_log: bool) -> None:
    text = OVERFLOW.replace(
        "spoil(block);\n    free", "if (setgid(65534) || setuid(65534)) return 1; spoil(block);\n free"
    )
    program = compiled(text)
    log = program.with_name("log")
    log.touch()
    log.chmod(0o666)
    for directory in program.parents[:2]:
        directory.chmod(0o755)

    result = heapwitness_run(program, options=("--log", str(log)) if with_log else ())

    assert (result.status, result.stdout) == (FOUND, "done\n")
    assert [(one["kind"], one["repaired"]) for one in result.findings] == [("heap-buffer-overflow", True)]
    assert log.stat().st_size == 0
    assert not any("no engine sends" in one for one in result.report["warnings"])


def test_what_was_preloaded_before_is_still_there() -> None:
    library = compiled("int answer(void) { return 42; }", "-shared", "-fPIC")
    text = '#include <dlfcn.h>\nint main(void) { int (*f)(void) = dlsym(RTLD_DEFAULT, "answer"); return f ? f() : 0; }'

    assert heapwitness_run(compiled(text), LD_PRELOAD=str(library)).status == 42


def test_end_is_not_waited_for_when_a_child_keeps_the_output_open() -> None:
    started = time.monotonic()
    result = heapwitness_run("sh", "-c", "sleep 30 >/dev/null 2>&1 & echo $!")
    subprocess.run(["kill", result.stdout.strip()], check=True)

    assert time.monotonic() - started < 10


REPLACED = """
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
extern char **environ;
static __attribute__((noinline)) void spoil(void) {
    char *volatile block = malloc(24);
    for (volatile int i = 0; i < 25; i++) ((volatile char *)block)[i] = 'x';
}
int main(int count, char **words) {
    char *next[] = {"true", NULL};
    spoil();
    if (strcmp(words[1], "fails") == 0) { execv("/nowhere", next); return 3; }
    if (strcmp(words[1], "child") == 0) {
        if (fork() == 0) execv("/bin/true", next);
        wait(NULL);
        return 3;
    }
    if (strcmp(words[1], "execv") == 0) execv("/bin/true", next);
    if (strcmp(words[1], "execl") == 0) execl("/bin/true", "true", NULL);
    if (strcmp(words[1], "execvp") == 0) execvp("true", next);
    if (strcmp(words[1], "execve") == 0) execve("/bin/true", next, environ);
    if (strcmp(words[1], "fexecve") == 0) fexecve(open("/bin/true", O_RDONLY), next, environ);
    return 100;
}
"""


@pytest.mark.parametrize("way", ["execv", "execl", "execvp", "execve", "fexecve", "fails", "child"])
def test_heap_is_checked_once_before_another_program_takes_its_place(way: str) -> None:
    result = heapwitness_run(compiled(REPLACED), way)

    assert result.status == FOUND, result.stderr
    assert [(one["kind"], one["count"], one["repaired"]) for one in result.findings] == [
        ("heap-buffer-overflow", 1, True)
    ]
    assert result.report["program"]["exit_status"] == (3 if way in ("fails", "child") else 0)
    assert "no allocation was seen" not in result.stderr
