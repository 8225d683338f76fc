"""A program that attacks its supervisor from inside is limited and outlived, and a real bug in it is still told."""

import importlib
import subprocess
import sys
from pathlib import Path

import pytest
from run_support import FOUND, OVERFLOW, SOURCE, compiled, heapwitness_command, heapwitness_run, needs_engine

from heapwitness.native import library

pytestmark = needs_engine

MEGABYTE = 1 << 20

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks" / "fuzz"))
flood = importlib.import_module("flood")


@pytest.mark.parametrize("attack", flood.ATTACKS)
def test_a_flood_is_bounded_counted_and_outlived(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, attack: str) -> None:
    monkeypatch.setenv("PYTHONPATH", str(SOURCE))

    outcome = flood.flood(flood.build(tmp_path), attack, 2)

    assert outcome.status == FOUND
    assert outcome.memory < flood.MEMORY_LIMIT
    assert outcome.report + outcome.text < flood.REPORT_LIMIT
    assert not outcome.commands
    if attack in ("findings", "frames", "releases"):  # each is looked at or counted, the real one with them
        assert outcome.findings == outcome.times + 1
        assert 0 < outcome.dropped < outcome.findings
    if attack in ("commands", "garbage", "silence"):
        assert outcome.findings == 1
    if attack == "garbage":
        assert outcome.senseless > 0
    if attack not in ("forks", "releases"):  # these use up what all, or this process, may have looked at
        assert outcome.told


def test_no_name_of_the_program_reaches_the_terminal_as_a_command(tmp_path: Path) -> None:
    name = "\033]0;owned\a\033[31mred"
    program = tmp_path / name
    program.write_bytes(compiled(NAMED).read_bytes())
    program.chmod(0o755)

    result = heapwitness_run(program, name)
    missing = heapwitness_command("run", "--", tmp_path / (name + "2"))
    recorded = heapwitness_command("report", tmp_path / (name + "3"))

    assert result.status == FOUND
    assert result.findings[0]["detected"]["thread_name"].startswith("\033")
    for text in (result.stderr, missing.stderr, recorded.stderr):
        assert text and not [one for one in text if not one.isprintable() and one != "\n"]


NAMED = r"""
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
int main(int count, char **words)
{
    prctl(PR_SET_NAME, words[1]);
    char *block = malloc(24);
    memset(block, 'x', 27);
    free(block);
    free(block + 400);
    return 0;
}
"""


def test_a_log_does_not_grow_without_end(tmp_path: Path) -> None:
    log = tmp_path / "log"
    full = 256 * MEGABYTE + 1
    with open(log, "wb") as stream:
        stream.truncate(full)
    environment = {"LD_PRELOAD": str(library("preload")), "HEAPWITNESS_LOG": str(log)}

    done = subprocess.run([compiled(OVERFLOW)], env=environment, capture_output=True, text=True)

    assert (done.returncode, done.stdout) == (5, "done\n")
    assert log.stat().st_size == full
