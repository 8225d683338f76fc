"""What traps tell is true: no store is named that did not leave its block, and each that did is."""

import json
from collections import Counter
from functools import cache
from pathlib import Path

import pytest
from hunt_support import line_of_store
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from programs.harness import build, line_of
from run_support import FOUND, WORK, heapwitness_run, needs_engine

pytestmark = needs_engine

SOURCE = "scenarios.c"
KINDS = {
    "wrong store": {"heap-buffer-overflow", "use-after-free-write"},
    "wrong read": {"use-after-free-read"},
}


@cache
def sites(optimise: str) -> Path:
    """A report that names the allocation sites of the program, whose blocks are then trapped."""
    file = WORK / f"sites{optimise}.json"
    result = heapwitness_run(build(SOURCE, optimise), "1", "1", "0", "1", "damage", options=("--stacks", "caller"))
    file.write_text(json.dumps(result.report))
    return file


def trapped(optimise: str, seed: int, blocks: int, one_in: int, threads: int) -> tuple[int, int, Counter[str]]:
    """The status, how many accesses were wrong, and how many of which were told; all blocks are trapped."""
    words = map(str, (seed, blocks, one_in, threads))
    result = heapwitness_run(build(SOURCE, optimise), *words, options=("--traps", str(sites(optimise))))
    told: Counter[str] = Counter()
    for finding in result.findings:
        (name,) = (name for name in KINDS if line_of_store(finding, SOURCE) == line_of(SOURCE, name))
        assert finding["kind"] in KINDS[name] and finding["certain"]
        told[name] += finding["count"]
    assert result.report["summary"]["trapped"] > 0.99 * blocks * threads
    return result.status, int(result.stdout.split()[0]), told


# Not shrunk: each try runs a program.
@settings(max_examples=8, phases=(Phase.generate,))
@given(
    seed=st.integers(0, 1 << 30),
    one_in=st.sampled_from((3, 10, 50)),
    threads=st.integers(1, 4),
    optimise=st.sampled_from(("-O0", "-O2")),
)
def test_every_access_that_leaves_its_block_is_told_and_no_other(
    seed: int, one_in: int, threads: int, optimise: str
) -> None:
    status, wrong, told = trapped(optimise, seed, 90, one_in, threads)

    assert told.total() == wrong
    assert status == (FOUND if wrong else 0)


@pytest.mark.parametrize("threads", [1, 4])
def test_thousands_of_blocks_that_are_used_as_they_may_be_are_no_finding(threads: int) -> None:
    status, wrong, told = trapped("-O2", 7, 8000 // threads, 0, threads)

    assert (status, wrong, told.total()) == (0, 0, 0)
