"""What is written right before or behind a block is told at that block's own release, whatever its size."""

import pytest
from programs.harness import run

SOURCE = "beside.c"
SIZES = (1, 16, 24, 48, 120, 128, 1000, 1008, 1024, 1040, 2400, 4096, 32768, 100_000, 1 << 20)
WHEN = {"free": {"free"}, "realloc": {"realloc"}, "thread": {"malloc", "free"}}


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(
    ("at", "length", "kind"),
    [
        (0, 1, "heap-buffer-overflow"),
        (0, 8, "heap-buffer-overflow"),
        (0, 16, "heap-buffer-overflow"),
        (-1, 1, "heap-buffer-underflow"),
        (-8, 8, "heap-buffer-underflow"),
    ],
)
def test_the_block_is_told_at_its_own_release(size: int, at: int, length: int, kind: str) -> None:
    outcome = run(SOURCE, how="free", size=size, at=at, length=length)

    finding = outcome.finding
    assert (finding["kind"], finding["detected"]["when"]) == (kind, "free")
    assert finding["culprit"]["address"] == outcome.facts["block"]
    assert finding["culprit"]["size"] == size


@pytest.mark.parametrize("size", [48, 4096])
def test_all_between_two_blocks_without_slack_may_have_come_from_either(size: int) -> None:
    outcome = run(SOURCE, how="free", size=size, at=-16, length=16)

    finding = outcome.finding
    assert not finding["certain"]
    assert {reading["kind"] for reading in finding["readings"]} >= {"heap-buffer-overflow", "heap-buffer-underflow"}


@pytest.mark.parametrize("how", ["free", "realloc", "thread"])
@pytest.mark.parametrize("at", [0, 1, 7, 8, 15, -1, -8, -9, -16])
def test_no_byte_beside_a_block_of_any_size_goes_unnoticed_at_its_release(how: str, at: int) -> None:
    outcome = run(SOURCE, how=how, size=20, at=at, rounds=100)

    assert sum(finding["count"] for finding in outcome.findings) == 100
    assert {finding["detected"]["when"] for finding in outcome.findings} <= WHEN[how]
    assert all(finding["repaired"] for finding in outcome.findings)
