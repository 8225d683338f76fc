"""A change of the 16 bytes before or behind a big block is told at that block's release or resize, as that block's."""

import pytest
from libc.harness import build
from run_support import FOUND, heapwitness_run, needs_engine

pytestmark = needs_engine

SIZES, PLACES = 4, 32


@pytest.mark.parametrize("operation", ["released", "resized"])
@pytest.mark.parametrize("how", ["plain", "on_a_page", "far_aligned", "grown", "moved", "shrunk"])
def test_each_change_beside_a_big_block_is_told_when_that_block_is_released_or_resized(
    how: str, operation: str
) -> None:
    result = heapwitness_run(build("edges.c"), f"{how}_{operation}")

    blocks = {int(line) for line in result.stdout.split()}
    assert result.status == FOUND, result.stderr
    assert sum(one["count"] for one in result.findings) == SIZES * PLACES
    assert {one["detected"]["when"] for one in result.findings} == {"free" if operation == "released" else "realloc"}
    for one in result.findings:
        named = [one[role]["address"] for role in ("culprit", "suspect", "victim", "previous") if one[role]]
        assert blocks.intersection(named), one
        assert one["repaired"]
