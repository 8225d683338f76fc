"""Programs that release a block twice, or what is no block."""

import pytest
from programs.harness import allocated_at, line_of, run

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
