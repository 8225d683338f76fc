"""Which pages the engine's heap asks the kernel for, and which it gives back."""

from pathlib import Path

import pytest
from libc.harness import build, case_names, needs_engine, run

pytestmark = [
    needs_engine,
    pytest.mark.skipif(not Path("/sys/kernel/mm/transparent_hugepage").exists(), reason="needs large pages"),
]


@pytest.mark.parametrize("case", case_names("pages.c"))
def test_memory_is_asked_for_and_given_back_in_good_time(case: str) -> None:
    run(build("pages.c"), case, with_engine=True).assert_clean()
