"""What traps tell is true: no store is named that did not leave its block, and each that did is."""

import json
from collections import Counter
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hunt_support import line_of_store, needs_watchpoints
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from programs.harness import build, line_of
from run_support import FOUND, WORK, Result, heapwitness_run, needs_engine

from heapwitness.supervise.traps import traps_asked_for

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


BESIDE = "strays.c"


@cache
def sites_beside() -> tuple[str, ...]:
    """The names of the allocation sites of the program whose wrong stores hit control data and slack."""
    file = WORK / "beside.json"
    words = ("1", "1", "0", "1", "damage")
    file.write_text(json.dumps(heapwitness_run(build(BESIDE), *words, options=("--stacks", "caller")).report))
    return tuple(str(one).partition(":")[2] for one in traps_asked_for((), file))


def watched(
    seed: int, steps: int, one_in: int, threads: int, offsets: Sequence[int], *, guarded: bool = False
) -> tuple[int, Result]:
    """How many stores were wrong, and the run; bytes so far from blocks are watched, and those may be guarded, too."""
    traps = [f"end:{site}" for site in sites_beside() if guarded]
    traps += [f"watch{offset:+x}:{site}" for site in sites_beside() for offset in offsets]
    options = tuple(word for trap in traps for word in ("--trap", trap))
    result = heapwitness_run(build(BESIDE), *map(str, (seed, steps, one_in, threads)), options=options)
    return int(result.stdout.split()[0]), result


def changed(finding: dict[str, Any]) -> int:
    """The bits that differ at the byte of a finding's store."""
    damage = finding["damage"]
    at = 2 * (finding["store"]["address"] - damage["address"])
    return int(damage["expected"][at : at + 2], 16) ^ int(damage["actual"][at : at + 2], 16)


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


@needs_watchpoints
# Not shrunk: each try runs a program.
@settings(max_examples=6, phases=(Phase.generate,))
@given(
    seed=st.integers(0, 1 << 30),
    one_in=st.sampled_from((10, 40)),
    threads=st.integers(1, 4),
    offsets=st.lists(st.sampled_from((0, 4, 8, -16, -12, -8, -4)), min_size=1, max_size=3, unique=True),
    guarded=st.booleans(),
)
def test_watched_store_that_is_told_is_the_one_that_did_the_damage(
    seed: int, one_in: int, threads: int, offsets: list[int], guarded: bool
) -> None:
    wrong, result = watched(seed, 2000, one_in, threads, offsets, guarded=guarded)

    assert result.status == (FOUND if wrong else 0)
    for finding in result.findings:
        if finding["store"] is None:
            continue
        lines: tuple[str, ...] = ("odd", "even")
        if finding["damage"] is not None:
            lines = ("odd",) if changed(finding) & 1 else ("even",)
        assert line_of_store(finding, BESIDE) in [line_of(BESIDE, one) for one in lines]


@needs_watchpoints
def test_watchpoints_catch_some_of_the_stores_that_chance_has_beside_them() -> None:
    stores = [one["store"] for seed in range(4) for one in watched(seed, 2000, 10, 2, (-16, 0))[1].findings]

    assert len([one for one in stores if one is not None]) > 0


@needs_watchpoints
@pytest.mark.parametrize(("threads", "guarded"), [(1, False), (4, False), (1, True), (4, True)])
def test_blocks_that_are_watched_and_used_as_they_may_be_are_no_finding(threads: int, guarded: bool) -> None:
    wrong, result = watched(7, 20_000 // threads, 0, threads, (-16, -12, -8, -4, 0, 8), guarded=guarded)

    assert (result.status, wrong, result.findings) == (0, 0, [])
    assert result.report["summary"]["watched"] > 100
