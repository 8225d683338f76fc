"""What checks in a program tell: the finding itself, and which call of a library it came by."""

import subprocess
from pathlib import Path

import pytest
from run_support import compiled, environment, heapwitness_run, needs_engine
from support.pythons import each_python, each_python_with

pytestmark = needs_engine

LIBRARY = """
#include <string.h>
void fill(char *to, int value, int count) { memset(to, value, count); }
int add(int one, int other) { return one + other; }
int limit = 12;
"""

WATCHES = """\
import ctypes, sys
import heapwitness
kept = []
library = heapwitness.watch(ctypes.CDLL(sys.argv[1]))
library.add.restype = ctypes.c_long
def work(count):
    kept.append(ctypes.create_string_buffer(37))
    library.fill(kept[-1], 65, count)
def attempt(what, *arguments):
    try:
        what(*arguments)
    except heapwitness.HeapCorruption as error:
        found = error.finding
        print(error.call or "-", found.kind, found.culprit.size, found.damage.length, len(error.findings), error.count)
"""


def _library() -> Path:
    return compiled(LIBRARY, "-shared", "-fPIC")


@each_python
def test_first_bad_call_of_a_library_is_named(tmp_path: Path, python: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        f"{WATCHES}attempt(work, 37)\nprint(library.add(2, 3), library['add'](4, 5))\n"
        "attempt(work, 40)\nattempt(work, 36)\n"
    )

    result = heapwitness_run(python, script, _library())

    bad = "fill(c_char_Array_37, int, int) at script.py:8 heap-buffer-overflow 37 3 1 1"
    assert result.stdout.splitlines() == ["5 9", bad]


@each_python_with("cffi")
def test_library_of_cffi_is_watched_too(tmp_path: Path, python: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "import cffi, sys\nimport heapwitness\nffi = cffi.FFI()\n"
        "ffi.cdef('void fill(char *, int, int); int add(int, int); int limit;')\n"
        "library = heapwitness.watch(ffi.dlopen(sys.argv[1]))\n"
        "library.limit += 1\nprint(library.limit, library.add(1, 2))\n"
        "data = ffi.new('char[20]')\n"
        "try:\n    library.fill(data, 65, 25)\n"
        "except heapwitness.HeapCorruption as error:\n    print(error.call)\n"
    )

    result = heapwitness_run(python, script, _library())

    assert result.stdout.splitlines() == ["13 3", "fill(char[20], int, int) at script.py:10"]
    assert len(result.findings) == 1


@each_python
def test_damage_that_was_there_before_a_call_is_not_blamed_on_it(tmp_path: Path, python: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        f"{WATCHES}work(30)\nctypes.memset(ctypes.addressof(kept[0]) + 37, 1, 2)\n"
        "attempt(library.add, 1, 2)\nattempt(work, 38)\n"
    )

    result = heapwitness_run(python, script, _library())

    assert result.stdout.splitlines()[0].startswith("fill(")
    assert sum(one["count"] for one in result.findings) == 2


@each_python
@pytest.mark.parametrize(
    ("head", "run"), [("def", "{}"), ("async def", "asyncio.run({})")], ids=["function", "coroutine"]
)
def test_first_bad_call_of_a_checked_function_is_named(tmp_path: Path, python: Path, head: str, run: str) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        f"import asyncio\n{WATCHES}@heapwitness.checked\n{head} scale(buffer, count):\n"
        "    ctypes.memset(buffer, 1, count)\n    return count\n"
        "buffer = ctypes.create_string_buffer(37)\n"
        f"print({run.format('scale(buffer, 37)')})\n"
        f"attempt(lambda: {run.format('scale(buffer, count=40)')})\n"
    )

    result = heapwitness_run(python, script, _library())

    words = result.stdout.split()
    assert words[:2] == ["37", "scale(c_char_Array_37,"]
    assert words[2:4] == ["int)", "at"]
    assert words[5:] == ["heap-buffer-overflow", "37", "3", "1", "1"]


STEPS = """\
import asyncio
@heapwitness.checked
{head} steps(buffer):
    try:
        while True:
            ctypes.memset(buffer, 1, (yield len(buffer)))
    except KeyError:
        ctypes.memset(buffer, 1, 39)
        yield "thrown"
"""


