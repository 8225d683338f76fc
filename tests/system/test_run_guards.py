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


@pytest.mark.parametrize(("at", "kind"), [(2_200_000, "heap-buffer-overflow"), (-40_000, "heap-buffer-underflow")])
def test_single_store_into_a_guard_is_told_with_its_block(at: int, kind: str) -> None:
    status, finding = overrun(1_000_000, at, at + 1, 1)

    assert status == FOUND
    assert (finding["kind"], finding["damage"]) == (kind, None)
    assert finding["store"]["address"] == finding["culprit"]["address"] + at
    assert functions(finding["store"]["stack"])[:2] == ["spoil", "main"]
    assert "or a wild pointer" in finding["detail"]


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


@pytest.mark.parametrize("size", [300_000, 600_000])
def test_guards_leave_most_of_the_kernels_mappings_to_the_program(size: int) -> None:
    most = int(Path("/proc/sys/vm/max_map_count").read_text())

    result = heapwitness_run(compiled(MANY), "30000", str(size))

    assert (result.status, result.findings) == (0, []), result.stderr
    used, left, wrong = map(int, re.findall(r"\d+", result.stdout))
    assert wrong == 0
    assert used < most / 3
    assert left < 1000
