"""Suppressions, baselines and settings, as a user gives them to `run`, `report` and `hunt`."""

import json
from pathlib import Path

from run_support import ERROR, FOUND, OVERFLOW, compiled, heapwitness_command, heapwitness_run, needs_engine

pytestmark = needs_engine

DOUBLE = OVERFLOW.replace("free(block);", "free(block); free(block);")


def _rules(tmp_path: Path, text: str) -> str:
    file = tmp_path / "rules.txt"
    file.write_text(text)
    return str(file)


def test_suppressed_finding_is_counted_and_no_failure(tmp_path: Path) -> None:
    rules = _rules(tmp_path, "# known\nkind=heap-buffer-overflow function=make\nfunction=nobody\n")

    done = heapwitness_run(compiled(OVERFLOW), options=("--suppressions", rules))

    assert (done.status, done.findings) == (5, [])
    assert [one["finding"]["kind"] for one in done.report["accepted"]] == ["heap-buffer-overflow"]
    assert [one["fired"] for one in done.report["suppressions"]] == [1, 0]
    assert f"suppressed 1 finding: kind=heap-buffer-overflow function=make ({rules}:2)" in done.stderr
    assert f"1 of 2 suppressions in {rules} was not used: line 3" in done.stderr
    assert "0 findings" in done.stderr and "1 suppressed" in done.stderr


def test_what_is_not_suppressed_fails_as_ever(tmp_path: Path) -> None:
    rules = _rules(tmp_path, "kind=double-free function=make\n")

    done = heapwitness_run(compiled(DOUBLE), options=("--suppressions", rules))

    assert done.status == FOUND
    assert [one["kind"] for one in done.findings] == ["heap-buffer-overflow"]
    assert "24-byte block was released twice" not in done.stderr


def test_only_what_is_new_since_the_baseline_fails(tmp_path: Path) -> None:
    old = tmp_path / "old.json"
    old.write_text(json.dumps(heapwitness_run(compiled(OVERFLOW)).report))

    same = heapwitness_run(compiled(OVERFLOW), options=("--baseline", str(old)))
    more = heapwitness_run(compiled(DOUBLE), options=("--baseline", str(old)))

    assert (same.status, same.findings) == (5, [])
    assert f"compared with {old}: 0 findings are new, 1 is known" in same.stderr
    assert (more.status, [one["kind"] for one in more.findings]) == (FOUND, ["double-free"])
    assert f"compared with {old}: 1 finding is new, 1 is known" in more.stderr


def test_report_judges_what_was_recorded_anew(tmp_path: Path) -> None:
    rules = _rules(tmp_path, "source=source.c:*\n")
    old = tmp_path / "old.json"
    old.write_text(json.dumps(heapwitness_run(compiled(OVERFLOW)).report))

    by_rule = heapwitness_command("report", old, "--suppressions", rules)
    by_report = heapwitness_command("report", old, "--baseline", old, "--junit", tmp_path / "junit.xml")

    assert (by_rule.returncode, by_report.returncode) == (0, 0)
    assert "1 suppressed" in by_rule.stdout
    assert 'failures="0"' in (tmp_path / "junit.xml").read_text()
    assert "known from the baseline: 3 bytes past the end" in (tmp_path / "junit.xml").read_text()


def test_hunt_leaves_what_is_suppressed_alone(tmp_path: Path) -> None:
    rules = _rules(tmp_path, "function=make\n")

    done = heapwitness_command("hunt", "--suppressions", rules, "--", compiled(OVERFLOW))

    assert done.returncode == 5
    assert "try 2" not in done.stderr
    assert "1 suppressed" in done.stderr


def test_mistakes_are_told_before_the_program_starts(tmp_path: Path) -> None:
    rules = _rules(tmp_path, "kind=overflow\n")
    (tmp_path / "pyproject.toml").write_text("[tool.heapwitness]\nstack = 1\n")

    wrong = heapwitness_run(compiled(OVERFLOW), options=("--suppressions", rules))
    unknown = heapwitness_run(compiled(OVERFLOW), cwd=tmp_path)

    assert (wrong.status, wrong.stdout, unknown.status, unknown.stdout) == (ERROR, "", ERROR, "")
    assert wrong.stderr.startswith(f"heapwitness: {rules}:1: there is no kind 'overflow'")
    assert unknown.stderr.startswith(f"heapwitness: {tmp_path}/pyproject.toml: [tool.heapwitness]: there is no option")


def test_settings_of_the_project_and_the_environment_hold(tmp_path: Path) -> None:
    _rules(tmp_path, "function=make\n")
    (tmp_path / "pyproject.toml").write_text('[tool.heapwitness]\nsuppressions = "rules.txt"\n')

    project = heapwitness_run(compiled(OVERFLOW), cwd=tmp_path)
    beside = heapwitness_run(compiled(OVERFLOW), HEAPWITNESS_OPTIONS="--format short --error-exitcode 42")

    assert project.status == 5
    assert beside.status == 42
    assert "source.c:6: heap-buffer-overflow: 3 bytes past the end" in beside.stderr
