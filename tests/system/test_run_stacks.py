"""Call stacks are the right ones, where frames are found in every way there is, and when they are remembered."""

import os
import shutil
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path

import pytest
from run_support import compiled, heapwitness_run, needs_engine

pytestmark = needs_engine

NATIVE = Path(__file__).parents[2] / "native"
KERNELS = Path(__file__).parents[2] / "benchmarks" / "kernels"

DYNAMIC = """
#include <alloca.h>
#include <stdlib.h>
#include <string.h>
#define KEEP(p) __asm__ volatile("" : : "r"(p) : "memory")
static char *(*volatile way)(size_t);
static char *block[64];
__attribute__((noinline)) char *make(void) { char *p = malloc(24); KEEP(p); return p; }
__attribute__((noinline)) char *below(size_t room) { KEEP(alloca(room)); char *p = make(); KEEP(p); return p; }
__attribute__((noinline)) char *through(size_t room) { char *p = below(room); KEEP(p); return p; }
__attribute__((noinline)) char *call(size_t room) { char *p = way(room); KEEP(p); return p; }
int main(void) {
    for (volatile int turn = 0; turn < 2; turn++) /* one loop, with one call */
        for (int i = 0; i < 32; i++) {
            way = turn ? through : below;
            block[2 * i + turn] = call(16 + 16 * i);
        }
    for (int i = 1; i < 64; i += 2)
        memset(block[i], 'x', 25);
    return 0;
}
"""
"""Whatever `below` takes from the stack, all outer frames are at the same places: the innermost one, and
most return addresses, look the same whether it was called directly or not."""

MOVING = """
#include <alloca.h>
#include <stdlib.h>
#define KEEP(p) __asm__ volatile("" : : "r"(p) : "memory")
#define FRAME __attribute__((noinline)) char *
FRAME make(void) { char *p = malloc(24); KEEP(p); return p; }
FRAME inner(size_t room) { KEEP(alloca(room)); char *p = make(); KEEP(p); return p; }
FRAME outer(size_t in, size_t out) { KEEP(alloca(out)); char *p = inner(in); KEEP(p); return p; }
FRAME one(size_t in, size_t out) { char *p = outer(in, out); KEEP(p); return p; }
FRAME two(size_t in, size_t out) { char *p = one(in, out); KEEP(p); return p; }
FRAME three(size_t in, size_t out) { KEEP(alloca(out)); char *p = one(in, 512 - out); KEEP(p); return p; }
int main(void) {
    char *(*volatile way[])(size_t, size_t) = {one, two, three};
    for (volatile int turn = 0; turn < 3; turn++)
        for (volatile int i = 0; i < 3; i++)
            for (int room = 16; room <= 512; room += 16)
                free(way[i](room, 528 - room));
    return 0;
}
"""
"""Frames in between move while those around them stay, so that only a saved rbp tells where they are."""

RELEASE = """
#include <stdlib.h>
#define KEEP(p) __asm__ volatile("" : : "r"(p) : "memory")
__attribute__((noinline)) void drop(void *p) { free(p); KEEP(p); }
__attribute__((noinline)) void wrap(void *p) { drop(p); KEEP(p); }
int main(void) {
    void *p = malloc(20);
    wrap(p);
    wrap(p);
    return 0;
}
"""

MANY = """
#include <stdlib.h>
#include <string.h>
#define KEEP(p) __asm__ volatile("" : : "r"(p) : "memory")
enum { DEPTH = 13, STACKS = 1 << DEPTH };
static char *one(unsigned path, unsigned depth, char *old);
__attribute__((noinline)) static char *left(unsigned path, unsigned depth, char *old) {
    char *p = one(path, depth, old); KEEP(p); return p;
}
__attribute__((noinline)) static char *right(unsigned path, unsigned depth, char *old) {
    char *p = one(path, depth, old); KEEP(p); return p;
}
__attribute__((noinline)) static char *one(unsigned path, unsigned depth, char *old) {
    char *p = NULL;
    if (depth) p = path & 1 ? right(path >> 1, depth - 1, old) : left(path >> 1, depth - 1, old);
    else if (old) free(old);
    else p = malloc(24);
    KEEP(p);
    return p;
}
int main(void) {
    static char *block[STACKS];
    for (int turn = 0; turn < 3; turn++)
        for (unsigned path = 0; path < STACKS; path++) {
            block[path] = one(path, DEPTH, NULL);
            if (turn < 2)
                one(path ^ STACKS - 1, DEPTH, block[path]);
        }
    for (unsigned path = 0; path < STACKS; path += 997)
        if (path % 2)
            memset(block[path], 'x', 25);
        else
            for (int turn = 0; turn < 2; turn++)
                one(path ^ STACKS - 1, DEPTH, block[path]);
    return 0;
}
"""
"""Thousands of stacks, each the way to a leaf of a tree; a block is released from the opposite leaf."""


@pytest.mark.parametrize("option", ["-fomit-frame-pointer", "-fno-omit-frame-pointer"])
def test_a_remembered_stack_is_not_taken_for_one_that_goes_another_way(option: str) -> None:
    result = heapwitness_run(compiled(DYNAMIC, option), options=("--stacks", "full"))

    stacks = [one["culprit"]["allocated"]["stack"] for one in result.findings]
    names = [[frame["function"] for frame in stack] for stack in stacks]
    assert names
    assert all(each[:5] == ["make", "below", "through", "call", "main"] for each in names), names


