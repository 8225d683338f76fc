"""Programs that shut themselves in (another root, no privileges, little memory) and damage their heap are reported."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from libc.harness import build, case_names, engine, needs_engine, run
from programs.harness import FOUND, run_command

pytestmark = needs_engine

SILENT = ["changes_root_in_vain", "closes_all_files", "replaces_stderr"]
TOLD = [case for case in case_names("confined.c") if case not in SILENT]

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to change it or to give it up")


@needs_root
@pytest.mark.parametrize("case", TOLD)
def test_damage_behind_closed_doors_is_reported_with_its_place(case: str, tmp_path: Path) -> None:
    outcome = run_command(build("confined.c"), case, str(tmp_path))

    assert outcome.status == FOUND, outcome.stderr
    assert [(one["kind"], one["count"], one["repaired"]) for one in outcome.findings] == [
        ("heap-buffer-overflow", 1, True)
    ]
    frames = outcome.findings[0]["culprit"]["allocated"]["stack"]
    assert "write_past_a_block" in [frame["function"] for frame in frames]
    processes = 3 if case.endswith("child") else 2 if case.endswith("forks") else 1
    assert outcome.report["summary"]["processes"] == processes


@needs_root
@pytest.mark.parametrize("case", TOLD)
def test_it_is_recorded_without_a_supervisor(case: str, tmp_path: Path) -> None:
    outcome = run(build("confined.c"), case, tmp_path)

    assert (outcome.status, outcome.stderr) == (0, "")
    assert len(outcome.findings) == 1


@needs_root
@pytest.mark.parametrize("case", SILENT)
def test_nothing_is_opened_or_written_that_is_not_ours(case: str, tmp_path: Path) -> None:
    outcome = run(build("confined.c"), case, tmp_path)

    assert outcome.status == 0
    assert outcome.stderr.count("\n") == outcome.stderr.count("cannot be told from in here") <= 1


@needs_root
def test_what_can_be_told_nowhere_is_said_once_on_stderr(tmp_path: Path) -> None:
    outcome = run(build("confined.c"), "closes_all_files", tmp_path)

    assert outcome.stderr.count("cannot be told from in here") == 1


@needs_root
def test_nothing_is_said_on_a_file_that_took_the_place_of_stderr(tmp_path: Path) -> None:
    outcome = run(build("confined.c"), "replaces_stderr", tmp_path)

    assert (outcome.status, outcome.stderr) == (0, "")


def test_another_library_s_chroot_is_called(tmp_path: Path) -> None:
    source = tmp_path / "fake.c"
    source.write_text("int chroot(const char *path) { return path[0] == '/' ? 0 : -1; }")
    library = build(str(source), "-shared", "-fPIC")
    program = tmp_path / "program.c"
    program.write_text(
        "#include <unistd.h>\n"
        'int main(void) { return chroot("/nowhere/at/all") == 0 && access("/proc", F_OK) == 0 ? 0 : 1; }'
    )

    run(build(str(program)), environment={"LD_PRELOAD": f"{engine()}:{library}"}, with_engine=False).assert_clean()


@pytest.mark.skipif(shutil.which("strace") is None, reason="needs strace")
def test_every_process_lets_the_supervisor_read_it_where_yama_asks_for_that(tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    strace = ["strace", "-f", "-qq", "-e", "trace=prctl", "-e", "signal=none", "-o", trace]
    command = [*strace, sys.executable, "-m", "heapwitness", "run", "--", "sh", "-c", "/bin/ls / & wait"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    if "ptrace" in done.stderr.lower():
        pytest.skip("processes may not be traced here")

    found = re.findall(r"^(\d+) +prctl\(PR_SET_PTRACER, (\d+)\)", trace.read_text(), re.MULTILINE)

    assert done.returncode == 0, done.stderr
    # The shell's child says it after its fork and once more after it became ls: Yama knows processes, not programs.
    assert len({process for process, _ in found}) == 2
    supervisors = {supervisor for _, supervisor in found}
    assert len(supervisors) == 1
    assert not supervisors & {process for process, _ in found}
