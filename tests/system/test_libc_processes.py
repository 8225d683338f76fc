"""Forks, spawned programs and changed privileges: what works with glibc's heap works with the checked one."""

import pytest
from libc.harness import both_heaps, build, case_names, needs_engine, run

pytestmark = needs_engine


@both_heaps
@pytest.mark.parametrize("case", case_names("processes.c"))
def test_processes_are_made_and_end_as_ever(case: str, with_engine: bool) -> None:
    run(build("processes.c"), case, with_engine=with_engine).assert_clean()
