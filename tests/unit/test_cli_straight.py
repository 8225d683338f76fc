"""Command lines of `run` that are read without click: to the same end as with it, or not at all."""

import signal
from pathlib import Path
from typing import Any

import pytest
from support.clicked import by_click

from heapwitness.cli import straight
from heapwitness.cli.words import RUN

EXAMPLES = {
    "--on-error": "stop",
    "--stacks": "full",
    "--check-every": "1000",
    "--check-signal": "usr1",
    "--trap-sample": "1/1000",
    "--trap-kind": "tight",
    "--wait": "2.5",
    "--annotations": "plain",
    "--format": "short",
    "--error-exitcode": "0",
    "--trap": "a site",
}
"""A word for each option that takes one and is no file."""

LINES = (
    ["true"],
    ["--", "true"],
    ["--", "--", "true"],
    ["--", "-m", "pytest", "-x"],
    ["-m", "pytest", "--quiet"],
    ["--quiet", "-X", "dev", "script.py"],
    ["true", "--quiet", "--json", "x"],
    ["--quiet", "--quiet", "true"],
    ["--stacks=full", "--stacks", "caller", "true"],
    ["--trap", "one", "--trap=two", "true"],
    ["--json", "-", "true"],
    ["--json", "--", "--", "true"],
    ["--check-every= 7 ", "true"],
    ["--wait=1e1", "true"],
    ["--check-signal", "12", "true"],
    ["--check-signal", "SIGRTMIN", "true"],
    ["--output=", "true"],
    ["--log", "a=b", "x=y"],
    ["", "true"],
)


def word_for(name: str, file: Path) -> str:
    return EXAMPLES.get(name, str(file.parent if name == "--source-root" else file))


@pytest.mark.parametrize("words", LINES, ids=" ".join)
def test_line_is_read_as_click_reads_it(words: list[str]) -> None:
    read = straight.given(words)

    assert read is not None
    assert read == by_click(words)


@pytest.mark.parametrize("option", RUN, ids=lambda option: option.name)
def test_each_option_is_read_as_click_reads_it(option: Any, tmp_path: Path) -> None:
    value = [] if option.reading is None else [word_for(option.name, tmp_path / "file")]

    read = straight.given([option.name, *value, "--", "true"])

    assert read is not None
    assert read == by_click([option.name, *value, "--", "true"])
    assert read[option.parameter] != option.initial


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["--"],
        ["--quiet"],
        ["--help"],
        ["-h"],
        ["--qui", "true"],
        ["--no-such", "true"],
        ["--json"],
        ["--quiet=yes", "true"],
        ["--stacks", "most", "true"],
        ["--check-every", "-1", "true"],
        ["--check-every", "many", "true"],
        ["--wait", "0", "true"],
        ["--wait", "nan", "true"],
        ["--check-signal", "KILL", "true"],
        ["--check-signal", "99", "true"],
        ["--trap-sample", "2/3", "true"],
        ["--error-exitcode", "256", "true"],
        ["--json", "/", "true"],
        ["--source-root", "/bin/sh", "true"],
    ],
    ids=" ".join,
)
def test_what_needs_a_word_about_it_is_left_to_click(words: list[str]) -> None:
    assert straight.given(words) is None
    assert by_click(words) is None


def test_signal_has_its_name_whichever_way_it_is_written() -> None:
    read = [straight.given(["--check-signal", word, "true"]) for word in ("USR2", "SIGUSR2", "sigusr2", "12")]

    assert [values and values["check_signal"] for values in read] == 4 * [signal.SIGUSR2]
