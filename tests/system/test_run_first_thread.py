"""A process whose first thread has ended, while others go on: it is looked into as any other."""

import re
import subprocess
from pathlib import Path

from run_support import FOUND, compiled, engine, heapwitness_command, heapwitness_run, needs_engine

pytestmark = needs_engine

PROGRAM = r"""
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
__attribute__((noinline)) static void spoil(char *block) { memset(block, 'x', 27); }
static void until_the_first_has_ended(void)
{
    char text[512] = "";
    char *state = text;
    while (*state != 'Z') {
        int file = open("/proc/self/stat", O_RDONLY);
        ssize_t length = read(file, text, sizeof text - 1);
        close(file);
        text[length > 0 ? length : 0] = '\0';
        state = strrchr(text, ')') ? strrchr(text, ')') + 2 : text;
        sched_yield();
    }
}
static int goes_on;
static void *work(void *unused)
{
    until_the_first_has_ended();
    char *block = malloc(24);
    spoil(block);
    free(block);
    if (goes_on && write(1, "ready", 5) == 5)
        pause();
    return NULL;
}
int main(int count, char **words)
{
    pthread_t thread;
    int pipe_of_child[2];
    if (count > 1 && pipe(pipe_of_child) == 0) {
        goes_on = 1;
        if (fork() != 0) {
            char c;
            return read(pipe_of_child[0], &c, 1) == 1 ? 0 : 1;
        }
        dup2(pipe_of_child[1], 1);
        close(2);
        alarm(60);
    }
    pthread_create(&thread, NULL, work, NULL);
    pthread_exit(NULL);
}
"""


def program() -> Path:
    return compiled(PROGRAM, "-O0", "-pthread")


def test_what_another_thread_does_then_is_told_in_full() -> None:
    result = heapwitness_run(program())

    (finding,) = result.findings
    assert result.status == FOUND
    assert finding["kind"] == "heap-buffer-overflow"
    assert finding["culprit"]["size"] == 24
    assert finding["detected"]["stack"][0]["function"] == "work"


def test_its_record_without_heapwitness_has_all_that_names_it(tmp_path: Path) -> None:
    log = tmp_path / "log"
    subprocess.run([program()], env={"LD_PRELOAD": str(engine()), "HEAPWITNESS_LOG": str(log)}, check=True, timeout=60)

    shown = heapwitness_command("report", log)

    assert shown.returncode == FOUND
    assert "heap-buffer-overflow" in shown.stdout
    assert re.search(r"in free, called by work at source\.c:\d+", shown.stdout)


def test_a_process_left_behind_in_that_state_is_said_to_run() -> None:
    result = heapwitness_run(program(), "child", stdin="")

    assert re.search(r"process \d+ still runs", result.stderr), result.stderr
    assert "ended unchecked" not in result.stderr
