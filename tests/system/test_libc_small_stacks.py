"""A program that another one starts with a small stack: the engine takes no more of it than any preloaded library."""

import subprocess
from functools import partial
from pathlib import Path

import pytest
from run_support import compiled, engine, needs_engine

pytestmark = needs_engine

START = r"""
#include <stdlib.h>
#include <string.h>
#include <sys/personality.h>
#include <sys/resource.h>
#include <unistd.h>
int main(int count, char **words)
{
    struct rlimit limit;
    if (count < 2) {
        free(strdup("a block"));
        return 0;
    }
    if (getrlimit(RLIMIT_STACK, &limit) != 0 || personality(ADDR_NO_RANDOMIZE) == -1)
        return 3;
    limit.rlim_cur = 16384;
    if (setrlimit(RLIMIT_STACK, &limit) != 0)
        return 3;
    execl(words[0], words[0], (char *)NULL);
    return 3;
}
"""
"""Executes itself with a stack of 16 KiB that always begins at the same place; then it uses the heap, and ends."""

MOST = 16384
NEAR = 512


def starts(program: Path, library: Path, length: int) -> bool:
    """Whether it starts with so many bytes of environment on its stack."""
    # As long as the other's name, whatever that is.
    place = str(library).rjust(300, "/")
    done = subprocess.run([program, "again"], env={"LD_PRELOAD": place, "FILL": "x" * length}, capture_output=True)
    assert done.returncode in (0, -11), done
    return done.returncode == 0


def room(program: Path, library: Path) -> int:
    """How many bytes of environment it can start with."""
    low, high = 0, MOST
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if starts(program, library, middle) else (low, middle)
    return low


def test_a_start_with_a_small_stack_needs_what_any_preloaded_library_needs() -> None:
    program = compiled(START, "-O0")
    empty = compiled("int nothing;", "-shared", "-fPIC")
    found = engine()
    assert found is not None
    if subprocess.run([program, "again"], capture_output=True).returncode == 3:
        pytest.skip("needs addresses that are not random")

    of_empty, of_engine = map(partial(room, program), (empty, found))

    assert of_empty > 0
    assert of_engine > of_empty - NEAR
