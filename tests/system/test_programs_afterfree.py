"""Programs that write into a block after it was freed."""

from typing import Any

import pytest
from programs.harness import Outcome, allocated_at, line_of, run

SOURCE = "afterfree.c"


def assert_written_after_free(outcome: Outcome, size: int, at: int, length: int) -> dict[str, Any]:
    finding = outcome.finding
    assert finding["kind"] == "use-after-free-write"
    assert finding["culprit"]["address"] == outcome.facts["culprit"]
    assert finding["culprit"]["size"] == size
    assert allocated_at(finding["culprit"], SOURCE) == line_of(SOURCE, "culprit: malloc")
    freed = [frame["line"] for frame in finding["culprit"]["freed"]["stack"] if frame["file"]]
    assert line_of(SOURCE, "freed here") in freed
    assert (finding["damage"]["offset"], finding["damage"]["length"]) == (at, length)
    return finding


@pytest.mark.parametrize("optimise", ["-O0", "-O2"])
@pytest.mark.parametrize("found", ["malloc", "exit"])
@pytest.mark.parametrize(("at", "length"), [(0, 1), (0, 8), (0, 16), (8, 4), (15, 1)])
def test_the_first_bytes_of_a_freed_block_are_watched(at: int, length: int, found: str, optimise: str) -> None:
    outcome = run(SOURCE, optimise, size=24, at=at, length=length, found=found)
    finding = assert_written_after_free(outcome, 24, at, length)
    assert finding["detected"]["when"] == found


@pytest.mark.parametrize("size", [1, 16, 100, 1000, 20_000])
def test_freed_blocks_of_any_size_are_watched(size: int) -> None:
    assert_written_after_free(run(SOURCE, size=size, at=0, length=1, found="exit"), size, 0, 1)


@pytest.mark.parametrize(("size", "at", "length"), [(24, 23, 1), (100, 40, 8), (1000, 999, 1), (5000, 16, 4000)])
def test_poison_watches_all_of_a_freed_block(size: int, at: int, length: int) -> None:
    outcome = run(SOURCE, options=("--poison",), size=size, at=at, length=length, found="exit")
    finding = assert_written_after_free(outcome, size, at, length)
    assert finding["damage"]["copies"] == ["payload"]


@pytest.mark.parametrize("options", [(), ("--poison",)])
@pytest.mark.parametrize("found", ["malloc", "exit"])
@pytest.mark.parametrize("size", [24, 5000])
def test_the_clean_twin_gives_no_finding(size: int, found: str, options: tuple[str, ...]) -> None:
    run(SOURCE, options=options, size=size, at=0, length=16, found=found, clean=1).assert_clean()
