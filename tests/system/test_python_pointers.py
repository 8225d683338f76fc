"""Pointers of which ctypes kept 32 bits, since nobody told it of what type they are."""

from pathlib import Path

from run_support import FOUND, heapwitness_run, needs_engine
from support.pythons import each_python

pytestmark = needs_engine

CUT = """\
import ctypes
libc = ctypes.CDLL(None)
def table():
    return libc.calloc(90, 8)
def done(pointer):
    libc.free(pointer)
def use(pointer):
    ctypes.memset(pointer + 16, 1, 8)
"""


@each_python
def test_release_of_half_an_address_names_the_block_that_it_is_of(tmp_path: Path, python: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(f"{CUT}done(table())\nprint('on')\n")

    result = heapwitness_run(python, script)

    assert (result.status, result.stdout) == (FOUND, "on\n")
    (finding,) = result.findings
    block = finding["culprit"]
    lines = [(one["function"], one["line"]) for one in block["allocated"]["stack"] if one["file"] == str(script)]
    assert (finding["kind"], block["size"], lines[0]) == ("invalid-free", 720, ("table", 4))
    assert (block["address"] - finding["pointer"]) % (1 << 32) == 0
    assert "restype" in finding["detail"]


@each_python
def test_crash_by_half_an_address_says_which_block_it_is_of(tmp_path: Path, python: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(f"{CUT}use(table())\n")

    result = heapwitness_run(python, script)

    (crash,) = result.report["crashes"]
    (note,) = crash["notes"]
    assert "lower 32 bits lead to 16 bytes into the 720-byte block" in note
