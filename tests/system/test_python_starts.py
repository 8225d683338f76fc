"""The ways in which a Python program is named, and which of its blocks are checked."""

import os
import sys
import zipfile
from pathlib import Path

import pytest
from run_support import ERROR, FOUND, heapwitness_command, heapwitness_run, needs_engine
from support.pythons import each_python

pytestmark = needs_engine

OBJECT = """\
import ctypes
def work():
    return bytearray(36)
block = work()
address = ctypes.addressof(ctypes.c_char.from_buffer(block))
ctypes.memset(address + 37, 65, 4)
"""
"""Overruns the buffer of a small object, which Python takes from its own allocator unless it is told otherwise."""

NAMED = "bytes past the end of a 37-byte block allocated by work"


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A directory with the program as a module, a package and an archive."""
    (tmp_path / "overrun.py").write_text(OBJECT)
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "__main__.py").write_text(OBJECT)
    with zipfile.ZipFile(tmp_path / "packed.pyz", "w") as archive:
        archive.writestr("__main__.py", OBJECT)
    return tmp_path


@pytest.mark.parametrize(
    "words",
    [
        ["overrun.py"],
        ["-m", "overrun"],
        ["-X", "dev", "-W", "ignore", "overrun.py"],
        ["-O", "-m", "overrun", "-v"],
        ["folder"],
        ["packed.pyz"],
        ["-c", OBJECT],
        ["--stacks", "full", "-m", "overrun"],
        ["--", "python3", "overrun.py"],
    ],
    ids=" ".join,
)
def test_program_is_named_as_to_python(place: Path, words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place)

    result = heapwitness_command("run", *words)

    assert result.returncode == FOUND
    assert NAMED in result.stderr


def test_script_that_is_not_there_is_said_so() -> None:
    result = heapwitness_command("run", "nosuch.py")

    assert (result.returncode, result.stderr) == (ERROR, "heapwitness: nosuch.py was not found.\n")


def test_folder_that_python_cannot_run_is_said_to_be_one(tmp_path: Path) -> None:
    result = heapwitness_command("run", tmp_path)

    assert (result.returncode, result.stderr) == (ERROR, f"heapwitness: {tmp_path} is a directory, not a program.\n")


@each_python
@pytest.mark.parametrize("option", ["-I", "-E", "-B"])
def test_objects_are_checked_of_an_interpreter_that_reads_no_environment(
    tmp_path: Path, python: Path, option: str
) -> None:
    script = tmp_path / "overrun.py"
    script.write_text(OBJECT)

    result = heapwitness_run(python, option, script)

    assert result.status == FOUND
    assert NAMED in result.stderr


@each_python
def test_allocator_that_the_user_chose_stays_and_what_it_hides_is_said(tmp_path: Path, python: Path) -> None:
    named = tmp_path / "python"
    named.symlink_to(python)

    result = heapwitness_run(named, "-c", "", PYTHONMALLOC="pymalloc")

    assert result.status == 0
    assert "PYTHONMALLOC=pymalloc gives Python an allocator of its own" in " ".join(result.stderr.split())


@each_python
def test_objects_are_checked_of_an_interpreter_whose_environment_lost_the_setting(tmp_path: Path, python: Path) -> None:
    script = tmp_path / "overrun.py"
    script.write_text(OBJECT)

    result = heapwitness_run("env", "-u", "PYTHONMALLOC", python, script)

    assert result.status == FOUND
    assert NAMED in result.stderr


CHILDREN = """\
import subprocess, sys
for count in range(2):
    subprocess.run([sys.executable, "-c", ""], env={"PATH": "/nowhere"})
subprocess.run(["/bin/true"], env={})
"""


@each_python
def test_what_was_started_without_the_engine_is_named_once(tmp_path: Path, python: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(CHILDREN)

    result = heapwitness_run(python, script)

    said = " ".join(result.stderr.split())
    assert result.status == 0
    assert "ran without the engine, 2 times, in an environment that what started it had cleared: let LD_PRELOAD" in said
    assert "/bin/true ran without the engine, in an environment" in said


def test_script_for_python_without_the_engine_is_named_where_it_is_found(tmp_path: Path) -> None:
    tool = tmp_path / "tool"
    tool.write_text(f"#!{sys.executable}\nprint('done')\n")
    tool.chmod(0o755)

    result = heapwitness_run("env", "-u", "LD_PRELOAD", "tool", PATH=f"{tmp_path}:{os.environ['PATH']}")

    assert (result.status, result.stdout) == (0, "done\n")
    assert "tool ran without the engine, in an environment" in " ".join(result.stderr.split())