@each_python
def test_bad_step_of_a_checked_generator_is_named_and_the_others_are_its_own(tmp_path: Path, python: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        f"{WATCHES}{STEPS.format(head='def')}"
        "run = steps(ctypes.create_string_buffer(37))\n"
        "print(next(run), run.send(37))\n"
        "attempt(lambda: run.send(40))\n"
        "run = steps(ctypes.create_string_buffer(37))\n"
        "next(run)\n"
        "attempt(lambda: run.throw(KeyError()))\n"
        "run.close()\n"
    )

    result = heapwitness_run(python, script, _library())

    first, *found = result.stdout.splitlines()
    bad, hit = "steps(c_char_Array_37) at script.py", "heap-buffer-overflow 37"
    assert (first, found) == ("37 37", [f"{bad}:26 {hit} 3 1 1", f"{bad}:29 {hit} 2 1 1"])


@each_python
def test_bad_step_of_a_checked_asynchronous_generator_is_named(tmp_path: Path, python: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        f"{WATCHES}{STEPS.format(head='async def')}"
        "async def main(error):\n"
        "    run = steps(ctypes.create_string_buffer(37))\n"
        "    print(await run.asend(None), await run.asend(37))\n"
        "    await (run.athrow(error) if error else run.asend(40))\n"
        "for error in (None, KeyError()):\n"
        "    attempt(lambda: asyncio.run(main(error)))\n"
    )

    result = heapwitness_run(python, script, _library())

    bad = "steps(c_char_Array_37) at script.py:27 heap-buffer-overflow 37"
    assert result.stdout.splitlines() == ["37 37", f"{bad} 3 1 1", "37 37", f"{bad} 2 1 1"]


@each_python
def test_call_of_a_checked_coroutine_is_where_the_program_waits_and_not_in_the_event_loop(
    tmp_path: Path, python: Path
) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        f"import asyncio\n{WATCHES}@heapwitness.checked\nasync def scale(buffer):\n    ctypes.memset(buffer, 1, 40)\n"
        "attempt(lambda: asyncio.run(scale(ctypes.create_string_buffer(37))))\n"
    )

    result = heapwitness_run(python, script, _library())

    assert result.stdout.startswith("scale(c_char_Array_37) at script.py:19 heap-buffer-overflow")


@pytest.mark.parametrize(
    ("call", "said"),
    [
        ("checked(dict)", "checked is for functions and methods, and <class 'dict'> is none."),
        ("checked(3)", "checked is for functions and methods, and 3 is none."),
        ("watch('libm.so.6')", "watch takes a library that is loaded, as ctypes.CDLL('libm.so.6') is."),
    ],
)
def test_what_cannot_be_checked_is_refused_without_an_engine_too(call: str, said: str) -> None:
    done = subprocess.run(
        ["python3", "-c", f"import heapwitness\nheapwitness.{call}"],
        capture_output=True,
        text=True,
        env=environment(),
    )

    assert done.stderr.splitlines()[-1] == f"TypeError: heapwitness.{said}"


@each_python
def test_check_raises_the_finding_and_counts_what_is_sound(tmp_path: Path, python: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        f"{WATCHES}counts = heapwitness.check()\n"
        "print(counts.operations > 1000, counts.nodes > 1000, counts.findings, counts.repaired)\n"
        "kept.append(ctypes.create_string_buffer(50))\nctypes.memset(ctypes.addressof(kept[0]) + 50, 1, 3)\n"
        "attempt(heapwitness.check)\nprint(heapwitness.check().findings)\n"
    )

    result = heapwitness_run(python, script, _library())

    assert result.stdout.splitlines() == ["True True 0 0", "- heap-buffer-overflow 50 3 1 1", "1"]


@pytest.mark.parametrize("say", [False, True], ids=["silent", "said once"])
def test_without_an_engine_a_library_stays_what_it_is(tmp_path: Path, say: bool) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "import ctypes, heapwitness\nlibrary = ctypes.CDLL(None)\n"
        f"print(heapwitness.watch(library, say={say}) is library, heapwitness.checked(print) is print)\n"
        f"with heapwitness.watch(say={say}): print(sum(heapwitness.check(say={say})))\n"
    )

    done = subprocess.run(["python3", script], capture_output=True, text=True, env=environment(), check=True)

    assert done.stdout.split() == ["True", "True", "0"]
    assert done.stderr.count("there is no engine in this process") == say
