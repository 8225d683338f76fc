"""Damage on one side of a fork."""

import pytest
from programs.harness import allocated_at, build, line_of, run

SOURCE = "forks.c"


@pytest.mark.parametrize("optimise", ["-O0", "-O2"])
@pytest.mark.parametrize("what", ["child", "own", "exit"])
def test_damage_by_a_forked_child_is_found_in_the_child_only(what: str, optimise: str) -> None:
    outcome = run(SOURCE, optimise, what=what)
    finding = outcome.finding
    assert finding["kind"] == "heap-buffer-overflow"
    assert finding["culprit"]["size"] == 40
    assert finding["detected"]["pid"] == outcome.facts["child"]
    assert allocated_at(finding["culprit"], SOURCE) == line_of(SOURCE, "culprit: malloc")
    assert outcome.facts["child_status"] == 7


@pytest.mark.parametrize("before", ["joined", "alive"])
@pytest.mark.parametrize("what", ["child", "own", "exit", "tree"])
def test_damage_by_a_child_is_found_though_other_threads_had_heaps(what: str, before: str) -> None:
    finding = run(SOURCE, what=what, before=before).finding
    assert (finding["kind"], finding["culprit"]["size"]) == ("heap-buffer-overflow", 40)


def test_damage_by_the_parent_is_found_in_the_parent_only() -> None:
    outcome = run(SOURCE, what="parent")
    assert outcome.finding["detected"]["pid"] == outcome.facts["pid"]
    assert outcome.facts["child_status"] == 7


@pytest.mark.parametrize("what", ["exec", "spawn"])
def test_a_program_that_a_child_executes_is_watched(what: str) -> None:
    finding = run(SOURCE, what=what, program=build("overflow.c")).finding
    assert finding["kind"] == "heap-buffer-overflow"
    assert finding["culprit"]["size"] == 24


def test_a_child_three_forks_deep_is_watched() -> None:
    outcome = run(SOURCE, what="tree")
    assert outcome.finding["kind"] == "heap-buffer-overflow"
    assert outcome.facts["child_status"] == 0


@pytest.mark.parametrize("what", ["child", "own", "exit", "parent", "exec", "spawn", "tree"])
def test_the_clean_twin_gives_no_finding(what: str) -> None:
    run(SOURCE, what=what, clean=1, program=build("overflow.c")).assert_clean()
