"""Damage in programs that have no descriptor and no memory left is told all the same."""

import pytest
from libc.harness import build, case_names, needs_engine, run
from programs.harness import FOUND, run_command

pytestmark = needs_engine

CASES = case_names("poor.c")
MAY_WRITE = [case for case in CASES if not case.endswith("may_not_write")]


@pytest.mark.parametrize("case", MAY_WRITE)
def test_damage_is_recorded(case: str) -> None:
    outcome = run(build("poor.c"), case)

    assert (outcome.status, outcome.stderr, len(outcome.findings)) == (0, "", 1)


@pytest.mark.parametrize("case", CASES)
def test_damage_is_reported(case: str) -> None:
    outcome = run_command(build("poor.c"), case)

    assert outcome.status == FOUND, outcome.stderr
    assert [(one["kind"], one["count"]) for one in outcome.findings] == [("heap-buffer-overflow", 1)]
    assert outcome.report["warnings"] == []
