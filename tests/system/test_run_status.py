"""What a program and its user see of `heapwitness run`: status, streams, files."""

import json
import re
import subprocess
from pathlib import Path

import pytest
from run_support import (
    ERROR,
    FOUND,
    HEAPWITNESS,
    OVERFLOW,
    compiled,
    environment,
    heapwitness_command,
    heapwitness_run,
    needs_engine,
)

pytestmark = needs_engine


@pytest.mark.parametrize(("command", "status"), [("exit 0", 0), ("exit 7", 7), ("kill -TERM $$", 143)])
def test_status_without_findings_is_the_program_s_own(command: str, status: int) -> None:
    result = heapwitness_run("sh", "-c", command)

    assert result.status == status
    assert result.report["program"]["exit_status"] == status
    assert result.findings == []


def test_finding_gives_its_own_status_and_keeps_the_program_s_in_the_report() -> None:
    result = heapwitness_run(compiled(OVERFLOW))

    assert result.status == FOUND
    assert result.report["program"]["exit_status"] == 5
    assert result.stdout == "done\n"


@pytest.mark.parametrize(("code", "status"), [("3", 3), ("0", 5)])
def test_status_with_findings_can_be_chosen(code: str, status: int) -> None:
    assert heapwitness_run(compiled(OVERFLOW), options=("--error-exitcode", code)).status == status


def test_finding_names_the_block_the_extent_and_the_lines() -> None:
    (finding,) = heapwitness_run(compiled(OVERFLOW)).findings

    assert (finding["kind"], finding["culprit"]["size"], finding["repaired"]) == ("heap-buffer-overflow", 24, True)
    assert (finding["damage"]["offset"], finding["damage"]["length"]) == (0, 3)
    assert finding["culprit"]["allocated"]["stack"][0]["function"] == "make"
    assert finding["detected"]["stack"][0]["function"] == "main"
    assert finding["detected"]["stack"][0]["file"].endswith("source.c")


def test_report_is_on_stderr_and_the_program_s_output_is_untouched() -> None:
    result = heapwitness_run(compiled(OVERFLOW))

    assert result.stdout == "done\n"
    assert "heap-buffer-overflow" in result.stderr
    assert "make" in result.stderr


def test_report_can_go_to_a_file(tmp_path: Path) -> None:
    result = heapwitness_run(compiled(OVERFLOW), options=("--output", f"{tmp_path}/report"))

    assert result.stderr == ""
    assert "heap-buffer-overflow" in (tmp_path / "report").read_text()


def test_quiet_run_without_findings_says_nothing() -> None:
    assert heapwitness_run("ls", options=("--quiet",)).stderr == ""
    assert heapwitness_run(compiled(OVERFLOW), options=("--quiet",)).stderr != ""


def test_last_line_sums_up() -> None:
    lines = heapwitness_run("ls", "-l").stderr.splitlines()

    assert re.search(r"checked", lines[-1])


def test_input_reaches_the_program() -> None:
    assert heapwitness_run("cat", stdin="one\ntwo\n").stdout == "one\ntwo\n"


def test_arguments_reach_the_program_as_they_are() -> None:
    result = heapwitness_run("printf", "%s|", "--", "-x", "--help", "a b", "")

    assert result.stdout == "--|-x|--help|a b||"


def test_separator_may_be_left_out() -> None:
    assert heapwitness_command("run", "--quiet", "printf", "%s|", "--json", "--").stdout == "--json|--|"


def test_python_script_is_run_by_python(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text("import sys\nprint(sys.argv[1:])\n")

    assert heapwitness_run(script, "a").stdout == "['a']\n"


def test_python_program_asks_malloc_for_its_blocks_unless_told_otherwise() -> None:
    show = "import os; print(os.environ['PYTHONMALLOC'])"

    assert heapwitness_run("python3", "-c", show).stdout == "malloc\n"
    assert heapwitness_run("python3", "-c", show, PYTHONMALLOC="pymalloc").stdout == "pymalloc\n"


def test_full_disk_for_the_report_is_said_and_nothing_else_is_lost() -> None:
    done = heapwitness_command("run", "--json", "/dev/full", "--", str(compiled(OVERFLOW)))

    assert done.returncode == ERROR
    assert done.stdout == "done\n"
    assert "heap-buffer-overflow" in done.stderr
    assert done.stderr.splitlines()[-1].startswith(
        "heapwitness: the report could not be written to /dev/full: No space left"
    )


def test_closed_stderr_is_no_accident(tmp_path: Path) -> None:
    done = subprocess.run(
        ["sh", "-c", '"$@" 2>&-', "sh", *HEAPWITNESS, "run", "--json", tmp_path / "r", "--", compiled(OVERFLOW)],
        capture_output=True,
        env=environment(),
    )

    assert done.returncode == FOUND
    assert len(json.loads((tmp_path / "r").read_text())["findings"]) == 1
