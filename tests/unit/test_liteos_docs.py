"""What docs/liteos-pool.md shows is what happens."""

import doctest
import re
import shlex
from pathlib import Path

import pytest
from click.testing import CliRunner

from heapwitness.cli.config import command
from heapwitness.errors import HeapwitnessError

PAGE = Path(__file__).parents[2] / "docs/liteos-pool.md"


def test_the_python_of_the_page_gives_what_it_shows() -> None:
    result = doctest.testfile(str(PAGE), module_relative=False)

    assert result.attempted > 15
    assert result.failed == 0


def test_the_commands_of_the_page_print_what_it_shows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    shown = re.findall(r"^    \$ heapwitness config (.*)\n((?:    (?!\$).*\n)*)", PAGE.read_text(), re.MULTILINE)
    assert len(shown) >= 4

    for arguments, expected in shown:
        result = CliRunner().invoke(command, shlex.split(arguments), standalone_mode=False)
        printed = result.output
        if isinstance(result.exception, HeapwitnessError):
            printed += f"heapwitness: {result.exception}\n"
        assert printed.splitlines() == [line.strip() for line in expected.splitlines()], arguments
