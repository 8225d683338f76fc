"""Big blocks end at a guard: an overrun is told at its store, and reaches nothing that belongs to others."""

import re
from pathlib import Path
from typing import Any

import pytest
from run_support import FOUND, compiled, heapwitness_run, needs_engine

pytestmark = needs_engine

RUNAWAY = """
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
__attribute__((noinline)) char *make(size_t n) { return malloc(n); }
__attribute__((noinline)) void spoil(volatile char *block, long from, long to, long step) {
    for (long i = from; step > 0 ? i < to : i > to; i += step) block[i] = 'x';
}
int main(int count, char **words) {
    size_t n = strtoul(words[1], 0, 0);
    char *a = make(n), *b = make(n), *c = make(n);
    memset(b, 1, n);
    if (count > 5) b = realloc(b, n = strtoul(words[5], 0, 0));
    spoil(b, strtol(words[2], 0, 0), strtol(words[3], 0, 0), strtol(words[4], 0, 0));
    free(a); free(b); free(c);
    puts("done");
}
"""


def overrun(*words: int) -> tuple[int, dict[str, Any]]:
    """The size of three blocks, of the middle one the first and last byte written and the step, and the size that it
    is resized to before: the status, and the only finding."""
    result = heapwitness_run(compiled(RUNAWAY), *map(str, words))
    assert len(result.findings) == 1, result.stderr
    assert "done" not in result.stdout
    return result.status, result.findings[0]


def functions(stack: list[dict[str, Any]]) -> list[str]:
    return [frame["function"] for frame in stack]


@pytest.mark.parametrize(
    "words",
    [
        pytest.param((3_000_000, 3_000_000, 7_000_000, 1), id="of 3 MB"),
        pytest.param((1_000_000, 1_000_000, 2_500_000, 1), id="of 1 MB"),
        pytest.param((1 << 20, 1 << 20, 3 << 20, 1), id="of whole pages"),
        pytest.param((1_000_000, 40_000_000, 90_000_000, 1, 40_000_000), id="grown before"),
        pytest.param((3_000_000, 700_000, 9_000_000, 1, 700_000), id="shrunk before"),
    ],
)
def test_overrun_that_leaves_a_big_blocks_spare_memory_is_told_at_its_store(words: tuple[int, ...]) -> None:
    size = words[1]

    status, finding = overrun(*words)

    assert status == FOUND
    assert (finding["kind"], finding["culprit"]["size"]) == ("heap-buffer-overflow", size)
    assert finding["damage"]["address"] - finding["culprit"]["address"] == size
    assert finding["damage"]["length"] >= 1 << 20
    assert finding["store"]["address"] == finding["damage"]["address"] + finding["damage"]["length"]
    assert functions(finding["store"]["stack"])[:2] == ["spoil", "main"]
    assert "past the end of the block, in the guard there" in finding["detail"]


def test_overrun_before_the_start_of_a_big_block_is_told_at_its_store() -> None:
    status, finding = overrun(1_000_000, -1, -5_000, -1)

    assert status == FOUND
    assert (finding["kind"], finding["culprit"]["size"]) == ("heap-buffer-underflow", 1_000_000)
    assert finding["store"]["address"] == finding["damage"]["address"] - 1
    assert functions(finding["store"]["stack"])[:2] == ["spoil", "main"]


@pytest.mark.parametrize(("at", "kind"), [(2_080_000, "heap-buffer-overflow"), (-40_000, "heap-buffer-underflow")])
def test_single_store_into_a_guard_is_told_with_its_block(at: int, kind: str) -> None:
    status, finding = overrun(1_000_000, at, at + 1, 1)

    assert status == FOUND
    assert (finding["kind"], finding["damage"]) == (kind, None)
    assert finding["store"]["address"] == finding["culprit"]["address"] + at
    assert functions(finding["store"]["stack"])[:2] == ["spoil", "main"]
    assert "or a wild pointer" in finding["detail"]


READER = """
#include <stdlib.h>
__attribute__((noinline)) char peek(const volatile char *block, long at) { return block[at]; }
int main(int count, char **words) {
    char *block = malloc(1000000);
    return peek(block, atol(words[1]));
}
"""


@pytest.mark.parametrize(("at", "kind"), [(2_080_000, "heap-buffer-overflow"), (-40_000, "heap-buffer-underflow")])
def test_read_from_a_guard_is_told_as_a_read(at: int, kind: str) -> None:
    result = heapwitness_run(compiled(READER), str(at))

    assert result.status == FOUND
    (finding,) = result.findings
    assert (finding["kind"], finding["access"], finding["damage"]) == (kind, "read", None)
    assert finding["store"]["address"] == finding["culprit"]["address"] + at
    assert "peek read at" in result.stderr and "wrote" not in result.stderr
    assert "or a wild pointer" in finding["detail"]


def test_read_from_a_big_blocks_spare_memory_is_none_of_the_heaps_business() -> None:
    result = heapwitness_run(compiled(READER), "1000100")

    assert (result.status, result.findings) == (0, [])


def test_overrun_is_told_where_address_space_is_limited() -> None:
    words = ("700000", "700000", "720000", "1")
    result = heapwitness_run("sh", "-c", f"ulimit -v 400000; exec {compiled(RUNAWAY)} {' '.join(words)}")

    assert result.status == FOUND, result.stderr
    assert [(one["kind"], one["culprit"]["size"]) for one in result.findings] == [("heap-buffer-overflow", 700_000)]
    assert result.findings[0]["store"] is not None


