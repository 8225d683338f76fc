"""Programs as others write them: `heapwitness hunt` tells the marked lines, all of them, and no other."""

import subprocess

import pytest
from hunt_support import Hunted, heapwitness_hunt, line_of_store
from programs.harness import build, line_of
from run_support import FOUND, needs_engine

pytestmark = needs_engine

SOURCES = ("hunted.c", "hunted.cpp")


def cases(source: str, optimise: str) -> dict[int, str]:
    """The cases of a program by their marked lines."""
    names = subprocess.run([build(source, optimise)], capture_output=True, text=True, check=True).stdout.split()
    return {line_of(source, name): name for name in names}


def told(hunted: Hunted, source: str) -> set[int | None]:
    return {line_of_store(one, source) for one in hunted.stores if one["access"] == "write"}


@pytest.mark.parametrize("optimise", ["-O0", "-O2"])
@pytest.mark.parametrize("source", SOURCES)
def test_each_wrong_line_of_a_program_is_told_and_no_other(source: str, optimise: str) -> None:
    marked = cases(source, optimise)

    hunted = heapwitness_hunt(build(source, optimise), *marked.values())

    lines = told(hunted, source)
    assert (hunted.status, {marked.get(line or 0, line) for line in lines}) == (FOUND, set(marked.values()))
    assert hunted.stdout.count("done") == hunted.tries
    assert all(one["certain"] for one in hunted.stores)
    # One line is one finding, however many instructions it has.
    writes = [one for one in hunted.stores if one["access"] == "write"]
    assert len({(one["kind"], line_of_store(one, source)) for one in writes}) == len(writes)


@pytest.mark.parametrize(
    "name",
    [
        "inside_after_release",
        "one_at_the_start_after_release",
        "zero_at_the_start_after_release",
        "after_others_took_its_place",
        "one_byte_of_slack",
        "loop_downwards",
        "memcpy_before",
        "forked_child",
        "destructor_of_a_key",
        "signal_handler",
        "released_by_a_function",
    ],
)
def test_line_alone_is_told_after_two_runs(name: str) -> None:
    source = "hunted.c"

    hunted = heapwitness_hunt(build(source), name, options=("--tries", "2"))

    assert (hunted.status, told(hunted, source)) == (FOUND, {line_of(source, name)})
    assert [one["store"] is None for one in hunted.report["findings"]] == [False]
