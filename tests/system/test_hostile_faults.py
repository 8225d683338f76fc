"""A short fault campaign: no single damage is missed, and every header is restored. docs/faults.md has the long one."""

import subprocess
import sys
from pathlib import Path

import pytest
from run_support import environment, needs_engine

pytestmark = needs_engine

CAMPAIGN = Path(__file__).parents[2] / "benchmarks" / "faults" / "run.py"
LEVELS = {"bare": 40_000, "core": 320, "engine": 230, "run": 0}


@pytest.mark.parametrize("level", ["bare", "core", "engine"])
def test_damage_of_every_kind_is_detected_and_headers_are_restored(tmp_path: Path, level: str) -> None:
    wanted = [word for one, runs in LEVELS.items() for word in (f"--{one}", str(runs if one == level else 0))]
    page = tmp_path / "faults.md"
    command = [sys.executable, CAMPAIGN, *wanted, "--jobs", "1", "--state", tmp_path, "--markdown", page]

    done = subprocess.run(command, capture_output=True, text=True, env=environment())

    assert done.returncode == 0, done.stdout + done.stderr
    table = page.read_text().split("| damage | runs | detected |", 1)[1].split("\n\n", 1)[0]
    detected = {row.split(" | ")[0]: row.split(" | ")[2] for row in table.splitlines()[2:]}
    assert len(detected) > 12
    assert set(detected.values()) == {"100"}
