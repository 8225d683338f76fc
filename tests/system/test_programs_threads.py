"""Damage and release across threads."""

import pytest
from programs.harness import FOUND, allocated_at, line_of, run

SOURCE = "threads.c"
CASES = ["ended", "inherited", "handed", "asking", "waiting"]


@pytest.mark.parametrize("optimise", ["-O0", "-O2"])
@pytest.mark.parametrize("what", CASES)
@pytest.mark.parametrize("length", [3, 20])
def test_damage_by_another_thread_is_found_with_its_block(what: str, length: int, optimise: str) -> None:
    finding = run(SOURCE, optimise, what=what, extra=length).finding
    assert finding["kind"] == "heap-buffer-overflow"
    assert finding["culprit"]["size"] == 40
    assert allocated_at(finding["culprit"], SOURCE) == line_of(SOURCE, "culprit: malloc")
    assert finding["damage"]["offset"] == 0
    assert length - 1 <= finding["damage"]["length"] <= length


def test_every_thread_of_a_crowd_is_heard() -> None:
    outcome = run(SOURCE, what="crowd")
    assert outcome.status == FOUND
    assert "done" in outcome.stdout
    assert {finding["kind"] for finding in outcome.findings} == {"heap-buffer-overflow"}
    assert {finding["culprit"]["size"] for finding in outcome.findings} == {40}
    assert sum(finding["count"] for finding in outcome.findings) == 8


@pytest.mark.parametrize("what", [*CASES, "crowd"])
def test_the_clean_twin_gives_no_finding(what: str) -> None:
    run(SOURCE, what=what, clean=1).assert_clean()
