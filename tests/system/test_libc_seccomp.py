"""Programs that forbid themselves system calls by seccomp end as they would anyway, and what is found is told."""

import platform
import re

import pytest
from libc.harness import SOURCES, both_heaps, build, case_names, needs_engine, run
from programs.harness import FOUND, run_command

pytestmark = needs_engine

CASES = case_names("seccomp.c")
DAMAGED = [
    "strictly",
    "may_neither_connect_nor_write",
    "starts_another_program_as_vfork_does",
    "confines_one_thread",
    "fails_to",
]
_LIST = (SOURCES / "seccomp.c").read_text().partition("int each[] = {")[2].partition("};")[0]
CALLS = len(set(re.findall(r"\bSYS_\w+,", _LIST))) - (platform.machine() != "x86_64")
EACH_IN_A_CHILD = ["does_without_any", "gets_signals_for_them", "gets_errors_for_them"]


@both_heaps
@pytest.mark.parametrize("case", CASES)
def test_program_ends_well(case: str, with_engine: bool) -> None:
    if case in EACH_IN_A_CHILD and not with_engine:
        pytest.skip("glibc makes some of these calls itself; the children tell which")

    outcome = run(build("seccomp.c"), case, with_engine=with_engine)

    assert (outcome.status, outcome.stderr) == (0, "")


@pytest.mark.parametrize("case", DAMAGED)
def test_damage_is_recorded(case: str) -> None:
    outcome = run(build("seccomp.c"), case)

    assert len(outcome.findings) == 1


@pytest.mark.parametrize("case", EACH_IN_A_CHILD)
def test_damage_in_each_child_is_recorded_whichever_call_it_lacks(case: str) -> None:
    outcome = run(build("seccomp.c"), case)

    assert len({event.pid for event in outcome.findings}) == len(outcome.findings) == CALLS


@pytest.mark.parametrize("case", DAMAGED)
def test_damage_is_reported_with_its_place(case: str) -> None:
    outcome = run_command(build("seccomp.c"), case)

    assert outcome.status == FOUND, outcome.stderr
    assert [(one["kind"], one["count"], one["repaired"]) for one in outcome.findings] == [
        ("heap-buffer-overflow", 1, True)
    ]
    frames = outcome.findings[0]["culprit"]["allocated"]["stack"]
    assert frames[0]["function"] == "write_past_a_block"
