"""Trapped blocks that a check looks at just when they are released."""

from libc.harness import build, needs_engine, run

pytestmark = needs_engine


def test_a_release_of_a_trapped_block_that_is_being_checked_is_right() -> None:
    outcome = run(build("trapped.c"), environment={"HEAPWITNESS_TRAP_SAMPLE": "2"})

    outcome.assert_clean()
