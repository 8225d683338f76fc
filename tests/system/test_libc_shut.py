"""Pages of blocks that may not be read, and what programs are told of their own: as with glibc's heap."""

from collections.abc import Mapping

import pytest
from libc.harness import both_heaps, build, case_names, needs_engine, run

pytestmark = needs_engine


@both_heaps
@pytest.mark.parametrize("case", case_names("shut.c"))
def test_program_sees_what_it_sees_without_the_engine(case: str, with_engine: bool) -> None:
    run(build("shut.c"), case, with_engine=with_engine).assert_clean()


@pytest.mark.parametrize(
    "options",
    [{"HEAPWITNESS_CHECK_EVERY": "1"}, {"HEAPWITNESS_STACKS": "full", "HEAPWITNESS_TRAP_SAMPLE": "1/2"}],
    ids=["checks", "traps"],
)
@pytest.mark.parametrize("case", case_names("shut.c"))
def test_so_it_does_with_options(case: str, options: Mapping[str, str]) -> None:
    run(build("shut.c"), case, environment=options).assert_clean()
