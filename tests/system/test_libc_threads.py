"""Threads that start, are cancelled, end and vanish while they use the heap."""

import pytest
from libc.harness import both_heaps, build, case_names, needs_engine, run

pytestmark = needs_engine

# A thread that is cancelled inside of glibc's malloc takes a lock with it.
BEYOND_GLIBC = {"cancel_inside_of_malloc"}
# More threads than a container or a user may be allowed.
MANY = {"ten_thousands_of_threads"}


@both_heaps
@pytest.mark.parametrize("case", case_names("threads.c"))
def test_threads_come_and_go_in_all_ways(case: str, with_engine: bool) -> None:
    if not with_engine and case in BEYOND_GLIBC:
        pytest.skip("deadlocks with glibc's heap")
    if case in MANY and run(build("threads.c"), case, with_engine=False).status != 0:
        pytest.skip("the system does not allow so many threads")
    run(build("threads.c"), case, with_engine=with_engine).assert_clean()
