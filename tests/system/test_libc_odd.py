"""Pointers that are no blocks, at and before the start of the first run and pool, are wrong releases, no more."""

from libc.harness import build, needs_engine, run

from heapwitness.layout.events import Reason

pytestmark = needs_engine


def test_each_release_around_the_start_of_a_run_and_a_pool_is_told_as_a_wrong_one() -> None:
    outcome = run(build("odd.c"))

    assert (outcome.status, outcome.stderr) == (0, "")
    assert [event.reason for event in outcome.findings] == [Reason.INVALID] * int(outcome.stdout)
