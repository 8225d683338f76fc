"""Children of clone that share the heap and have no thread storage of libc's: a sandbox's, say."""

import os

import pytest
from libc.harness import both_heaps, build, case_names, needs_engine, run

pytestmark = needs_engine

AS_ROOT = {"changes_root"}


@both_heaps
@pytest.mark.parametrize("case", case_names("foreign.c"))
def test_child_with_a_storage_of_its_own_ends_well(case: str, with_engine: bool) -> None:
    if case in AS_ROOT and os.geteuid() != 0:
        pytest.skip("needs root, to change it")
    if case == "allocates" and not with_engine:
        pytest.skip("glibc's own heap writes to what it takes for its storage")

    run(build("foreign.c"), case, with_engine=with_engine).assert_clean()
