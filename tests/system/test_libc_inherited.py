"""Programs that are started under seccomp filters which are not their own end as they would anyway."""

from pathlib import Path

import pytest
from libc.harness import build, engine, needs_engine, run

from heapwitness.layout.decode import read_events
from heapwitness.layout.events import Type

pytestmark = needs_engine

WAYS = ["launched", "by_a_parent", "signals"]
MOST_ARE_CASES = 25
"""Of the forbidden calls; glibc makes some of the others itself."""


@pytest.mark.parametrize("way", WAYS)
def test_program_ends_as_without_the_engine_whichever_call_is_forbidden(way: str, tmp_path: Path) -> None:
    outcome = run(build("inherited.c"), way, engine() or "", tmp_path / "log", with_engine=False)

    assert (outcome.status, outcome.stderr) == (0, "")
    assert int(outcome.stdout) >= MOST_ARE_CASES


@pytest.mark.parametrize("way", WAYS)
def test_each_finding_is_recorded_whichever_call_is_forbidden(way: str, tmp_path: Path) -> None:
    log = tmp_path / "log"

    outcome = run(build("inherited.c"), way, engine() or "", log, "damages", with_engine=False)

    assert (outcome.status, outcome.stderr) == (0, "")
    with log.open("rb") as stream:
        findings = [event for event in read_events(stream) if event.type is Type.FINDING]
    assert len(findings) == int(outcome.stdout)
