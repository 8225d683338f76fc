"""What is damaged where an operation of the heap was left by a jump is told; what the operation left is no damage."""

from libc.harness import build, needs_engine
from run_support import FOUND, heapwitness_run

pytestmark = needs_engine


def test_damage_is_told_though_an_operation_was_left() -> None:
    result = heapwitness_run(build("left.c"), "is_damaged_in_two_places")

    assert result.status == FOUND, result.stderr
    found = [one for one in result.findings if one["damage"] and one["damage"]["length"] == 1]
    assert sum(one["count"] for one in found) == 2
    assert {one["kind"] for one in found} == {"heap-buffer-overflow"}


def test_operations_that_were_left_are_no_findings() -> None:
    result = heapwitness_run(build("left.c"), "is_healthy")

    assert (result.status, result.findings) == (0, []), result.stderr
