"""What processes find after they have become another user's is told, or it is said that it cannot be."""

import os
import subprocess
from pathlib import Path

import pytest
from libc.harness import build, engine, needs_engine
from programs.harness import FOUND, run_command

from heapwitness.layout.decode import read_events
from heapwitness.layout.events import Event, Type

pytestmark = [needs_engine, pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to give it up")]

IN_ONE_PROGRAM = ["setuid", "setreuid", "setresuid", "seteuid"]


def run_alone(case: str, log: Path) -> tuple[str, list[Event]]:
    """Without a supervisor, with a log that the engine makes itself; what is on stderr, and the findings."""
    variables = {"LD_PRELOAD": str(engine()), "HEAPWITNESS_LOG": str(log)}
    command = [build("users.c"), case]
    done = subprocess.run(command, env=os.environ | variables, capture_output=True, text=True, timeout=60, check=True)
    with log.open("rb") as stream:
        return done.stderr, [event for event in read_events(stream) if event.type is Type.FINDING]


@pytest.mark.parametrize("case", IN_ONE_PROGRAM)
def test_log_of_the_first_user_takes_what_the_program_finds_as_another(case: str, tmp_path: Path) -> None:
    said, findings = run_alone(case, tmp_path / "log")

    assert said == ""
    assert len({event.pid for event in findings}) == len(findings) == 2


def test_program_that_may_not_write_to_the_log_says_so(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)

    said, findings = run_alone("becomes_itself", tmp_path / "log")

    assert findings == []
    assert said.count("the log belongs to another user") == 1


@pytest.mark.parametrize("case", [*IN_ONE_PROGRAM, "setuid_and_no_file_may_grow"])
def test_what_a_program_finds_as_another_user_is_heard(case: str) -> None:
    outcome = run_command(build("users.c"), case)

    assert outcome.status == FOUND, outcome.stderr
    assert [(one["kind"], one["count"]) for one in outcome.findings] == [("heap-buffer-overflow", 2)]
    assert outcome.report["warnings"] == []


def test_program_that_can_reach_nothing_any_more_says_so_on_stderr() -> None:
    outcome = run_command(build("users.c"), "setuid_and_no_file_is_left")

    assert outcome.status == 0
    assert outcome.stderr.count("damage was found and repaired, but cannot be told from in here") == 1
    assert outcome.stderr.count("ended unchecked") == 1
