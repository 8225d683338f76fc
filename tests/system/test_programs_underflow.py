"""Programs that write before the start of a block."""

import pytest
from programs.harness import allocated_at, line_of, run

SOURCE = "underflow.c"


# Both have 15 bytes of slack: up to 30 bytes before the block of a run, 46 before that of a pool, stay clear of the end
# of the one before.
@pytest.mark.parametrize("how", ["memset", "loop"])
@pytest.mark.parametrize(
    ("size", "length"),
    [
        *((17, length) for length in (1, 2, 3, 8, 15, 16, 17, 24, 30)),
        *((10_001, length) for length in (1, 8, 16, 17, 31, 32, 33, 40, 46)),
    ],
)
def test_bytes_before_the_start_are_counted_exactly(size: int, length: int, how: str) -> None:
    outcome = run(SOURCE, how=how, size=size, extra=length)
    finding = outcome.finding
    assert outcome.facts["adjacent"]
    assert finding["kind"] == "heap-buffer-underflow"
    assert finding["culprit"]["address"] == outcome.facts["culprit"]
    assert finding["culprit"]["size"] == size
    assert allocated_at(finding["culprit"], SOURCE) == line_of(SOURCE, "culprit: malloc")
    assert outcome.facts["last"] == length - 1
    assert (finding["damage"]["offset"], finding["damage"]["length"]) == (-length, length)
    assert finding["repaired"]


@pytest.mark.parametrize("size", [1, 24, 1000, 40_000, 1 << 20, 1 << 28])
@pytest.mark.parametrize("found", ["free", "exit"])
def test_blocks_of_any_size_are_named(size: int, found: str) -> None:
    outcome = run(SOURCE, "-O0", how="loop", size=size, extra=8, found=found, row=6 if size < 1 << 20 else 1)
    finding = outcome.finding
    assert finding["kind"] == "heap-buffer-underflow"
    assert finding["culprit"]["size"] == size
    assert (finding["damage"]["offset"], finding["damage"]["length"]) == (-8, 8)
    assert finding["detected"]["when"] == found


@pytest.mark.parametrize("found", ["free", "exit"])
def test_the_clean_twin_gives_no_finding(found: str) -> None:
    run(SOURCE, size=17, extra=0, found=found).assert_clean()
