"""A program that attacks its supervisor from inside is limited and outlived, and a real bug in it is still told."""

import json
import subprocess
import time
from pathlib import Path

import pytest
from run_support import FOUND, OVERFLOW, compiled, heapwitness_command, heapwitness_run, needs_engine

from heapwitness.native import library

pytestmark = needs_engine

MEGABYTE = 1 << 20

FLOOD = r"""
#define _GNU_SOURCE
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

struct event {
    uint32_t magic; uint16_t version, type; uint32_t length, pid, tid, ppid, when, reason;
    uint64_t process, pool, pool_bytes, pointer; uint32_t node, family; char thread[16];
    uint32_t windows, frames; uint64_t dropped;
};
static unsigned char message[150000];
static uint64_t x = 88172645463325252u;

static int connection(void)
{
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    struct timeval most = {.tv_sec = 1};
    int fd = socket(AF_UNIX, SOCK_SEQPACKET, 0);
    strcpy(to.sun_path, getenv("HEAPWITNESS_SOCKET"));
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &most, sizeof most);
    if (connect(fd, (void *)&to, sizeof to) == 0)
        return fd;
    close(fd);
    return -1;
}

static size_t compose(const char *what)
{
    struct event e = {.magic = 0x56455748, .version = 1, .type = 2, .pid = getpid(), .tid = getpid(), .when = 1,
                      .thread = "\033]0;owned\a"};
    size_t length = sizeof e;
    x ^= x << 13, x ^= x >> 7, x ^= x << 17;
    e.reason = 1 + x % 8, e.process = x * 3, e.pool = x * 5, e.pool_bytes = x >> 20, e.pointer = x * 11, e.node = x;
    if (strcmp(what, "frames") == 0)
        for (e.frames = 250; length < sizeof e + 8 * 250; length += 8)
            memcpy(message + length, &(uint64_t){x * length}, 8);
    if (strcmp(what, "commands") == 0) {
        uint64_t section[3] = {3, 0, 120000};
        e.type = 1, e.reason = 0, length += sizeof section + 120000;
        memcpy(message + sizeof e, section, sizeof section);
    }
    e.length = length;
    memcpy(message, &e, sizeof e);
    return length;
}

static void attack(const char *what, time_t end)
{
    while (time(NULL) < end) {
        int fd;
        if (strcmp(what, "forks") == 0) {
            if (fork() == 0) {
                size_t length = compose(what);
                if ((fd = connection()) >= 0)
                    send(fd, message, length, MSG_NOSIGNAL);
                _Exit(0);
            }
            wait(NULL);
            continue;
        }
        if ((fd = connection()) < 0)
            continue;
        if (strcmp(what, "silence") != 0) { /* else it stays open and says nothing */
            send(fd, message, compose(what), MSG_NOSIGNAL);
            close(fd);
        }
    }
}

int main(int count, char **words)
{
    time_t end = time(NULL) + 2;
    prctl(PR_SET_NAME, "\033[2Jowned");
    for (int i = 0; i < 2; i++)
        if (fork() == 0) {
            x += i;
            attack(words[1], end);
            _Exit(0);
        }
    usleep(500000);
    struct timespec before, after;
    clock_gettime(CLOCK_MONOTONIC, &before);
    char *block = malloc(24);
    memset(block, 'x', 27);
    free(block);
    clock_gettime(CLOCK_MONOTONIC, &after);
    printf("%ld\n", (after.tv_sec - before.tv_sec) * 1000 + (after.tv_nsec - before.tv_nsec) / 1000000);
    while (wait(NULL) > 0)
        ;
    return 0;
}
"""


@pytest.mark.parametrize("what", ["findings", "frames", "commands", "silence", "forks"])
def test_a_flood_is_bounded_counted_and_outlived(tmp_path: Path, what: str) -> None:
    report = tmp_path / "report.json"
    started = time.monotonic()

    done = heapwitness_command("run", "--json", report, "--", compiled(FLOOD, "-fno-builtin"), what)

    assert done.returncode == FOUND
    assert time.monotonic() - started < 25
    assert int(done.stdout) < 5000  # milliseconds, of the 10,000 that a thread would wait
    assert report.stat().st_size < 24 * MEGABYTE
    assert len(done.stderr) < MEGABYTE and "\033" not in done.stderr and "\a" not in done.stderr
    found = json.loads(report.read_text())
    summary = found["summary"]
    if what in ("findings", "frames"):
        assert summary["dropped"] > 0 and "came too fast to be looked at" in done.stderr
    if what != "forks":  # each fork is a process of its own: together they use up what all may have
        assert [one["culprit"]["size"] for one in found["findings"] if one["culprit"]] == [24]


def test_no_name_of_the_program_reaches_the_terminal_as_a_command(tmp_path: Path) -> None:
    name = "\033]0;owned\a\033[31mred"
    program = tmp_path / name
    program.write_bytes(compiled(NAMED).read_bytes())
    program.chmod(0o755)

    result = heapwitness_run(program, name)
    missing = heapwitness_command("run", "--", tmp_path / (name + "2"))
    recorded = heapwitness_command("report", tmp_path / (name + "3"))

    assert result.status == FOUND
    assert result.findings[0]["detected"]["thread_name"].startswith("\033")
    for text in (result.stderr, missing.stderr, recorded.stderr):
        assert text and not [one for one in text if not one.isprintable() and one != "\n"]


NAMED = r"""
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
int main(int count, char **words)
{
    prctl(PR_SET_NAME, words[1]);
    char *block = malloc(24);
    memset(block, 'x', 27);
    free(block);
    free(block + 400);
    return 0;
}
"""


def test_a_log_does_not_grow_without_end(tmp_path: Path) -> None:
    log = tmp_path / "log"
    full = 256 * MEGABYTE + 1
    with open(log, "wb") as stream:
        stream.truncate(full)
    environment = {"LD_PRELOAD": str(library("preload")), "HEAPWITNESS_LOG": str(log)}

    done = subprocess.run([compiled(OVERFLOW)], env=environment, capture_output=True, text=True)

    assert (done.returncode, done.stdout) == (5, "done\n")
    assert log.stat().st_size == full
