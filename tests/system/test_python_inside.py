"""Asking the engine from within a Python program, and pytest's plugin, which does."""

import subprocess
import sys
from importlib import metadata
from pathlib import Path
from xml.etree import ElementTree

import pytest
from run_support import environment, heapwitness_run, needs_engine

pytestmark = needs_engine

NAME = "heapwitness.integrations.pytest_plugin"
# An installed package brings its plugin by itself.
PLUGIN = () if any(one.value == NAME for one in metadata.entry_points(group="pytest11")) else ("-p", NAME)

ASKS = """\
import ctypes, os
import heapwitness
kept = []
def harm():
    kept.append(ctypes.create_string_buffer(37))
    ctypes.memset(ctypes.addressof(kept[-1]) + 37, 65, 3)
def attempt(what):
    try:
        what()
    except heapwitness.HeapCorruption as error:
        print(error.count, end=" ")
    else:
        print("-", end=" ")
def watched():
    with heapwitness.watch():
        harm()
"""


def _asked(tmp_path: Path, text: str) -> str:
    script = tmp_path / "asks.py"
    script.write_text(ASKS + text)
    return heapwitness_run(sys.executable, script).stdout.strip()


def test_check_raises_once_for_what_came_since_the_last_one(tmp_path: Path) -> None:
    assert _asked(tmp_path, "for what in (heapwitness.check, harm, heapwitness.check) * 2: attempt(what)\n") == (
        "- - 1 - - 1"
    )


def test_watch_and_checked_tell_of_their_own_block_only(tmp_path: Path) -> None:
    calls = "(harm, watched, heapwitness.checked(print), heapwitness.checked(harm))"

    assert _asked(tmp_path, f"for what in {calls}: attempt(what)\n").split() == ["-", "1", "-", "1"]


def test_child_of_a_fork_asks_for_itself(tmp_path: Path) -> None:
    child = "    attempt(heapwitness.check)\n    attempt(watched)\n"
    text = f"attempt(watched)\nprint(flush=True)\nif os.fork() == 0:\n{child}else:\n    os.wait()\n"

    assert _asked(tmp_path, text).split() == ["1", "-", "1"]


def test_without_an_engine_nothing_is_asked(tmp_path: Path) -> None:
    script = tmp_path / "asks.py"
    script.write_text(
        ASKS.replace("37, 65, 3", "30, 65, 3") + "for what in (harm, heapwitness.check, watched): attempt(what)\n"
    )

    done = subprocess.run([sys.executable, script], capture_output=True, text=True, env=environment(), check=True)

    assert done.stdout.split() == ["-", "-", "-"]


TESTS = """\
import ctypes, os, unittest
import pytest
kept = []
def make(size):
    kept.append(ctypes.create_string_buffer(size))
    return ctypes.addressof(kept[-1])
def test_before():
    make(5)
@pytest.mark.parametrize("size", [20, 37])
def test_within(size):
    ctypes.memset(make(size) + size - 3, 65, 3)
def test_past():
    ctypes.memset(make(37) + 37, 65, 3)
class TestCase(unittest.TestCase):
    def test_fine(self):
        make(6)
    def test_raises(self):
        ctypes.memset(make(50) + 50, 65, 3)
        raise ValueError("of its own")
@pytest.fixture
def late():
    yield
    ctypes.memset(make(70) + 70, 65, 3)
def test_teardown(late):
    pass
"""


def _pytest(tmp_path: Path, text: str, *options: str) -> "subprocess.CompletedProcess[str]":
    (tmp_path / "test_it.py").write_text(text)
    command = [sys.executable, "-m", "pytest", "-q", *PLUGIN, "-p", "no:cacheprovider", *options, "test_it.py"]
    clean = {name: value for name, value in environment().items() if not name.startswith("PYTEST_")}
    return subprocess.run(command, capture_output=True, text=True, timeout=120, cwd=tmp_path, env=clean)


def test_tests_that_damage_the_heap_fail_and_no_others(tmp_path: Path) -> None:
    done = _pytest(tmp_path, TESTS, "--heapwitness", "--junitxml", "junit.xml")

    assert done.returncode == 1
    assert "2 failed, 5 passed, 1 error" in done.stdout
    failed = [line.split(" - ")[0] for line in done.stdout.splitlines() if line.startswith(("FAILED", "ERROR"))]
    assert sorted(failed) == [
        "ERROR test_it.py::test_teardown",
        "FAILED test_it.py::TestCase::test_raises",
        "FAILED test_it.py::test_past",
    ]
    assert "3 bytes past the end of a 37-byte block allocated by make\n  at test_it.py:5" in done.stdout
    assert "ValueError: of its own" in done.stdout
    properties = ElementTree.parse(tmp_path / "junit.xml").iter("property")
    assert any("37-byte block" in (one.get("value") or "") for one in properties)


def test_test_in_which_pytest_dies_is_named(tmp_path: Path) -> None:
    done = _pytest(
        tmp_path, "import os, signal\ndef test_dies(): os.kill(os.getpid(), signal.SIGKILL)\n", "--heapwitness"
    )

    assert done.returncode == 128 + 9
    assert "pytest ended in the middle of test_it.py::test_dies" in done.stderr


def test_workers_of_xdist_fail_the_test_too(tmp_path: Path) -> None:
    pytest.importorskip("xdist")

    done = _pytest(tmp_path, TESTS, "--heapwitness", "-n", "2")

    assert done.returncode == 1
    assert "FAILED test_it.py::test_past" in done.stdout
    assert "-byte block allocated by make\n  at test_it.py:5" in done.stderr


def test_without_the_option_nothing_changes(tmp_path: Path) -> None:
    done = _pytest(tmp_path, "from heapwitness import inside\ndef test_plain(): assert not inside.is_inside()\n")

    assert (done.returncode, done.stderr) == (0, "")
    assert "1 passed" in done.stdout


def test_pytest_that_another_program_starts_is_refused(tmp_path: Path) -> None:
    words = [*PLUGIN, "--heapwitness", "."]
    code = f"import pytest, sys; sys.exit(pytest.main({words!r}))"

    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, env=environment(), timeout=60
    )

    assert done.returncode == 4
    assert "needs pytest to be started as a command" in done.stderr