def test_overrun_in_a_forked_child_is_told_at_its_store() -> None:
    program = compiled(
        RUNAWAY.replace("spoil(b,", "if (fork() == 0) spoil(b,").replace("#include", "#include <unistd.h>\n#include", 1)
    )

    result = heapwitness_run(program, "1000000", "1000000", "2500000", "1")

    assert [(one["kind"], one["culprit"]["size"]) for one in result.findings] == [("heap-buffer-overflow", 1_000_000)]
    assert result.findings[0]["store"] is not None


MANY = """
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
static int mappings(void) {
    int lines = 0, c;
    FILE *maps = fopen("/proc/self/maps", "r");
    while ((c = getc(maps)) != EOF) lines += c == '\\n';
    fclose(maps);
    return lines;
}
int main(int count, char **words) {
    long n = atol(words[1]), size = atol(words[2]), wrong = 0;
    char **block = malloc(n * sizeof *block);
    for (long i = 0; i < n; i++) {
        if (!(block[i] = malloc(size))) return 1;
        block[i][0] = block[i][size - 1] = (char)i;
    }
    printf("%d mappings\\n", mappings());
    for (long i = 0; i < n; i += 3)
        if (!(block[i] = realloc(block[i], 3 * size))) return 2;
    for (long i = 0; i < n; i++) wrong += block[i][0] != (char)i || block[i][size - 1] != (char)i;
    for (long i = 0; i < n; i++) free(block[i]);
    printf("%d mappings, %ld wrong\\n", mappings(), wrong);
}
"""


@pytest.mark.parametrize(("number", "size"), [(3_000, 300_000), (30_000, 600_000)])
def test_guards_leave_most_of_the_kernels_mappings_to_the_program(number: int, size: int) -> None:
    most = int(Path("/proc/sys/vm/max_map_count").read_text())

    result = heapwitness_run(compiled(MANY), str(number), str(size))

    assert (result.status, result.findings) == (0, []), result.stderr
    used, left, wrong = map(int, re.findall(r"\d+", result.stdout))
    assert wrong == 0
    assert used < most / 3
    assert left < 1000


HUGE = """
#include <stdio.h>
#include <stdlib.h>
__attribute__((noinline)) char *make(size_t n) { return malloc(n); }
__attribute__((noinline)) void spoil(volatile char *at, long n) { while (n--) *at++ = 'x'; }
int main(int count, char **words) {
    size_t n = strtoull(words[1], 0, 0);
    char *block = make(n);
    if (!block) return 3;
    block[0] = block[n - 1] = 1;
    if (count > 4) {
        char *again = realloc(block, n = strtoull(words[4], 0, 0));
        if (!again) return 3;
        block = again;
        if (block[0] != 1) return 4;
    }
    spoil(block + strtoll(words[2], 0, 0), strtol(words[3], 0, 0));
    free(block);
    puts("done");
}
"""
GIB = 1 << 30


def huge(*words: int) -> dict[str, Any]:
    """A block's size, where in it the writing begins, how much, and its size after a resize: the only finding."""
    result = heapwitness_run(compiled(HUGE), *map(str, words))
    if result.status == 3:
        pytest.skip("this machine has too little memory for a block of this size")
    assert (result.status, len(result.findings)) == (FOUND, 1), result.stderr
    return result.findings[0]


@pytest.mark.parametrize(
    ("words", "length"),
    [
        pytest.param((16 * GIB - 1, 16 * GIB - 1, 1), 1, id="a byte of slack"),
        pytest.param((15 * GIB + 100, 15 * GIB + 100, 30), 30, id="a page of slack"),
        pytest.param((15 * GIB + 100, 15 * GIB + 103, 30), 30, id="bytes left out"),
        pytest.param((15 * GIB + 100, 16 * GIB + 5, 7, 16 * GIB + 5), 7, id="grown"),
        pytest.param((16 * GIB, 15 * GIB + 5, 7, 15 * GIB + 5), 7, id="shrunk"),
    ],
)
def test_overrun_of_a_block_that_is_too_large_for_a_pool_is_told_at_its_release(
    words: tuple[int, ...], length: int
) -> None:
    size = words[-1] if len(words) > 3 else words[0]

    finding = huge(*words)

    assert (finding["kind"], finding["culprit"]["size"]) == ("heap-buffer-overflow", size)
    assert (finding["detected"]["when"], finding["repaired"]) == ("free", True)
    assert (finding["damage"]["offset"], finding["damage"]["length"]) == (words[1] - size, length)
    assert finding["culprit"]["allocated"]["stack"][0]["function"] == ("main" if len(words) > 3 else "make")


@pytest.mark.parametrize(
    ("words", "kind", "store"),
    [
        pytest.param((16 * GIB, 16 * GIB, 1), "heap-buffer-overflow", 16 * GIB, id="of whole pages"),
        pytest.param((16 * GIB - 96, 16 * GIB - 96, 200), "heap-buffer-overflow", 16 * GIB, id="through its slack"),
        pytest.param((16 * GIB, -1, 1), "heap-buffer-underflow", -1, id="before its start"),
        pytest.param(
            (16 * GIB, 15 * GIB + 4096, 1, 15 * GIB + 4096), "heap-buffer-overflow", 15 * GIB + 4096, id="shrunk"
        ),
    ],
)
def test_store_that_leaves_a_block_without_a_pool_is_told_as_it_happens(
    words: tuple[int, ...], kind: str, store: int
) -> None:
    finding = huge(*words)

    assert (finding["kind"], finding["detected"]["when"]) == (kind, "trap")
    assert finding["store"]["address"] == finding["culprit"]["address"] + store
    assert functions(finding["store"]["stack"])[:2] == ["spoil", "main"]
