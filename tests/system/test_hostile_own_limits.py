"""A program that lowers heapwitness's own limits: nothing is lost without a word, and nothing hangs."""

import ctypes
import re
import resource
import shlex
import subprocess

import pytest
from run_support import ERROR, FOUND, HEAPWITNESS, compiled, environment, heapwitness_command, needs_engine

pytestmark = needs_engine

LOWERING = r"""
#define _GNU_SOURCE
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>
__attribute__((noinline)) static void overrun(int size)
{
    char *block = malloc(size);
    memset(block, 'x', size + 3);
    free(block);
}
int main(int count, char **words)
{
    struct rlimit limit;
    int which = atoi(words[1]);
    if (strchr(words[3], 'b'))
        overrun(24);
    if (prlimit(getppid(), which, NULL, &limit) != 0)
        return 1;
    limit.rlim_cur = strtoul(words[2], NULL, 0);
    if (strchr(words[3], 'h'))
        limit.rlim_max = limit.rlim_cur;
    if (prlimit(getppid(), which, &limit, NULL) != 0)
        return 1;
    if (strchr(words[3], 'a'))
        overrun(40);
    return 7;
}
"""
"""Lowers a limit of its parent, with `h` the hard one, too; writes past a block before with `b`, after it with `a`."""

LIMITS = {
    "NOFILE 0": (resource.RLIMIT_NOFILE, 0),
    "NOFILE 9": (resource.RLIMIT_NOFILE, 9),
    "NPROC 1": (resource.RLIMIT_NPROC, 1),
    "AS 1": (resource.RLIMIT_AS, 1),
    "DATA 1": (resource.RLIMIT_DATA, 1),
    "FSIZE 0": (resource.RLIMIT_FSIZE, 0),
    "STACK 0": (resource.RLIMIT_STACK, 0),
}
CAP_SYS_RESOURCE, PR_CAPBSET_DROP = 24, 24


def lowering(limit: str, how: str) -> subprocess.CompletedProcess[str]:
    """A run of the program by heapwitness, which may not raise hard limits."""

    def as_a_user() -> None:
        ctypes.CDLL(None).prctl(PR_CAPBSET_DROP, CAP_SYS_RESOURCE, 0, 0, 0)

    which, value = LIMITS[limit]
    return subprocess.run(
        [*HEAPWITNESS, "run", "--", compiled(LOWERING, "-O0"), str(which), str(value), how],
        env=environment(),
        preexec_fn=as_a_user,
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.mark.parametrize("how", ["ah", "bh", "abh"])
@pytest.mark.parametrize("limit", LIMITS)
def test_findings_are_told_or_said_to_be_untold_when_a_hard_limit_is_lowered(limit: str, how: str) -> None:
    done = lowering(limit, how)

    assert "Traceback" not in done.stderr
    assert done.returncode in (FOUND, ERROR), done.stderr
    if done.returncode == FOUND:
        assert re.search(rf"{how.count('a') + how.count('b')} findings?, ", done.stderr), done.stderr
    else:
        name, value = limit.split()
        assert f"(RLIMIT_{name}) was lowered to {value} from outside" in done.stderr
    kept = re.search("`heapwitness report (.*?)` shows what is not shown here", done.stderr)
    if kept is not None:
        shown = heapwitness_command("report", shlex.split(kept[1])[0])
        assert shown.returncode == FOUND
        assert "40 bytes, used" in shown.stdout


@pytest.mark.parametrize("limit", ["NOFILE 0", "NPROC 1", "FSIZE 0"])
def test_a_soft_limit_that_is_lowered_is_put_back(limit: str) -> None:
    done = lowering(limit, "ab")

    assert done.returncode == FOUND, done.stderr
    assert "2 findings, 2 repaired" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_healthy_program_keeps_its_status_when_it_lowers_what_is_not_needed() -> None:
    done = lowering("FSIZE 0", "h")

    assert done.returncode == 7, done.stderr


def test_without_descriptors_from_the_start_one_sentence_says_so() -> None:
    done = lowering("NOFILE 0", "h")

    assert done.returncode == ERROR
    assert done.stderr.count("\n") == 1, done.stderr
    assert done.stderr.startswith("heapwitness: the findings of this run may not all be shown")