@pytest.mark.parametrize(("stacks", "turns"), [("fast", 3), ("full", 13)])
def test_thousands_of_stacks_are_told_from_each_other(stacks: str, turns: int) -> None:
    result = heapwitness_run(compiled(MANY, "-fno-omit-frame-pointer"), options=("--stacks", stacks))

    ways: dict[str, list[str]] = {"allocated": [], "freed": []}
    for one in result.findings:
        for what, seen in ways.items():
            if one["culprit"][what]:
                names = [frame["function"] for frame in one["culprit"][what]["stack"]]
                seen.append("".join(name[0] for name in names if name in ("left", "right"))[:turns])
    damaged = range(0, 1 << 13, 997)
    assert sorted(ways["allocated"]) == sorted(_way(path)[:turns] for path in damaged)
    assert sorted(ways["freed"]) == sorted(_way(path ^ 0x1FFF)[:turns] for path in damaged if path % 2 == 0)


def _way(path: int) -> str:
    return f"{path:013b}".replace("0", "l").replace("1", "r")


@pytest.mark.parametrize("stacks", ["fast", "full"])
def test_the_stack_of_a_release_is_as_deep_as_that_of_an_allocation(stacks: str) -> None:
    result = heapwitness_run(compiled(RELEASE, "-fno-omit-frame-pointer"), options=("--stacks", stacks))

    assert [one["kind"] for one in result.findings] == ["double-free"]
    freed = [frame["function"] for frame in result.findings[0]["culprit"]["freed"]["stack"]]
    assert freed[:3] == ["drop", "wrap", "main"]


@cache
def _comparing_engine() -> Path:
    """An engine that unwinds each stack by libgcc, too, new or known again, and dies where they differ."""
    library = Path(tempfile.mkdtemp(prefix="heapwitness-unwinders-")) / "engine.so"
    sources = [source for part in ("core", "host/*", "preload") for source in sorted(NATIVE.glob(f"{part}/*.c"))]
    flags = ["-std=c11", "-O1", "-fPIC", "-shared", "-pthread", "-fexceptions", "-static-libgcc", "-fno-builtin"]
    flags += ["-fvisibility=hidden", "-ftls-model=initial-exec", "-fno-optimize-sibling-calls"]
    flags += ["-DHW_FIXED_GRANULE_LOG2=4", "-DHW_COMPARE_UNWINDERS", f"-I{NATIVE / 'core'}", f"-I{NATIVE / 'host'}"]
    subprocess.run(["gcc", *flags, *sources, "-o", library, "-ldl"], check=True, timeout=200)
    return library


def _run_compared(*command: str | Path) -> subprocess.CompletedProcess[str]:
    more = {"LD_PRELOAD": str(_comparing_engine()), "HEAPWITNESS_STACKS": "full", "PYTHONMALLOC": "malloc"}
    return subprocess.run(command, env=os.environ | more, capture_output=True, text=True, timeout=200, check=False)


@pytest.mark.skipif(not NATIVE.is_dir() or shutil.which("g++") is None, reason="needs g++ and the engine's sources")
@pytest.mark.parametrize("options", ["-O0", "-O2", "-O3 -mavx2", "-O2 -fno-omit-frame-pointer"])
def test_stacks_of_cxx_are_those_that_libgcc_unwinds(options: str, tmp_path: Path) -> None:
    program = tmp_path / "containers"
    command = ["g++", *options.split(), "-std=c++17", "-pthread", KERNELS / "containers.cpp", "-o", program]
    subprocess.run(command, check=True, timeout=120)
    if "avx2" in options and "avx2" not in Path("/proc/cpuinfo").read_text():
        pytest.skip("needs AVX2")

    done = _run_compared(program, "2", "1")

    assert (done.returncode, done.stderr) == (0, "")
    assert int(done.stdout) > 0


@pytest.mark.skipif(not NATIVE.is_dir(), reason="needs the engine's sources")
@pytest.mark.parametrize("option", ["-fomit-frame-pointer", "-fno-omit-frame-pointer"])
def test_stacks_of_frames_that_move_are_those_that_libgcc_unwinds(option: str) -> None:
    done = _run_compared(compiled(MOVING, option))

    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.skipif(not NATIVE.is_dir(), reason="needs the engine's sources")
def test_stacks_of_programs_are_those_that_libgcc_unwinds() -> None:
    commands = [
        ("git", "--version"),
        ("perl", "-e", "my %h; $h{$_ % 99} .= $_ for 1 .. 5000; eval { die 'x' }; print scalar keys %h"),
        ("gcc", "-O2", "-S", "-o", os.devnull, str(KERNELS / "fragments.c")),
        (sys.executable, "-c", "import json, re, decimal, ctypes, email.message; print(json.dumps([1.5, {}]))"),
    ]
    for command in commands:
        if shutil.which(command[0]) is None:
            continue

        done = _run_compared(*command)

        assert done.returncode == 0, (command, done.stderr)
