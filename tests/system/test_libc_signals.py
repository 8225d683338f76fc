"""Signal handlers that allocate although they must not never find a deadlock.

With glibc's heap most of these programs die or wait for themselves.
"""

import pytest
from libc.harness import build, case_names, needs_engine, run

pytestmark = needs_engine


@pytest.mark.parametrize("case", case_names("signals.c"))
def test_handler_that_allocates_does_no_harm(case: str) -> None:
    run(build("signals.c"), case).assert_clean()


@pytest.mark.parametrize("case", ["jumps", "jumps_among_large"])
def test_handler_that_leaves_while_blocks_are_held_back_does_no_harm(case: str) -> None:
    run(build("signals.c"), case, environment={"HEAPWITNESS_POISON": "1"}).assert_clean()
