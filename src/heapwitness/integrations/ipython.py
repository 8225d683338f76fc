"""`%load_ext heapwitness`, and `%%heapwitness [options of run]`: a cell in a process of its own, under the engine.

What the cell prints is shown as it comes to an end, and behind it the report as a page. The notebook's own process is
not changed, so the cell has none of its variables: it is a program of its own, and damages nothing but itself.
"""

import html
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

_CELL = "cell.py"
_HEIGHT = 480
"""Pixels of the page; it can be scrolled."""

_OWN = ("--html", "--output", "--json")
"""Options of `run` that the magic uses itself."""


def load_ipython_extension(shell: Any) -> None:
    """What `%load_ext heapwitness` calls."""
    shell.register_magic_function(_Magic(shell), "cell", "heapwitness")


class _Magic:
    """Runs a cell; `shell` is IPython's."""

    def __init__(self, shell: Any) -> None:
        self._shell = shell

    def __call__(self, line: str, cell: str) -> None:
        from IPython.core.error import UsageError

        try:
            options = shlex.split(line)
        except ValueError as error:
            raise UsageError(f"%%heapwitness: {str(error).lower()}.") from error
        used = [one for one in options if one.partition("=")[0] in _OWN]
        if used:
            raise UsageError(f"%%heapwitness: {used[0]} is the magic's own; the report is shown below the cell.")
        with tempfile.TemporaryDirectory(prefix="heapwitness-cell-") as directory:
            self._run(options, self._shell.transform_cell(cell), Path(directory))

    def _run(self, options: list[str], cell: str, directory: Path) -> None:
        from IPython.display import display

        script, page, text = directory / _CELL, directory / "report.html", directory / "report.txt"
        script.write_text(cell, "utf-8")
        given = [str(len(options)), *options, "--html", str(page), "--output", str(text)]
        command = [
            sys.executable,
            "-m",
            "heapwitness.integrations.ipython_run",
            *given,
            "--",
            sys.executable,
            str(script),
        ]
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
        sys.stdout.write(done.stdout)
        sys.stderr.write(done.stderr)
        said = text.read_text("utf-8", "replace") if text.exists() else ""
        if page.exists():
            display(_Page(_frame(page.read_text("utf-8")), said.replace(f"{directory}/", "")))


class _Page:
    """A report as a page where there are pages, and as text where there are none, in a terminal."""

    def __init__(self, page: str, text: str) -> None:
        self._page, self._text = page, text

    def _repr_html_(self) -> str:
        return self._page

    def __repr__(self) -> str:
        return self._text.rstrip()


def _frame(page: str) -> str:
    """A page in a frame of its own, so that its style and scripts are its own, too."""
    source = html.escape(page, quote=True)
    return f'<iframe srcdoc="{source}" sandbox="allow-scripts" width="100%" height="{_HEIGHT}"></iframe>'
