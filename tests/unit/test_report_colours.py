"""Colours, links and width on a terminal, by what the environment asks for."""

import io
import os
import pty
from collections.abc import Iterator

import pytest
from support.reports import findings

from heapwitness.findings.model import Frame
from heapwitness.report import hyperlinks, terminal
from heapwitness.report.console import console
from heapwitness.report.progress import progress

NAMES = ("NO_COLOR", "FORCE_COLOR", "CLICOLOR", "CLICOLOR_FORCE", "TERM", "TERM_PROGRAM", "VTE_VERSION", "COLUMNS")
MARKS = ("FORCE_HYPERLINK", "KONSOLE_VERSION", "WT_SESSION", "KITTY_WINDOW_ID", "DOMTERM", "COLORTERM")


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*NAMES, *MARKS):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")


@pytest.fixture
def terminal_output() -> Iterator[tuple[io.TextIOWrapper, int]]:
    """A stream that is a terminal, and the descriptor that shows what it was given."""
    shown, ours = pty.openpty()
    with open(ours, "w") as stream:
        yield stream, shown
    os.close(shown)


def shown(output: tuple[io.TextIOWrapper, int]) -> str:
    stream, descriptor = output
    terminal.render(findings()["double-free"], console(stream))
    stream.flush()
    return os.read(descriptor, 1 << 16).decode()


def to_file() -> str:
    stream = io.StringIO()
    terminal.render(findings()["heap-buffer-overflow"], console(stream))
    return stream.getvalue()


def test_a_terminal_has_colours(terminal_output: tuple[io.TextIOWrapper, int]) -> None:
    assert "\x1b[1m" in shown(terminal_output)


@pytest.mark.parametrize(("name", "value"), [("NO_COLOR", "1"), ("CLICOLOR", "0")])
def test_colours_can_be_refused(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch, terminal_output: tuple[io.TextIOWrapper, int]
) -> None:
    monkeypatch.setenv(name, value)

    assert "\x1b[3" not in shown(terminal_output)


def test_a_file_has_no_colours() -> None:
    assert "\x1b" not in to_file()


@pytest.mark.parametrize("name", ["FORCE_COLOR", "CLICOLOR_FORCE"])
def test_colours_can_be_had_in_a_file(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "1")

    assert "\x1b[1;31m" in to_file()


def test_who_refuses_colours_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("FORCE_COLOR", "1")

    assert "\x1b[1;31m" not in to_file()


def test_files_are_links_where_the_terminal_shows_them(
    monkeypatch: pytest.MonkeyPatch, terminal_output: tuple[io.TextIOWrapper, int]
) -> None:
    monkeypatch.setenv("TERM_PROGRAM", "WezTerm")

    text = shown(terminal_output)

    assert "\x1b]8;" in text
    assert "/src/app/src/record.c\x1b\\" in text


def test_there_are_no_links_where_the_terminal_is_not_known(terminal_output: tuple[io.TextIOWrapper, int]) -> None:
    assert "\x1b]8;" not in shown(terminal_output)


@pytest.mark.parametrize(
    ("environment", "known"),
    [
        ({"VTE_VERSION": "7200"}, True),
        ({"VTE_VERSION": "4000"}, False),
        ({"TERM": "xterm-kitty"}, True),
        ({"TERM": "xterm"}, False),
        ({"FORCE_HYPERLINK": "1"}, True),
        ({"TERM": "xterm-kitty", "FORCE_HYPERLINK": "0"}, False),
    ],
)
def test_terminals_are_known_by_what_they_say(environment: dict[str, str], known: bool) -> None:
    assert hyperlinks.are_known(environment) is known


def test_a_link_cannot_be_left_by_a_files_name() -> None:
    place = hyperlinks.link(Frame(pc=1, file="/src/a\x1b\\b c%.c"))

    assert place.endswith("/src/a%1B%5Cb%20c%25.c")


def test_a_file_without_a_whole_path_is_no_link() -> None:
    assert hyperlinks.link(Frame(pc=1, file="record.c")) == ""


@pytest.mark.parametrize("width", [60, 72])
def test_sentences_and_bytes_stay_within_a_narrow_terminal(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", str(width))

    lines = to_file().splitlines()

    assert max(map(len, lines)) <= width
    assert any(line.endswith("should be") and "9f 97 99" in line for line in lines)


def test_nothing_is_said_of_work_where_nobody_looks(capsys: pytest.CaptureFixture[str]) -> None:
    with progress("reading"):
        pass

    assert capsys.readouterr() == ("", "")


def test_long_work_is_shown_on_a_terminal_and_gone_after(
    monkeypatch: pytest.MonkeyPatch, terminal_output: tuple[io.TextIOWrapper, int]
) -> None:
    stream, descriptor = terminal_output
    monkeypatch.setattr("sys.stderr", stream)
    monkeypatch.setattr("heapwitness.report.progress._PATIENCE", 0.0)

    with progress("reading \x1b[31mdump.bin"):
        text = os.read(descriptor, 200).decode()

    assert "reading \\x1b[31mdump.bin, 0 s" in text
    assert os.read(descriptor, 200).decode().endswith("\r\x1b[K")
