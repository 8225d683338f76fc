"""Checks of the whole heap that a program leaves in the middle do not keep later ones from being done."""

import signal

import pytest
from libc.harness import build, case_names, needs_engine, run

from heapwitness.layout.events import When

pytestmark = needs_engine


@pytest.mark.parametrize("case", case_names("checks.c"))
def test_check_is_done_after_others_were_left(case: str) -> None:
    outcome = run(build("checks.c"), case, environment={"HEAPWITNESS_CHECK_SIGNAL": str(int(signal.SIGUSR2))})

    assert (outcome.status, outcome.stdout) == (0, "asked\n")
    assert [event.when for event in outcome.findings] == [When.CHECK]
