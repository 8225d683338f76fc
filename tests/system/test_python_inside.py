"""Asking the engine from within a Python program."""

import subprocess
import sys
from pathlib import Path

from run_support import environment, heapwitness_run, needs_engine

pytestmark = needs_engine

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
