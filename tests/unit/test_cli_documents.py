"""Commands that make documents, explain kinds, and tell shells and readers about all the others."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from support.reports import everything, findings, report_of

from heapwitness.cli.group import COMMANDS
from heapwitness.cli.main import main
from heapwitness.report import json as report_json
from heapwitness.report.explain import EXPLANATIONS

FOUND = 99


@pytest.fixture
def report(tmp_path: Path) -> Path:
    """A report of everything, as JSON."""
    file = tmp_path / "report.json"
    file.write_bytes(report_json.encode(everything()))
    return file


def run(capsys: pytest.CaptureFixture[str], *words: str | Path) -> tuple[int, str, str]:
    """The command's status, stdout and stderr."""
    with pytest.raises(SystemExit) as ended:
        main([str(word) for word in words])
    captured = capsys.readouterr()
    return int(ended.value.code or 0), captured.out, captured.err


@pytest.mark.parametrize(
    ("format", "start"),
    [
        ("html", "<!doctype html>"),
        ("sarif", '{\n  "$schema": "https://json.schemastore.org/sarif-2.1.0.json"'),
        ("junit", "<?xml"),
        ("json", '{\n  "schema": "heapwitness-report/1"'),
        ("annotations", "/src/app/src/record.c:41: error: heap-buffer-overflow: "),
        ("short", "/src/app/src/record.c:41: heap-buffer-overflow: "),
        ("full", "heap-buffer-overflow: "),
    ],
)
def test_a_json_report_is_shown_as_any_other(
    report: Path, capsys: pytest.CaptureFixture[str], format: str, start: str
) -> None:
    status, out, _ = run(capsys, "report", report, "--format", format)

    assert status == FOUND
    assert out.startswith(start)


def test_documents_are_written_to_files(report: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = {name: tmp_path / f"out.{name}" for name in ("html", "sarif", "junit", "json")}

    run(capsys, "report", report, *(word for name, file in files.items() for word in (f"--{name}", file)))

    assert files["html"].read_text().startswith("<!doctype html>")
    assert json.loads(files["sarif"].read_text())["version"] == "2.1.0"
    assert files["junit"].read_text().startswith("<?xml")
    assert files["json"].read_bytes() == report.read_bytes()


def test_a_document_on_stdout_is_alone_there(report: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, out, err = run(capsys, "report", report, "--json", "-")

    assert out.encode() == report.read_bytes()
    assert "heapwitness: 12 findings" in err


def test_a_short_report_has_a_line_for_each_finding(report: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = run(capsys, "report", report, "--format", "short")

    lines = [line for line in out.splitlines() if "record.c" in line.partition(" ")[0] or "other.c" in line]
    assert len(lines) == 10


def test_a_file_that_is_no_report_is_an_error_in_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "other.json"
    file.write_text('{"schema": "else"}')

    status, out, err = run(capsys, "report", file)

    assert status == 2
    assert out == ""
    assert err.count("\n") == 1 and "this is no heapwitness-report/1 document" in err


def test_a_report_without_findings_can_be_quiet(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "report.json"
    file.write_bytes(report_json.encode(report_of()))

    assert run(capsys, "report", file, "--quiet") == (0, "", "")


def test_a_document_that_cannot_be_written_is_an_error(report: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, _, err = run(capsys, "report", report, "--sarif", "/nonexistent/out.sarif")

    assert status == 2
    assert "/nonexistent/out.sarif" in err and "--sarif" in err


@pytest.mark.parametrize("kind", EXPLANATIONS)
def test_a_kind_is_explained(kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = run(capsys, "explain", kind)

    words = " ".join(out.split())
    assert status == 0
    assert f"{kind}: {EXPLANATIONS[findings()[kind].kind].summary}" in words
    assert f"CWE-{EXPLANATIONS[findings()[kind].kind].cwe}" in words


def test_all_kinds_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = run(capsys, "explain")

    assert [line.split()[0] for line in out.splitlines() if not line.startswith(" ")] == list(EXPLANATIONS)


def test_a_kind_that_is_none_is_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    status, _, err = run(capsys, "explain", "segfault")

    assert status == 2
    assert "double-free" in err


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_each_shell_gets_what_completes(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = run(capsys, "completion", shell)

    assert status == 0
    assert "_HEAPWITNESS_COMPLETE" in out


@pytest.mark.parametrize(
    ("words", "number", "expected"),
    [
        ("heapwitness expl", 1, "explain"),
        ("heapwitness explain double", 2, "double-free"),
        ("heapwitness run --sari", 2, "--sarif"),
    ],
)
def test_commands_kinds_and_options_are_completed(
    words: str, number: int, expected: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("_HEAPWITNESS_COMPLETE", "bash_complete")
    monkeypatch.setenv("COMP_WORDS", words)
    monkeypatch.setenv("COMP_CWORD", str(number))

    _, out, _ = run(capsys)

    assert expected in [line.partition(",")[2] for line in out.splitlines()]


def test_the_manual_page_has_every_command_and_option(capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = run(capsys, "man")

    assert all(f'.SS "heapwitness {name}' in out for name in COMMANDS)
    assert "\\fB\\-\\-source\\-root DIR\\fR" in out


@pytest.mark.skipif(shutil.which("groff") is None, reason="needs groff")
def test_the_manual_page_is_set_without_a_complaint(capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = run(capsys, "man")

    done = subprocess.run(["groff", "-man", "-Tascii", "-ww"], input=out, capture_output=True, text=True, timeout=60)

    assert done.stderr == ""
    assert "EXIT STATUS" in re.sub(".\x08", "", done.stdout)
