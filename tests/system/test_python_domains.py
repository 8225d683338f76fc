"""Blocks of Python's allocators must be released by the allocator that they came from."""

from pathlib import Path

import pytest
from run_support import FOUND, heapwitness_run, needs_engine
from support.pythons import each_python

pytestmark = needs_engine

START = """\
import ctypes
api, libc = ctypes.pythonapi, ctypes.CDLL(None)
for one in (api.PyMem_Malloc, api.PyObject_Malloc, api.PyMem_RawMalloc, libc.malloc):
    one.restype, one.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
for one in (api.PyMem_Free, api.PyObject_Free, api.PyMem_RawFree, libc.free):
    one.restype, one.argtypes = None, [ctypes.c_void_p]
"""
DOMAINS = {
    "api.PyMem_RawMalloc": "api.PyMem_RawFree",
    "api.PyMem_Malloc": "api.PyMem_Free",
    "api.PyObject_Malloc": "api.PyObject_Free",
    "libc.malloc": "libc.free",
}


@each_python
def test_release_through_another_allocator_names_both_and_their_lines(tmp_path: Path, python: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        f"{START}def make():\n    return api.PyMem_Malloc(100)\ndef drop(block):\n    api.PyObject_Free(block)\n"
        "drop(make())\nprint('on')\n"
    )

    result = heapwitness_run(python, script)

    assert (result.status, result.stdout) == (FOUND, "on\n")
    (finding,) = result.findings
    assert (finding["kind"], finding["culprit"]["domain"]) == ("mismatched-free", "PyMem_Malloc")
    assert finding["released_with"] == "PyObject_Free"
    lines = [
        next((one["function"], one["line"]) for one in place["stack"] if one["file"] == str(script))
        for place in (finding["culprit"]["allocated"], finding["detected"])
    ]
    assert lines == [("make", 8), ("drop", 10)]
    assert "100-byte block allocated with PyMem_Malloc by make" in result.stderr


@each_python
def test_each_pair_of_allocators_is_told_apart(tmp_path: Path, python: Path) -> None:
    pairs = [(made, gone) for made in DOMAINS for gone in DOMAINS.values()]
    script = tmp_path / "script.py"
    calls = "".join(f"{gone}({made}({100 + number}))\n" for number, (made, gone) in enumerate(pairs))
    script.write_text(START + calls)

    result = heapwitness_run(python, script)

    found = {(one["kind"], one["culprit"]["size"]) for one in result.findings}
    wrong = {
        ("mismatched-free", 100 + number)
        for number, (made, gone) in enumerate(pairs)
        # The raw allocator is malloc by another name: what malloc gave is not told apart from its early blocks.
        if DOMAINS[made] != gone and (made, gone) != ("libc.malloc", "api.PyMem_RawFree")
    }
    assert found == wrong


@each_python
def test_wrong_pair_is_found_where_code_and_allocators_were_in_use_before(tmp_path: Path, python: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        f"{START}def make(take):\n    return take(100)\ndef drop(give, block):\n    give(block)\n"
        f"pairs = [{', '.join(f'({made}, {gone})' for made, gone in DOMAINS.items())}]\n"
        "for made, gone in pairs * 3:\n    drop(gone, make(made))\n"
        "drop(api.PyObject_Free, make(api.PyMem_Malloc))\ndrop(api.PyMem_RawFree, make(api.PyObject_Malloc))\n"
    )

    findings = heapwitness_run(python, script).findings

    assert {one["kind"] for one in findings} == {"mismatched-free"}
    assert sum(one["count"] for one in findings) == 2  # of the same lines


@each_python
def test_wrong_pairs_of_one_line_are_told_apart(tmp_path: Path, python: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(f"{START}for drop in (api.PyObject_Free, libc.free):\n    drop(api.PyMem_Malloc(100))\n")

    findings = heapwitness_run(python, script).findings

    assert sorted((one["released_with"], one["count"]) for one in findings) == [("PyObject_Free", 1), ("free", 1)]


@each_python
@pytest.mark.parametrize("options", [(), ("-I",), ("-X", "dev"), ("-X", "tracemalloc")], ids=lambda one: "".join(one))
def test_healthy_programs_mix_nothing(tmp_path: Path, python: Path, options: tuple[str, ...]) -> None:
    code = (
        "import asyncio, ctypes, json, sqlite3, subprocess, sys, threading, unittest, xml.dom.minidom, zipfile\n"
        "json.loads(json.dumps([{'a': [1.5, 'x' * 99]}] * 99))\n"
        "sqlite3.connect(':memory:').execute('select 1').fetchall()\n"
        "thread = threading.Thread(target=lambda: [str(n) for n in range(9999)])\n"
        "thread.start(); thread.join()\n"
        "async def wait(): await asyncio.sleep(0)\n"
        "asyncio.run(wait())\n"
        "subprocess.run([sys.executable, '-c', 'pass'], check=True)\n"
    )

    result = heapwitness_run(python, *options, "-c", code)

    assert (result.status, result.findings) == (0, [])


@each_python
def test_block_of_another_thread_is_judged_as_well(tmp_path: Path, python: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        f"{START}import threading\nblock = api.PyMem_Malloc(100)\n"
        "thread = threading.Thread(target=api.PyObject_Free, args=(block,))\nthread.start()\nthread.join()\n"
    )

    (finding,) = heapwitness_run(python, script).findings

    assert (finding["kind"], finding["culprit"]["size"]) == ("mismatched-free", 100)


@each_python
def test_array_data_that_came_by_numpys_own_functions_goes_back_rightly(tmp_path: Path, python: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        f"{START}handler = ctypes.addressof(ctypes.c_char.in_dll(ctypes.CDLL(None), 'heapwitness_array_handler'))\n"
        "context, free = (ctypes.c_void_p.from_address(handler + at).value for at in (128, 160))\n"
        "release = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t)(free)\n"
        "for make in (api.PyMem_RawMalloc, libc.malloc, api.PyMem_Malloc):\n"
        "    for size in (100, 5_000_000):\n        release(context, make(size), size)\n"
    )

    result = heapwitness_run(python, script)

    wrong = [(one["kind"], one["culprit"]["domain"], one["released_with"]) for one in result.findings]
    assert wrong == [("mismatched-free", "PyMem_Malloc", "NumPy")]
