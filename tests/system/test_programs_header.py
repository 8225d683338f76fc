"""Programs that overwrite control data without touching a block's edge."""

import pytest
from programs.harness import run

SOURCE = "wild.c"
HEADER, BACKUP = 0, 16


@pytest.mark.parametrize("optimise", ["-O0", "-O2"])
@pytest.mark.parametrize("found", ["free", "neighbour", "exit"])
@pytest.mark.parametrize(
    ("at", "length", "copy"),
    [
        (HEADER + 1, 1, "header"),
        (HEADER + 4, 4, "header"),
        (HEADER + 8, 8, "header"),
        (BACKUP, 4, "backup"),
        (BACKUP + 2, 8, "backup"),
        (BACKUP + 14, 1, "backup"),
    ],
)
def test_a_wild_store_is_located_exactly_and_repaired(
    at: int, length: int, copy: str, found: str, optimise: str
) -> None:
    outcome = run(SOURCE, optimise, at=at, length=length, found=found)
    finding = outcome.finding
    assert finding["kind"] == "header-overwrite"
    assert finding["culprit"] is None
    assert finding["damage"]["address"] == outcome.facts["before"] + 48 + at
    assert finding["damage"]["length"] == length
    assert finding["damage"]["offset"] is None
    assert finding["damage"]["copies"] == [copy]
    assert finding["repaired"]
    assert finding["header"]["restored_from"] == {"backup": "header", "header": "backup"}[copy]


@pytest.mark.parametrize("bit", range(8))
@pytest.mark.parametrize("at", [BACKUP + 9, HEADER + 9])
def test_a_single_bit_is_found(at: int, bit: int) -> None:
    finding = run(SOURCE, at=at, length=1, flip=bit, found="exit").finding
    assert finding["kind"] == "header-overwrite"
    assert finding["damage"]["length"] == 1
    assert int(finding["damage"]["expected"], 16) ^ int(finding["damage"]["actual"], 16) == 1 << bit


@pytest.mark.parametrize(("at", "length"), [(HEADER + 4, 20), (BACKUP + 4, 20)])
def test_both_copies_in_one_place_are_restored(at: int, length: int) -> None:
    """From the middle of one copy into what follows it; each of the two has its other copy elsewhere."""
    outcome = run(SOURCE, at=at, length=min(length, 28 - at), found="free")
    assert outcome.finding["repaired"]


@pytest.mark.parametrize("found", ["free", "neighbour", "exit"])
def test_the_clean_twin_gives_no_finding(found: str) -> None:
    run(SOURCE, at=HEADER, length=8, clean=1, found=found).assert_clean()
