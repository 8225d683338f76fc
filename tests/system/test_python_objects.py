"""Python objects that are used after they were released once too often."""

from pathlib import Path

from run_support import FOUND, compiled, heapwitness_run, needs_engine
from support.pythons import each_python

pytestmark = needs_engine

OVER = """\
import ctypes, sys
decrease = ctypes.pythonapi.Py_DecRef
decrease.argtypes, decrease.restype = [ctypes.py_object], None
class Account:
    __slots__ = [f"field{number}" for number in range(40)]
def make():
    return Account()
account = make()
decrease(account)
"""
DIES = """
void die(void *object) { __asm__ volatile("" :: "r"(object)); *(volatile int *)0 = 1; }
"""


@each_python
def test_crash_with_a_pointer_to_a_released_object_names_its_type_and_lines(tmp_path: Path, python: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(f"{OVER}die = ctypes.CDLL(sys.argv[1]).die\ndie.argtypes = [ctypes.py_object]\ndie(account)\n")

    result = heapwitness_run(python, script, compiled(DIES, "-shared", "-fPIC"))

    (crash,) = result.report["crashes"]
    block = next(one["block"] for one in crash["stale"] if one["block"]["type"] == "Account")
    lines = [
        [(frame["function"], frame["line"]) for frame in block[act]["stack"] if frame["file"] == str(script)]
        for act in ("allocated", "freed")
    ]
    assert lines == [[("make", 7)], [("<module>", 9)]]
    assert "-byte Account object allocated by make" in result.stderr
    assert "--poison keeps released objects" in result.stderr


@each_python
def test_poison_names_an_object_that_was_released_once_too_often(tmp_path: Path, python: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(f"{OVER}import os\nkept = [account, account]\nos._exit(0)\n")

    result = heapwitness_run(python, script, options=("--poison",))

    assert result.status == FOUND
    finding = next(one for one in result.findings if one["kind"] == "use-after-free-write")
    assert finding["culprit"]["domain"] == "PyObject_Malloc"
    lines = [
        [
            (frame["function"], frame["line"])
            for frame in finding["culprit"][act]["stack"]
            if frame["file"] == str(script)
        ]
        for act in ("allocated", "freed")
    ]
    assert lines == [[("make", 7)], [("<module>", 9)]]
    assert "a reference to this one was released once too often" in finding["detail"]
