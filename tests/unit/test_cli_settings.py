"""Options from pyproject.toml and HEAPWITNESS_OPTIONS: what wins, and what a mistake is told."""

import os
from pathlib import Path
from typing import Any

import click
import pytest

from heapwitness.cli import project as settings
from heapwitness.cli.group import configurable, group


def options(name: str, *words: str) -> dict[str, Any]:
    """The parameters with which a command would be called."""
    with group.make_context("heapwitness", [name, *words]) as context:
        _, command, rest = group.resolve_command(context, [name, *words])
        assert command is not None
        return command.make_context(name, rest, parent=context).params


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project, in a directory below which the tests work."""
    (tmp_path / "inside").mkdir()
    monkeypatch.chdir(tmp_path / "inside")
    monkeypatch.delenv(settings.VARIABLE, raising=False)
    return tmp_path / "pyproject.toml"


def test_the_command_line_wins_over_the_environment_and_that_over_the_project(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.write_text('[tool.heapwitness]\nstacks = "full"\npoison = true\ncheck-every = 5\non_error = "abort"\n')
    monkeypatch.setenv(settings.VARIABLE, "--stacks caller check-every=6")

    found = options("run", "--check-every", "7", "--", "true")

    assert (found["on_error"], found["poison"], found["stacks"], found["check_every"]) == ("abort", True, "caller", 7)


def test_every_flag_of_a_setting_can_be_turned_off_again(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    project.write_text("[tool.heapwitness]\npoison = true\nquiet = true\nmap = true\npython-lines = false\n")
    monkeypatch.setenv(settings.VARIABLE, "--no-quiet map=false")

    found = options("run", "--no-poison", "--", "true")

    assert [found[one] for one in ("poison", "quiet", "map", "no_python_lines")] == [False, False, False, True]


def test_a_table_of_a_command_is_for_that_one(project: Path) -> None:
    project.write_text('[tool.heapwitness]\nstacks = "full"\n[tool.heapwitness.hunt]\nstacks = "caller"\ntries = 2\n')

    assert options("run", "true")["stacks"] == "full"
    assert [options("hunt", "true")[one] for one in ("stacks", "tries")] == ["caller", 2]


def test_paths_begin_at_the_project_and_in_the_environment_here(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    project.write_text('[tool.heapwitness]\nsuppressions = ["a.txt", "/b.txt"]\njson = "-"\n')
    monkeypatch.setenv(settings.VARIABLE, "--baseline old.json")

    found = options("report", "records.log")

    assert found["suppressions"] == (project.parent / "a.txt", Path("/b.txt"))
    assert (found["json"], found["baseline"]) == (Path("-"), Path("old.json"))


def test_the_nearest_file_that_speaks_of_it_is_read(project: Path) -> None:
    project.write_text('[tool.heapwitness]\nstacks = "full"\n')
    Path("pyproject.toml").write_text("[tool.other]\nheapwitness = 1\n")

    assert options("run", "true")["stacks"] == "full"


def test_files_of_other_tools_may_be_broken(project: Path) -> None:
    project.write_text("[tool.other\n")

    assert options("run", "true")["stacks"] == "fast"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("stack = 1", r"pyproject.toml: \[tool.heapwitness\]: there is no option 'stack'"),
        ('stacks = "fulll"', "stacks: 'fulll' is not one of 'caller', 'fast', 'full'"),
        ("stacks = true", "stacks must be text or a number"),
        ('stacks = ["full"]', "stacks takes one value, not several"),
        ("poison = 1", "poison must be true or false"),
        ("check-every = -1", "check-every: -1 is not in the range"),
        ('check-signal = "KILL"', "check-signal: SIGKILL cannot be used to ask for something"),
        ("[tool.heapwitness.runs]\n", r"\[tool.heapwitness.runs\] is for no command; there are run, hunt, report"),
        ("stacks = ", "is no TOML"),
    ],
)
def test_a_mistake_in_the_project_is_told_in_a_sentence(project: Path, text: str, said: str) -> None:
    project.write_text(f"[tool.heapwitness]\n{text}\n")

    with pytest.raises(settings.BadSettings, match=said):
        options("run", "true")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--stack full", "HEAPWITNESS_OPTIONS: there is no option 'stack'"),
        ("--stacks", "HEAPWITNESS_OPTIONS: stacks needs a value"),
        ("poison=maybe", "HEAPWITNESS_OPTIONS: poison must be true or false"),
        ("--stacks 'full", "HEAPWITNESS_OPTIONS: no closing quotation"),
        ("stacks=none", "HEAPWITNESS_OPTIONS: stacks: 'none' is not one of"),
    ],
)
def test_a_mistake_in_the_environment_is_told_in_a_sentence(
    project: Path, monkeypatch: pytest.MonkeyPatch, words: str, said: str
) -> None:
    monkeypatch.setenv(settings.VARIABLE, words)

    with pytest.raises(settings.BadSettings, match=said):
        options("run", "true")


def test_options_of_another_command_are_no_mistake(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(settings.VARIABLE, "--tries 3 --poison")

    assert options("report", "records.log")["quiet"] is False


def test_help_is_there_whatever_the_settings_are(project: Path) -> None:
    project.write_text("[tool.heapwitness]\nnonsense = 1\n")

    with pytest.raises(click.exceptions.Exit):
        options("run", "--help")


def test_a_file_that_somebody_else_put_where_everybody_may_is_left_alone(project: Path) -> None:
    project.write_text('[tool.heapwitness]\nstacks = "full"\n')
    project.parent.chmod(0o777)
    own = options("run", "true")["stacks"]
    monkey = pytest.MonkeyPatch()
    monkey.setattr("os.geteuid", lambda: project.stat().st_uid + 1)
    others = options("run", "true")["stacks"]
    monkey.undo()

    assert (own, others) == ("full", "fast")


def test_all_commands_with_settings_are_known() -> None:
    with group.make_context("heapwitness", ["run", "true"]) as context:
        assert {"tries", "suppressions", "json"} <= set(configurable(group, context))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a = " + "[" * 100_000 + "]" * 100_000, "too many brackets"),
        ("wait = " + "1" * 6000, "is no TOML"),
        ("wait = 0x" + "f" * 6000, "too large for any option"),
        (".".join("a" * 50_000) + " = 1", "too long"),
        ("# " + "x" * (1 << 20), "too long"),
        ('json = "a\\u0000b"', "NUL character"),
        ('suppressions = ["\\u0000"]', "NUL character"),
        ('json = "~nosuchuserhere/x"', "no such user"),
        ("run = 3", "tool.heapwitness.run must be a table"),
    ],
)
def test_a_file_that_is_made_to_surprise_is_told_in_a_sentence(project: Path, text: str, said: str) -> None:
    project.write_text(f"[tool.heapwitness]\n{text}\n")

    with pytest.raises(settings.BadSettings, match=said):
        options("run", "--", "true")


def test_a_link_that_somebody_else_put_where_everybody_may_is_not_followed(project: Path) -> None:
    own = project.parent / "own.toml"
    own.write_text('[tool.heapwitness]\nstacks = "full"\n')
    project.symlink_to(own)
    project.parent.chmod(0o1777)
    if os.geteuid() != 0:
        pytest.skip("only root can make another user's link")
    os.lchown(project, 12345, 12345)

    assert options("run", "--", "true")["stacks"] == "fast"


def test_what_report_writes_stays_in_the_project(project: Path) -> None:
    (project.parent / "out").symlink_to("/tmp")
    project.write_text(
        '[tool.heapwitness]\njson = "inside/a.json"\nhtml = "../b.html"\nsarif = "out/c.sarif"\njunit = "/tmp/d.xml"\n'
    )

    read = options("report", "log")
    ran = options("run", "--", "true")

    assert read["json"] == project.parent / "inside" / "a.json"
    assert [read[one] for one in ("html", "sarif", "junit")] == [None, None, None]
    assert [str(ran[one]) for one in ("html", "junit")] == [str(project.parent / "../b.html"), "/tmp/d.xml"]
