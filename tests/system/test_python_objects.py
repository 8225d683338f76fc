"""Python objects that are used after they were released once too often."""

import subprocess
import sys
from pathlib import Path

import pytest
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
def test_poison_names_the_type_of_an_object_that_is_gone_whose_type_was_read(tmp_path: Path, python: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        f"{OVER}look = ctypes.pythonapi.PyObject_Repr\nlook.argtypes = [ctypes.c_void_p]\nlook(id(account))\n"
    )

    result = heapwitness_run(python, script, options=("--poison",))

    (finding,) = result.findings
    assert (finding["kind"], finding["culprit"]["type"]) == ("use-after-free-read", "Account")
    assert "-byte Account object after it was released" in " ".join(result.stderr.split())


def test_the_type_is_known_wherever_in_a_page_the_object_lay(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    at_the_end = "next(one for one in [make() for _ in range(2000)] if (id(one) - 16) % 4096 == 4080)"
    script.write_text(
        OVER.replace("account = make()", f"account = {at_the_end}")
        + "look = ctypes.pythonapi.PyObject_Repr\nlook.argtypes = [ctypes.c_void_p]\nlook(id(account))\n"
    )

    (finding,) = heapwitness_run(sys.executable, script, options=("--poison",)).findings

    assert (finding["kind"], finding["culprit"]["type"]) == ("use-after-free-read", "Account")


@each_python
@pytest.mark.parametrize("made", ["Account()", "'a' * (size + len(Account.__slots__))"], ids=["collected", "plain"])
def test_poison_shows_a_reference_that_is_taken_from_an_object_that_is_gone(
    tmp_path: Path, python: Path, made: str
) -> None:
    script = tmp_path / "script.py"
    script.write_text(OVER.replace("Account()", made).replace("def make", "size = 99\ndef make") + "del account\n")

    result = heapwitness_run(python, script, options=("--poison",))

    assert result.status == FOUND
    (finding,) = result.findings
    assert (finding["kind"], finding["culprit"]["domain"]) == ("use-after-free-write", "PyObject_Malloc")
    assert "released once too often" in finding["detail"]


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
    assert finding["culprit"]["type"] == "Account"
    assert "a reference to this one was released once too often" in finding["detail"]


OTHERS = """\
take, give_back = ctypes.pythonapi.PyMem_Malloc, ctypes.pythonapi.PyMem_Free
take.argtypes, take.restype = [ctypes.c_size_t], ctypes.c_void_p
give_back.argtypes, give_back.restype = [ctypes.c_void_p], None
for place in [take(320) for _ in range(100)]:
    give_back(place)
kept = [account, account]
"""


@each_python
def test_object_whose_memory_was_no_objects_since_is_told_with_what_was_written_there(
    tmp_path: Path, python: Path
) -> None:
    script = tmp_path / "script.py"
    script.write_text(OVER.replace("Account()", "bytes(range(200)) + bytes(80)") + OTHERS + "import os\nos._exit(0)\n")

    result = heapwitness_run(python, script)

    assert result.status == FOUND
    finding = next(one for one in result.findings if one["kind"] == "use-after-free-write")
    assert finding["culprit"]["domain"] == "PyMem_Malloc"
    assert finding["culprit"]["before"][0]["type"] == "bytes"
    told = " ".join(result.stderr.split())
    assert "a bytes object allocated by make at script.py:7 and released by <module> at script.py:9 lay there" in told


@each_python
def test_crash_by_an_object_whose_memory_was_no_objects_since_is_one_finding(tmp_path: Path, python: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(OVER.replace("Account()", "bytes(range(200)) + bytes(80)") + OTHERS + "len(account)\n")

    result = heapwitness_run(python, script)

    assert [one["kind"] for one in result.findings] == ["use-after-free-write"]
    assert len(result.report["crashes"]) == 1


EXTENSION = """
#include <Python.h>
static PyObject *drop(PyObject *self, PyObject *object) { Py_DECREF(object); Py_RETURN_NONE; }
static PyMethodDef methods[] = {{"drop", drop, METH_O, ""}, {0}};
static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, "over", 0, -1, methods};
PyMODINIT_FUNC PyInit_over(void) { return PyModule_Create(&module); }
"""


def headers(python: Path) -> Path:
    """Where an interpreter has its headers; the test is skipped where they are not there."""
    asks = "import sysconfig; print(sysconfig.get_paths()['include'])"
    found = Path(subprocess.run([python, "-c", asks], capture_output=True, text=True, check=True).stdout.strip())
    if not (found / "Python.h").exists():
        pytest.skip(f"{python} has no headers")
    return found


REUSED = """\
import over
def row(count):
    return tuple(object() for _ in range(count))
def main():
    values = row(30)
    over.drop(values)
    later = [b"\\xff" * count for count in range(1, 400)]
    print(values[3])
main()
"""


@each_python
def test_crash_by_an_object_whose_memory_is_used_again_names_its_type_and_lines(tmp_path: Path, python: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(REUSED)
    (tmp_path / "over.so").write_bytes(compiled(EXTENSION, "-shared", "-fPIC", f"-I{headers(python)}").read_bytes())

    result = heapwitness_run(python, script)

    (crash,) = result.report["crashes"]
    (stale,) = crash["stale"]
    before = stale["block"]["before"][0]
    lines = [
        [(frame["function"], frame["line"]) for frame in before[act]["stack"] if frame["file"] == str(script)]
        for act in ("allocated", "freed")
    ]
    assert stale["inside"] == 16
    assert before["type"] == "tuple"
    assert [lines[0][0], lines[1]] == [("row", 3), [("main", 6)]]
    assert "Before, a tuple object allocated by row" in " ".join(result.stderr.split())
    assert "probably a reference to " in " ".join(result.stderr.split())


@each_python
def test_crash_with_a_pointer_to_where_an_object_lay_before_a_released_block_names_it(
    tmp_path: Path, python: Path
) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        f"{OVER.replace('decrease(account)', 'place = id(account)')}decrease(account)\n"
        "die = ctypes.CDLL(sys.argv[1]).die\ndie.argtypes = [ctypes.c_void_p]\n"
        "def again():\n    return [bytes(count) for count in range(250, 330)]\nagain()\ndie(place)\n"
    )

    result = heapwitness_run(python, script, compiled(DIES, "-shared", "-fPIC"))

    (crash,) = result.report["crashes"]
    stale = next(one for one in crash["stale"] if one["inside"] == 16)
    assert stale["block"]["before"][0]["type"] == "Account"
    told = " ".join(result.stderr.split())
    assert "where no object is. Before, an Account object allocated by make at script.py:7" in told
    assert "its memory was another block's since" in told


@each_python
def test_crash_by_a_null_pointer_names_no_object_that_is_gone(tmp_path: Path, python: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "import ctypes\n"
        "kept = [bytes([number % 256]) * (number % 300) for number in range(5000)]\n"
        "del kept\n"
        "kept = {number: [number] for number in range(1000)}\n"
        "ctypes.string_at(0)\n"
    )

    result = heapwitness_run(python, script)

    (crash,) = result.report["crashes"]
    assert [one for one in crash["stale"] if one["block"]["before"]] == []


LIVING = """\
import ctypes
class Account:
    __slots__ = ["owner"]
def make():
    return Account()
account = make()
ctypes.memset(id(account) + 24, 65, 6)
text = bytes(33)
ctypes.memset(id(text) + 33 + 33, 65, 5)
block = ctypes.create_string_buffer(40)
ctypes.memset(ctypes.addressof(block) + 40, 65, 4)
"""


@each_python
def test_object_that_is_written_past_its_end_has_its_type(tmp_path: Path, python: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(LIVING)

    found = heapwitness_run(python, script).findings

    types = {finding["damage"]["length"]: finding["culprit"]["type"] for finding in found}
    assert types == {6: "Account", 5: "bytes", 4: None}
