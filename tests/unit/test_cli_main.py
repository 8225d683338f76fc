"""The command line as a whole: what it loads, how it fails."""

import subprocess
import sys
from pathlib import Path

import pytest

import heapwitness
from heapwitness.cli.group import COMMANDS
from heapwitness.cli.main import main

SOURCE = Path(heapwitness.__file__).parents[1]
HEAVY = ("drgn", "rich", "pystack", "jinja2", "numpy", "elftools", "kconfiglib")
UNNEEDED = (*HEAVY, "click", "msgspec", "dataclasses", "inspect", "hashlib", "json", "subprocess", "ctypes")
"""What a run needs when something is found, or when its command line is explained."""


def imported(*words: str) -> set[str]:
    """The top-level modules that a command imports."""
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "heapwitness", *words],
        capture_output=True,
        text=True,
        env={"PYTHONPATH": str(SOURCE), "PATH": "/usr/bin:/bin"},
        timeout=60,
    )
    lines = [line for line in done.stderr.splitlines() if line.startswith("import time:")]
    return {line.rpartition("|")[2].strip().partition(".")[0] for line in lines}


def test_help_loads_no_subcommand() -> None:
    assert "heapwitness" in imported("--help")
    assert not imported("--help") & set(HEAVY)


def test_run_without_findings_loads_only_what_it_uses() -> None:
    assert not imported("run", "--", "true") & set(UNNEEDED)


def test_mistake_is_one_sentence_and_status_2(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["report"])

    assert ended.value.code == 2
    text = capsys.readouterr().err
    assert text == "heapwitness: missing argument 'FILE'; `heapwitness report --help` lists what there is.\n"


def test_version_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--version"])

    assert ended.value.code == 0
    assert heapwitness.__version__ in capsys.readouterr().out


def test_module_can_be_run() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "heapwitness", "--help"],
        capture_output=True,
        text=True,
        env={"PYTHONPATH": str(SOURCE)},
        check=True,
    )

    assert all(name in done.stdout for name in COMMANDS)
