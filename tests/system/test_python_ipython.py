"""`%%heapwitness` in IPython: a cell in a process of its own, and the report below it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from run_support import environment, needs_engine

pytest.importorskip("IPython")
pytestmark = needs_engine

NOTEBOOK = """\
import json, sys
from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import capture_output
shell = InteractiveShell.instance()
shell.display_formatter.active_types = ["text/plain", "text/html"]
shell.run_line_magic("load_ext", "heapwitness")
with capture_output() as got:
    result = shell.run_cell(sys.argv[1])
shown = [one.data for one in got.outputs]
print(json.dumps({"out": got.stdout, "errors": got.stderr, "shown": shown, "error": repr(result.error_in_exec)}))
"""
OVERRUN = "import ctypes\nkept = ctypes.create_string_buffer(37)\nctypes.memset(kept, 65, 40)\nprint('done')\n"


def _cell(tmp_path: Path, text: str) -> str:
    notebook = tmp_path / "notebook.py"
    notebook.write_text(NOTEBOOK)
    command = [sys.executable, notebook, text]
    env = environment(IPYTHONDIR=str(tmp_path))
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, env=env, check=True)
    return str(done.stdout)


def test_cell_runs_under_the_engine_and_its_report_is_a_page_below(tmp_path: Path) -> None:
    shown = _cell(tmp_path, f"%%heapwitness --stacks full\n{OVERRUN}")

    assert '"out": "done\\n"' in shown
    assert "<iframe srcdoc=" in shown and "sandbox=" in shown
    assert "3 bytes past the end of a 37-byte block allocated by\\n  <module> at cell.py:2" in shown


def test_cell_in_which_nothing_is_found_says_so(tmp_path: Path) -> None:
    shown = _cell(tmp_path, "%%heapwitness\nprint(6 * 7)\n")

    assert '"out": "42\\n"' in shown
    assert "heapwitness: 0 findings" in shown


def test_options_that_the_magic_uses_itself_are_refused(tmp_path: Path) -> None:
    shown = _cell(tmp_path, "%%heapwitness --html page.html\nprint(1)\n")

    assert "--html is the magic's own" in shown


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--log", "heapwitness: option '--log' requires an argument."),
        ("cell.py", "heapwitness: 'cell.py' must be options of `heapwitness run` and no program."),
    ],
)
def test_words_that_would_take_the_cells_place_are_refused(tmp_path: Path, words: str, said: str) -> None:
    shown = json.loads(_cell(tmp_path, f"%%heapwitness {words}\n{OVERRUN}"))

    assert (shown["shown"], shown["errors"]) == ([], f"{said}\n")


def test_mistake_in_an_option_is_told(tmp_path: Path) -> None:
    shown = _cell(tmp_path, "%%heapwitness --stack full\nprint(1)\n")

    assert '"shown": []' in shown
