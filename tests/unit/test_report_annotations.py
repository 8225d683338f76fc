"""Findings as lines that a CI shows at the source."""

from pathlib import Path

import msgspec
import pytest
from support.reports import findings, report_of, trapped

from heapwitness.findings.model import Detected, Finding, Frame
from heapwitness.outputs import Dialect, Outputs, default_root, dialect_of
from heapwitness.report import annotations, documents

ROOT = Path("/src/app")


def lines(dialect: Dialect, *found: Finding) -> list[str]:
    return annotations.encode(report_of(*found), ROOT, dialect).decode().splitlines()


def test_github_gets_a_workflow_command_at_the_line_of_the_allocation() -> None:
    (line,) = lines("github", findings()["heap-buffer-overflow"])

    assert line.startswith("::error file=src/record.c,line=41,title=heapwitness%3A heap-buffer-overflow::20 bytes past")


def test_azure_gets_a_logging_command() -> None:
    (line,) = lines("azure", findings()["double-free"])

    assert line.startswith(
        "##vso[task.logissue type=error;sourcepath=src/record.c;linenumber=60;code=double-free;]a 24-byte block"
    )


def test_plain_lines_look_like_a_compilers() -> None:
    (line,) = lines("plain", trapped())

    assert line.startswith("src/other.c:633: error: heap-buffer-overflow: function_9300 wrote 20 bytes")
    assert line.endswith("(3 times)")


def test_what_is_not_certain_is_a_warning() -> None:
    assert lines("github", findings()["header-overwrite"])[0].startswith("::warning ")


@pytest.mark.parametrize("dialect", ["github", "azure", "plain"])
def test_a_name_cannot_begin_another_command(dialect: Dialect) -> None:
    frame = Frame(pc=1, function="f\n::set-env name=PATH::x\r##vso[a]%0A", file="/src/app/a,b:c\n::error::.c", line=2)
    detected = Detected(when="free", thread=1, stack=(frame,))
    finding = msgspec.structs.replace(findings()["double-free"], culprit=None, detected=detected)

    found = lines(dialect, finding)

    assert len(found) == 1
    assert "%0A" not in found[0] or "%250A" in found[0] or dialect != "github"
    assert not found[0].startswith(("::set", "##vso[a]"))


def test_a_finding_without_any_frame_has_a_line_all_the_same() -> None:
    finding = Finding(kind="double-free", detected=Detected(when="free", thread=1), pointer=16)

    assert lines("plain", finding) == ["heapwitness: error: double-free: 0x10 was released twice"]


def test_the_environment_of_a_ci_asks_for_its_own_lines(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_WORKSPACE", "/src/app")

    documents.write(report_of(findings()["double-free"]), Outputs())

    assert capsys.readouterr().err.startswith("::error file=src/record.c,line=60")


@pytest.mark.parametrize(
    ("environment", "dialect"),
    [({"GITHUB_ACTIONS": "true"}, "github"), ({"TF_BUILD": "True"}, "azure"), ({"CI": "true"}, None), ({}, None)],
)
def test_only_a_ci_that_is_known_gets_lines_by_itself(environment: dict[str, str], dialect: str | None) -> None:
    assert dialect_of(environment) == dialect


def test_lines_can_be_refused_in_a_ci(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("GITHUB_ACTIONS", "true")

    documents.write(report_of(findings()["double-free"]), Outputs(annotations="none"))

    assert capsys.readouterr().err == ""


def test_the_root_is_where_the_ci_checked_out(tmp_path: Path) -> None:
    assert default_root({"CI_PROJECT_DIR": str(tmp_path)}) == tmp_path
    assert default_root({}) == Path.cwd()
