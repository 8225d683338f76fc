"""Hunts of Python programs: a store has its Python line, and bugs of different lines are different findings."""

import sys
from pathlib import Path

from hunt_support import heapwitness_hunt
from run_support import compiled, needs_engine

pytestmark = needs_engine

HELPER = """\
import ctypes
def new(size):
    return ctypes.create_string_buffer(size)
def first():
    ctypes.memset(new(40), 1, 44)
def second():
    ctypes.memset(new(48), 1, 53)
for _ in range(4):
    first()
for _ in range(3):
    second()
"""


def test_stores_of_two_lines_into_blocks_of_one_helper_are_two_findings(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(HELPER)

    hunted = heapwitness_hunt(sys.executable, script)

    told = [one for finding in hunted.stores for one in finding["store"]["stack"] if one["file"] == str(script)]
    assert {(one["function"], one["line"]) for one in told} >= {("first", 5), ("second", 7)}
    assert len(hunted.stores) == 2
    assert "first (script.py) wrote" in hunted.stderr and "second (script.py) wrote" in hunted.stderr


ONE_FUNCTION = """\
import ctypes
def tables():
    return ctypes.create_string_buffer(40), ctypes.create_string_buffer(48)
def late():
    return ctypes.create_string_buffer(44)
def work():
    first, second = tables()
    ctypes.memset(first, 1, 44)
    del first
    third = late()
    ctypes.memset(third, 1, 53)
work()
"""


def test_store_into_a_block_of_another_line_leaves_a_finding_hunted(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(ONE_FUNCTION)

    hunted = heapwitness_hunt(sys.executable, script)

    told = [one for finding in hunted.stores for one in finding["store"]["stack"] if one["file"] == str(script)]
    assert {one["line"] for one in told if one["function"] == "work"} == {8, 11}
    assert len(hunted.stores) == 2


SETTER = """\
import ctypes
block = (ctypes.c_char * 24)()
pointer = ctypes.cast(block, ctypes.POINTER(ctypes.c_char))
def first():
    for number in range(24, 32):
        pointer[number] = b"x"
def second():
    pointer[36] = b"y"
first()
second()
"""


def test_lines_that_store_by_one_instruction_into_one_block_are_each_told(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(SETTER)

    hunted = heapwitness_hunt(sys.executable, script)

    lines = [
        next((frame["function"], frame["line"]) for frame in one["store"]["stack"] if frame["file"] == str(script))
        for one in hunted.stores
    ]
    assert sorted(lines) == [("first", 6), ("second", 8)], hunted.stderr


# More objects than can be trapped come by the same C call, and stay.
CROWD = """\
import ctypes
decrease = ctypes.pythonapi.Py_DecRef
decrease.argtypes, decrease.restype = [ctypes.py_object], None
class Node:
    __slots__ = [f"field{number}" for number in range(9)]
def make():
    return Node()
crowd = [make() for _ in range(9000)]
def close():
    node = make()
    decrease(node)
    return node
def work():
    node = close()
    others = [node, node]
work()
"""


def test_object_among_many_of_its_kind_is_trapped_by_its_number(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(CROWD)

    hunted = heapwitness_hunt(sys.executable, script)

    (finding,) = hunted.report["findings"]
    told = [(one["function"], one["line"]) for one in finding["store"]["stack"] if one["file"] == str(script)]
    assert (finding["kind"], finding["count"]) == ("use-after-free-write", 1)
    assert told[-2:] == [("work", 14), ("<module>", 16)]
    assert "released once too often" in finding["detail"]


THREADS = """\
#include <pthread.h>
static char *block;
static void *store(void *count) { for (long i = 0; i < (long)count; i++) ((volatile char *)block)[i] = 7; return 0; }
void fill(char *into, long count)
{
    pthread_t worker;
    block = into;
    pthread_create(&worker, 0, store, (void *)count);
    pthread_join(worker, 0);
}
"""


def test_store_by_a_thread_of_c_tells_where_the_main_thread_was(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "import ctypes, sys\nfill = ctypes.CDLL(sys.argv[1]).fill\ndef work():\n"
        "    block = ctypes.create_string_buffer(64)\n    fill(block, ctypes.c_long(66))\nwork()\n"
    )

    hunted = heapwitness_hunt(sys.executable, script, compiled(THREADS, "-shared", "-fPIC", "-pthread"))

    (finding,) = hunted.stores
    assert finding["store"]["stack"][0]["function"] == "store"
    assert "runs no Python code; the main thread was in work at script.py:5 then" in finding["detail"]
