"""A short fault campaign: no single damage is missed, and every header is restored. docs/faults.md has the long one."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from run_support import environment, needs_engine

pytestmark = needs_engine

ROOT = Path(__file__).parents[2]
CAMPAIGN = ROOT / "benchmarks" / "faults" / "run.py"
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


@pytest.mark.skipif(shutil.which("gcc") is None, reason="needs gcc")
def test_damage_of_every_kind_is_clean_under_the_sanitizers(tmp_path: Path) -> None:
    program = tmp_path / "bare"
    core, bare = ROOT / "native" / "core", ROOT / "benchmarks" / "faults" / "bare"
    sanitize = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
    command = ["gcc", "-std=gnu11", "-O2", "-g", *sanitize, f"-I{core}", *core.glob("*.c"), *bare.glob("*.c")]
    compiled = subprocess.run([*command, "-o", program], capture_output=True, text=True)
    if compiled.returncode and "sanitize" in compiled.stderr:
        pytest.skip("needs gcc's sanitizers")
    assert compiled.returncode == 0, compiled.stderr

    done = subprocess.run([program, "7", "0", "20000"], capture_output=True, text=True)

    assert done.returncode == 0, done.stderr
