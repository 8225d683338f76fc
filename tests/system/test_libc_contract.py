"""What the standards and glibc promise about single calls holds on the checked heap, too."""

import pytest
from libc.harness import both_heaps, build, case_names, needs_engine, run

pytestmark = needs_engine


@both_heaps
@pytest.mark.parametrize("case", case_names("contract.c"))
def test_calls_keep_what_the_manual_promises(case: str, with_engine: bool) -> None:
    run(build("contract.c"), case, with_engine=with_engine).assert_clean()


@pytest.mark.parametrize("case", case_names("contract.c"))
@pytest.mark.parametrize("variable", ["HEAPWITNESS_POISON", "LD_BIND_NOW"])
def test_they_do_with_other_settings(case: str, variable: str) -> None:
    run(build("contract.c"), case, environment={variable: "1"}).assert_clean()
