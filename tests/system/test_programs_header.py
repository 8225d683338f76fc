"""Programs that overwrite control data without touching a block's edge."""

import pytest
from programs.harness import run

SOURCE = "wild.c"
SMALL, LARGE = 48, 20_000
"""Blocks without slack in a run, where a header has 8 bytes, and in a pool, where it has 16; backups lie behind."""


@pytest.mark.parametrize("optimise", ["-O0", "-O2"])
@pytest.mark.parametrize("found", ["free", "neighbour", "exit"])
@pytest.mark.parametrize(
    ("size", "at", "length", "copy"),
    [
        (SMALL, 1, 1, "header"),
        (SMALL, 2, 4, "header"),
        (SMALL, 4, 4, "header"),
        (SMALL, 8, 4, "backup"),
        (SMALL, 10, 4, "backup"),
        (SMALL, 14, 1, "backup"),
        (LARGE, 1, 1, "header"),
        (LARGE, 4, 4, "header"),
        (LARGE, 8, 8, "header"),
        (LARGE, 16, 4, "backup"),
        (LARGE, 18, 8, "backup"),
        (LARGE, 30, 1, "backup"),
    ],
)
def test_a_wild_store_is_located_exactly_and_repaired(
    size: int, at: int, length: int, copy: str, found: str, optimise: str
) -> None:
    outcome = run(SOURCE, optimise, size=size, at=at, length=length, found=found)
    finding = outcome.finding
    assert finding["kind"] == "header-overwrite"
    assert finding["culprit"] is None
    assert finding["damage"]["address"] == outcome.facts["before"] + size + at
    assert finding["damage"]["length"] == length
    assert finding["damage"]["offset"] is None
    assert finding["damage"]["copies"] == [copy]
    assert finding["repaired"]
    assert finding["header"]["restored_from"] == {"backup": "header", "header": "backup"}[copy]


@pytest.mark.parametrize("bit", range(8))
@pytest.mark.parametrize(("size", "at"), [(SMALL, 5), (SMALL, 13), (LARGE, 9), (LARGE, 25)])
def test_a_single_bit_is_found(size: int, at: int, bit: int) -> None:
    finding = run(SOURCE, size=size, at=at, length=1, flip=bit, found="exit").finding
    assert finding["kind"] == "header-overwrite"
    assert finding["damage"]["length"] == 1
    assert int(finding["damage"]["expected"], 16) ^ int(finding["damage"]["actual"], 16) == 1 << bit


@pytest.mark.parametrize(("size", "at", "length"), [(SMALL, 2, 12), (LARGE, 4, 20), (LARGE, 20, 8)])
def test_both_copies_in_one_place_are_restored(size: int, at: int, length: int) -> None:
    """From the middle of one copy into what follows it; each of the two has its other copy elsewhere."""
    outcome = run(SOURCE, size=size, at=at, length=length, found="free")
    assert outcome.finding["repaired"]


@pytest.mark.parametrize("found", ["free", "neighbour", "exit"])
def test_the_clean_twin_gives_no_finding(found: str) -> None:
    run(SOURCE, at=0, length=8, clean=1, found=found).assert_clean()
