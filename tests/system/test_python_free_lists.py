"""Objects that the interpreter would keep in a free list: where released blocks are watched, the heap gets them."""

from pathlib import Path

import pytest
from run_support import FOUND, heapwitness_run, needs_engine
from support.pythons import each_python

pytestmark = needs_engine

OVER = """\
import ctypes, os, sys
decrease = ctypes.pythonapi.Py_DecRef
decrease.argtypes, decrease.restype = [ctypes.py_object], None
size = len(sys.argv) + 4
def make():
    return MADE
value = make()
decrease(value)
kept = [value, value]
os._exit(0)
"""
MADE = {"list": "[size, size]", "tuple": "(size, size)", "dict": "{1: size}", "float": "size + 0.5"}


@each_python
@pytest.mark.parametrize("made", MADE)
def test_poison_names_an_object_that_a_free_list_would_keep(tmp_path: Path, python: Path, made: str) -> None:
    script = tmp_path / "script.py"
    script.write_text(OVER.replace("MADE", MADE[made]))

    result = heapwitness_run(python, script, options=("--poison",))

    assert result.status == FOUND
    finding = next(one for one in result.findings if one["kind"] == "use-after-free-write")
    lines = [
        [(one["function"], one["line"]) for one in finding["culprit"][act]["stack"] if one["file"] == str(script)]
        for act in ("allocated", "freed")
    ]
    assert (lines[0][0], lines[1]) == (("make", 6), [("<module>", 8)])
    assert finding["culprit"]["type"] == made
    assert "released once too often" in finding["detail"]


PAST = """\
import ctypes, sys
size = len(sys.argv)
def former():
    return tuple([size] * 5)
def later():
    return tuple([size] * 5)
value = [former() for _ in range(size)]
del value
value = later()
ctypes.memset(id(value) + value.__sizeof__(), 65, 8)
"""


@each_python
@pytest.mark.parametrize("options", [(), ("--poison",)])
def test_block_that_a_free_list_may_have_kept_is_said_to_be_one(
    tmp_path: Path, python: Path, options: tuple[str, ...]
) -> None:
    script = tmp_path / "script.py"
    script.write_text(PAST)

    result = heapwitness_run(python, script, options=options)

    assert result.status == FOUND
    (finding,) = result.findings
    assert finding["kind"] == "heap-buffer-overflow"
    lines = [one["line"] for one in finding["culprit"]["allocated"]["stack"] if one["file"] == str(script)]
    kept = "The block holds a tuple." in finding["detail"]
    assert (6 in lines, kept) == ((True, False) if options else (False, True))


HEALTHY = """\
import gc
class Row(list):
    pass
class Table(dict):
    pass
class Pair(tuple):
    pass
class Length(float):
    pass
deep = []
for number in range(200_000):
    deep = [deep, (deep,), {"deep": deep}, number * 1.5]
del deep
for number in range(1000):
    row, table = Row([number, (number, number)]), Table(number=number)
    row.append(table)
    table["row"] = Pair((row, Length(number)))
del row, table
gc.collect()
whole = [[number, (number,), {number: number / 3}] for number in range(5000)]
assert all(type(one) is list and type(one[1]) is tuple and type(one[2]) is dict for one in whole)
assert all(one[2][number] == number / 3 for number, one in enumerate(whole))
print("done", sum(len(one) for one in gc.get_objects() if type(one) is Row))
"""


@each_python
def test_lists_tuples_dicts_and_those_that_are_derived_from_them_are_as_ever_with_poison(
    tmp_path: Path, python: Path
) -> None:
    script = tmp_path / "script.py"
    script.write_text(HEALTHY)

    result = heapwitness_run(python, script, options=("--poison",))

    assert (result.status, result.findings, result.stdout) == (0, [], "done 0\n")


EMPTY = """\
import ctypes
decrease = ctypes.pythonapi.Py_DecRef
decrease.argtypes, decrease.restype = [ctypes.c_void_p], None
empty = ()
ctypes.c_ssize_t.from_address(id(empty)).value = 1
decrease(id(empty))
print(type(empty) is tuple, empty + (1,))
"""


@each_python
def test_tuple_without_items_outlives_its_last_reference(tmp_path: Path, python: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(EMPTY)

    result = heapwitness_run(python, script, options=("--poison",))

    assert (result.status, result.stdout) == (0, "True (1,)\n")


WATCHED = """\
import ctypes, sys
kept = []
@ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p)
def watch(event, watched, key, value):
    if event == 5:
        kept.append(type(ctypes.cast(watched, ctypes.py_object).value))
    return 0
number = ctypes.pythonapi.PyDict_AddWatcher(watch)
table = {"a": 1}
ctypes.pythonapi.PyDict_Watch(number, ctypes.py_object(table))
del table
print(kept == [dict])
"""


@each_python
def test_who_watches_a_dict_sees_a_dict(tmp_path: Path, python: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(f"import sys\nif sys.version_info < (3, 12):\n    print(True)\n    raise SystemExit\n{WATCHED}")

    result = heapwitness_run(python, script, options=("--poison",))

    assert (result.status, result.stdout) == (0, "True\n")


MANY = "for number in range(50_000):\n    row = {number: (number, [number])}\n"


@each_python
def test_the_heap_has_those_releases_with_poison_alone(tmp_path: Path, python: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(MANY)

    plain, poison = (heapwitness_run(python, script, options=options).report for options in ((), ("--poison",)))

    # In each turn three objects are allocated and released, which lists that are free would save.
    more = poison["summary"]["operations"] - plain["summary"]["operations"]
    assert more > 2 * 50_000
