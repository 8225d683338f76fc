"""Programs that release a block twice, or what is no block."""

import pytest
from programs.harness import allocated_at, line_of, run
from run_support import compiled, heapwitness_run

SOURCE = "release.c"


@pytest.mark.parametrize("optimise", ["-O0", "-O2"])
@pytest.mark.parametrize(
    ("what", "size"),
    [
        ("cached", 24),
        ("cached", 1000),
        ("cached", 20_000),
        ("merged", 24),
        ("merged", 5000),
        ("merged", 40_000),
        ("neighbours", 24),
        ("neighbours", 1000),
        ("thread", 24),
        ("thread", 20_000),
    ],
)
def test_a_second_release_is_ignored_and_told_with_both_stacks(what: str, size: int, optimise: str) -> None:
    outcome = run(SOURCE, optimise, what=what, size=size)
    finding = outcome.finding
    assert finding["kind"] == "double-free"
    assert finding["pointer"] == outcome.facts["pointer"] == outcome.facts["culprit"]
    assert finding["culprit"]["address"] == outcome.facts["culprit"]
    assert finding["culprit"]["size"] == size
    assert allocated_at(finding["culprit"], SOURCE) == line_of(SOURCE, "culprit: malloc")
    freed = [frame["line"] for frame in finding["culprit"]["freed"]["stack"] if frame["file"]]
    assert line_of(SOURCE, "freed here") in freed
    detected = [frame["line"] for frame in finding["detected"]["stack"] if frame["file"]]
    assert line_of(SOURCE, "released wrongly: free") in detected
    assert finding["detected"]["when"] == "free"


@pytest.mark.parametrize("size", [1 << 20, 3 << 20])
def test_a_second_release_of_a_big_block_is_ignored_and_told(size: int) -> None:
    outcome = run(SOURCE, what="cached", size=size)
    assert outcome.finding["kind"] == "double-free"
    assert outcome.finding["pointer"] == outcome.facts["pointer"]
    assert outcome.finding["culprit"]["size"] == size


@pytest.mark.parametrize("optimise", ["-O0", "-O2"])
@pytest.mark.parametrize(
    ("what", "size"),
    [
        ("interior", 200),
        ("interior", 20_000),
        ("interior", 2 << 20),
        ("offset8", 24),
        ("offset1", 24),
        ("offset8", 2 << 20),
    ],
)
def test_a_pointer_into_a_block_is_told_with_the_block_and_the_distance(what: str, size: int, optimise: str) -> None:
    outcome = run(SOURCE, optimise, what=what, size=size)
    finding = outcome.finding
    distance = outcome.facts["pointer"] - outcome.facts["culprit"]
    assert finding["kind"] == "invalid-free"
    assert finding["pointer"] == outcome.facts["pointer"]
    assert finding["culprit"]["address"] == outcome.facts["culprit"]
    assert finding["culprit"]["size"] == size
    assert allocated_at(finding["culprit"], SOURCE) == line_of(SOURCE, "culprit: malloc")
    assert f"{distance:,}" in finding["detail"]


@pytest.mark.parametrize("call", ["free", "realloc"])
@pytest.mark.parametrize("what", ["end", "header", "stack", "static", "literal", "mapped", "small"])
def test_a_pointer_to_no_block_is_ignored_and_told(what: str, call: str) -> None:
    outcome = run(SOURCE, what=what, call=call, size=48)
    finding = outcome.finding
    assert finding["kind"] == "invalid-free"
    assert finding["pointer"] == outcome.facts["pointer"]
    assert finding["detected"]["when"] == call
    detected = [frame["line"] for frame in finding["detected"]["stack"] if frame["file"]]
    assert line_of(SOURCE, f"released wrongly: {call}") in detected


def test_realloc_of_a_freed_block_answers_null_and_is_told() -> None:
    outcome = run(SOURCE, what="cached", call="realloc", size=100)
    assert outcome.finding["kind"] == "double-free"
    assert outcome.facts["answer"] == 0


@pytest.mark.parametrize("what", ["cached", "merged", "neighbours", "thread", "interior", "mapped"])
def test_the_clean_twin_gives_no_finding(what: str) -> None:
    run(SOURCE, what=what, size=200, clean=1).assert_clean()


DESTROYED = """
#include <stdlib.h>
struct list { long count; char *items; };
__attribute__((noinline)) static struct list *list_new(void)
{
    struct list *list = malloc(sizeof *list);
    list->items = malloc(40);
    return list;
}
__attribute__((noinline)) static void list_drop(struct list *list)
{
    free(list->items);
    free(list);
}
int main(void)
{
    struct list *list = list_new();
    list_drop(list);
    list_drop(list);
    return 0;
}
"""


def test_what_is_read_from_a_released_block_to_be_released_names_that_block() -> None:
    result = heapwitness_run(compiled(DESTROYED, "-fno-builtin"))

    assert [one["kind"] for one in result.findings] == ["invalid-free", "double-free"]
    finding = result.findings[0]
    assert finding["culprit"] is None and finding["suspect"]["size"] == 16
    assert finding["suspect"]["address"] == result.findings[1]["culprit"]["address"]
    freed, made = (finding["suspect"][act]["stack"] for act in ("freed", "allocated"))
    assert (freed[0]["function"], made[0]["function"]) == ("list_drop", "list_new")
    assert "read out of the 16-byte block" in finding["detail"] and "after the release" in finding["detail"]
    assert "which was read from a 16-byte block" in " ".join(result.stderr.split())
    assert "the block that it was read from was released" in " ".join(result.stderr.split())


def test_any_other_address_that_is_no_block_was_read_from_none() -> None:
    source = (
        "#include <stdlib.h>\nint main(void) { free((void *)0x6161616161616161); free((void *)0x123456780); return 0; }"
    )

    result = heapwitness_run(compiled(source, "-fno-builtin"))

    assert [one["kind"] for one in result.findings] == ["invalid-free"] * len(result.findings)
    assert result.findings and all(one["suspect"] is None for one in result.findings)
