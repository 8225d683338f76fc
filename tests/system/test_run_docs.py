"""Every command of the pages below works as it is written."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from run_support import FOUND, HEAPWITNESS, environment, needs_engine

ROOT = Path(__file__).parents[2]
PAGES = {name: ROOT / "docs" / f"{name}.md" for name in ("run", "settings", "hunt", "documents", "python")}

pytestmark = [needs_engine, pytest.mark.skipif(shutil.which("make") is None, reason="needs make")]


@pytest.mark.parametrize("page", PAGES)
def test_commands_run_and_find_what_is_there(page: str, tmp_path: Path) -> None:
    examples = tmp_path / "examples"
    shutil.copytree(ROOT / "examples", examples, ignore=shutil.ignore_patterns("build"))
    subprocess.run(["make", "-s", "-C", examples, "all"], check=True)
    command = tmp_path / "heapwitness"
    command.write_text("#!/bin/sh\nexec " + " ".join(HEAPWITNESS) + ' "$@"\n')
    command.chmod(0o755)
    path = f"{tmp_path}:{os.environ['PATH']}"
    lines = re.findall(r"^\$ (.*)$", PAGES[page].read_text(), re.MULTILINE)

    assert len(lines) > 3
    for line in lines:
        done = subprocess.run(
            ["bash", "-c", line], cwd=examples, env=environment(PATH=path), capture_output=True, text=True, timeout=60
        )
        assert done.returncode in (0, FOUND), (line, done)
        if "report" in line and "--baseline" not in line:
            assert done.returncode == FOUND, (line, done)


@pytest.mark.parametrize("page", ["run", "hunt"])
def test_every_option_is_described(page: str) -> None:
    shown = subprocess.run([*HEAPWITNESS, page, "--help"], capture_output=True, text=True, env=environment())
    text = PAGES["run"].read_text() + PAGES[page].read_text()

    for option in re.findall(r"^  (?:-h, )?(--[a-z-]+)", shown.stdout, re.MULTILINE):
        assert option == "--help" or f"`{option}" in text, option
