"""Python programs: blocks have the Python lines that allocated and released them."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from run_support import FOUND, compiled, engine, heapwitness_command, heapwitness_run, needs_engine
from support.pythons import each_named_python, each_python, each_python_of_own_frames

pytestmark = needs_engine

BLOCKS = """\
import ctypes
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
libc.malloc.argtypes = [ctypes.c_size_t]
libc.free.argtypes = [ctypes.c_void_p]
def spoil(block):
    ctypes.memset(block + 24, 1, 3)
"""
"""A block of 24 bytes is `libc.malloc(24)`; the program's own lines begin at 8."""


def _python_lines(site: dict[str, Any] | None, file: str) -> list[tuple[str, int]]:
    """Function and line of the Python frames of a site that lie in a file, innermost first."""
    frames = site["stack"] if site else []
    return [(one["function"], one["line"]) for one in frames if one["language"] == "python" and one["file"] == file]


def _write(directory: Path, text: str) -> Path:
    script = directory / "script.py"
    script.write_text(BLOCKS + text)
    return script


def _allocations(findings: list[dict[str, Any]], file: Path | str) -> list[list[tuple[str, int]]]:
    return sorted(_python_lines(one["culprit"]["allocated"], str(file)) for one in findings)


@each_python
def test_lines_of_one_c_function_are_told_apart_and_each_is_named(tmp_path: Path, python: Path) -> None:
    script = _write(
        tmp_path,
        "def first():\n    return libc.malloc(24)\n"
        "def second(): return libc.malloc(24)\n"
        "for block in [first(), second(), first()]:\n    spoil(block)\n",
    )

    result = heapwitness_run(python, script)

    assert result.status == FOUND
    assert _allocations(result.findings, script) == [
        [("first", 9), ("<module>", 11)],
        [("second", 10), ("<module>", 11)],
    ]
    assert sorted(one["count"] for one in result.findings) == [1, 2]
    assert "24-byte block allocated by first\n  at script.py:9" in result.stderr


@each_python
def test_lines_of_libraries_lead_on_to_the_programs_own(tmp_path: Path, python: Path) -> None:
    script = _write(
        tmp_path,
        "def make():\n    return ctypes.create_string_buffer(37)\n"
        "kept = make()\nctypes.memset(ctypes.addressof(kept) + 37, 1, 2)\n",
    )

    (finding,) = heapwitness_run(python, script).findings

    stack = [one for one in finding["culprit"]["allocated"]["stack"] if one["language"] == "python"]
    assert [one["function"] for one in stack] == ["create_string_buffer", "make", "<module>"]
    assert (stack[1]["file"], stack[1]["line"]) == (str(script), 9)


@each_python
@pytest.mark.parametrize("stacks", ["fast", "full"])
def test_class_that_was_called_often_leads_on_to_who_called_it(tmp_path: Path, python: Path, stacks: str) -> None:
    library = tmp_path / "site-packages"
    library.mkdir()
    (library / "library.py").write_text(
        "class Holder:\n    def __init__(self, take):\n        self.block = take(24)\n"
        "class Noticing:\n    def __init__(self, one):\n        one.free(one.block)\n"
    )
    script = _write(
        tmp_path,
        f"import sys\nsys.path.insert(0, {str(library)!r})\nfrom library import Holder, Noticing\n"
        "Holder.free = libc.free\n"
        "def make():\n    return [Holder(libc.malloc) for _ in range(60)]\n"
        "def drop(held):\n    for one in held:\n        Noticing(one)\n"
        "held = make()\nspoil(held[-1].block)\ndrop(held)\n",
    )

    (finding,) = heapwitness_run(python, script, options=("--stacks", stacks)).findings

    allocated, noticed = (
        [
            (one["function"], one["line"])
            for one in stack
            if one["language"] == "python" and "comp" not in one["function"]
        ]
        for stack in (finding["culprit"]["allocated"]["stack"], finding["detected"]["stack"])
    )
    assert allocated[1:2] == [("make", 13)] and noticed[1:2] == [("drop", 16)]
    assert [name.rpartition(".")[2] for name, _ in (allocated[0], noticed[0])] == ["__init__"] * 2


@each_python
def test_what_a_class_that_was_called_often_gives_back_has_its_callers_line(tmp_path: Path, python: Path) -> None:
    script = _write(
        tmp_path,
        "class Kept:\n    __slots__ = ('block', 'free')\n"
        "class Drops:\n    def __init__(self):\n        kept = bytearray(1000)\n        places.append(ctypes.addressof("
        "ctypes.c_char.from_buffer(kept)))\n"
        "places = []\n"
        "def drop():\n    for _ in range(60):\n        Drops()\n"
        "drop()\n"
        "ctypes.memset(places[-1], 1, 24)\n",
    )

    (finding,) = heapwitness_run(python, script).findings

    assert finding["kind"] == "use-after-free-write"
    assert _python_lines(finding["culprit"]["freed"], str(script)) == [("drop", 17)]


@each_python
def test_code_that_comes_to_lie_where_other_code_was_is_not_taken_for_it(tmp_path: Path, python: Path) -> None:
    script = _write(
        tmp_path,
        "def run(number):\n"
        "    scope = {'libc': libc}\n"
        "    source = '\\n' * number + 'block = libc.malloc(24)'\n"
        "    exec(compile(source, f'<cell {number:02}>', 'exec'), scope)\n"
        "    return scope['block'], scope\n"
        "blocks = [run(number)[0] for number in range(40)]\n"
        "spoil(blocks[3])\nspoil(blocks[21])\n",
    )

    findings = heapwitness_run(python, script).findings

    assert len(findings) == 2
    assert _allocations(findings, "<cell 03>") == [[], [("<module>", 4)]]
    assert _allocations(findings, "<cell 21>") == [[], [("<module>", 22)]]


@each_python
def test_library_that_is_called_by_code_where_other_code_was_leads_to_the_right_one(
    tmp_path: Path, python: Path
) -> None:
    library = tmp_path / "site-packages"
    library.mkdir()
    (library / "library.py").write_text(BLOCKS + "def make(take=libc.malloc):\n    return take(24)\n")
    script = _write(
        tmp_path,
        f"import sys\nsys.path.insert(0, {str(library)!r})\nfrom library import make\n"
        "codes = [compile('\\n' * number + 'block = make()', f'<cell {number:02}>', 'exec') for number in range(40)]\n"
        "scope = {'make': make}\nblocks = []\n"
        "def run_all():\n"
        "    while codes:\n"
        "        exec(codes.pop().replace(), scope)\n"
        "        blocks.insert(0, scope['block'])\n"
        "run_all()\n"
        "for number in (5, 6, 30):\n    spoil(blocks[number])\n",
    )

    findings = heapwitness_run(python, script).findings

    named = [one["culprit"]["allocated"]["stack"] for one in findings]
    lines = sorted(
        (frame["file"], frame["line"]) for stack in named for frame in stack if "<cell" in str(frame["file"])
    )
    assert lines == [("<cell 05>", 6), ("<cell 06>", 7), ("<cell 30>", 31)]


@each_python
def test_library_that_is_called_by_several_lines_in_turn_leads_to_each(tmp_path: Path, python: Path) -> None:
    library = tmp_path / "site-packages"
    library.mkdir()
    (library / "library.py").write_text("def inner():\n    return bytearray(40)\ndef make():\n    return inner()\n")
    script = _write(
        tmp_path,
        f"import sys\nsys.path.insert(0, {str(library)!r})\nfrom library import make\n"
        "def first():\n    return make()\n"
        "def second(): return make()\n"
        "def third():\n    for made in map(lambda _: make(), [0]):\n        return made\n"
        "blocks = [one() for _ in range(30) for one in (first, second, third)]\n"
        "for block in blocks[60:]:\n"
        "    whole = (ctypes.c_char * 40).from_buffer(block)\n"
        "    ctypes.memset(ctypes.addressof(whole) + 41, 1, 2)\n",
    )

    findings = heapwitness_run(python, script).findings

    assert _allocations(findings, script) == [[("first", 12)], [("second", 13)], [("third.<locals>.<lambda>", 15)]]


@each_python
def test_generators_and_threads_have_their_lines(tmp_path: Path, python: Path) -> None:
    script = _write(
        tmp_path,
        "import threading\n"
        "def generate():\n"
        "    while True:\n"
        "        yield libc.malloc(24)\n"
        "blocks = generate()\n"
        "def work():\n"
        "    spoil(libc.malloc(24))\n"
        "    spoil(next(blocks))\n"
        "thread = threading.Thread(target=work)\nthread.start()\nthread.join()\n",
    )

    findings = heapwitness_run(python, script).findings

    assert _allocations(findings, script) == [[("generate", 11), ("work", 15)], [("work", 14)]]


@each_python
def test_release_has_its_line(tmp_path: Path, python: Path) -> None:
    script = _write(
        tmp_path,
        "block = libc.malloc(24)\n"
        "def give_back():\n    libc.free(block)\n"
        "def again():\n    libc.free(block)\n"
        "give_back()\nagain()\n",
    )

    result = heapwitness_run(python, script)

    (finding,) = result.findings
    assert finding["kind"] == "double-free"
    assert _python_lines(finding["culprit"]["freed"], str(script)) == [("give_back", 10)]
    assert _python_lines(finding["culprit"]["allocated"], str(script)) == [("<module>", 8)]
    assert "first by give_back at script.py:10" in " ".join(result.stderr.split())


def _whole_stack(directory: Path, python: Path) -> list[dict[str, Any]]:
    """Of a block that `inner` allocates, which `max(map(...))` in `outer` calls."""
    script = _write(
        directory,
        "def inner(_):\n    return libc.malloc(24)\ndef outer():\n    return max(map(inner, [0]))\nspoil(outer())\n",
    )
    (finding,) = heapwitness_run(python, script, options=("--stacks", "full")).findings
    return list(finding["culprit"]["allocated"]["stack"])


@each_python
def test_whole_stacks_have_all_python_frames(tmp_path: Path, python: Path) -> None:
    stack = _whole_stack(tmp_path, python)

    own = [("inner", 9), ("outer", 11), ("<module>", 12)]
    assert _python_lines({"stack": stack}, str(tmp_path / "script.py")) == own


@each_named_python
def test_whole_stacks_have_python_frames_in_their_places(tmp_path: Path, python: Path) -> None:
    stack = _whole_stack(tmp_path, python)

    place = {one["function"]: number for number, one in enumerate(stack) if one["function"]}
    between = {one["language"] for one in stack[place["inner"] + 1 : place["outer"]]}
    assert between == {"c"}


@each_python
def test_program_that_recorded_alone_has_its_lines(tmp_path: Path, python: Path) -> None:
    text = (
        "def make():\n    return libc.malloc(24)\ndef drop(block):\n    libc.free(block)\n"
        "kept = make()\nspoil(kept)\ndrop(kept)\n"
    )
    script = _write(tmp_path, text)
    log = tmp_path / "log"
    alone = {**os.environ, "LD_PRELOAD": str(engine()), "PYTHONMALLOC": "malloc", "HEAPWITNESS_LOG": str(log)}

    subprocess.run([python, script], env=alone, check=True)

    assert "allocated by make\n  at script.py:9" in heapwitness_command("report", log).stdout
    (finding,) = json.loads(heapwitness_command("report", "--format", "json", log).stdout)["findings"]
    assert _python_lines(finding["detected"], str(script)) == [("drop", 11), ("<module>", 14)]


SMASH = """
void smash(void) {
    static int i; /* not beside the array */
    volatile char array[16];
    for (i = 0; i < 4000; i++) array[i] = 65;
}
"""


@each_python_of_own_frames
def test_crash_of_an_overwritten_stack_has_the_lines_that_led_there(tmp_path: Path, python: Path) -> None:
    library = compiled(SMASH, "-O0", "-fno-stack-protector", "-shared", "-fPIC")
    script = _write(tmp_path, f"def call():\n    ctypes.CDLL('{library}').smash()\ncall()\n")

    (crash,) = heapwitness_run(python, script).report["crashes"]

    assert crash["signal"] == "SIGSEGV"
    assert _python_lines(crash, str(script)) == [("call", 9), ("<module>", 10)]
    assert any("its frame on the stack was overwritten" in note for note in crash["notes"])


@each_python
@pytest.mark.parametrize("stacks", ["fast", "caller", "full"])
def test_interpreter_that_begins_forks_and_ends_many_times_is_clean(tmp_path: Path, python: Path, stacks: str) -> None:
    script = _write(
        tmp_path,
        "import atexit, gc, os, sys, threading, time, weakref\n"
        "class Late:\n    def __del__(self):\n        self.kept = [str(i) for i in range(100)]\n"
        "kept = Late()\natexit.register(lambda: [Late() for _ in range(10)])\n"
        "callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)\n"
        "array = (ctypes.c_int * 50)(*range(50, 0, -1))\n"
        "compare = callback(lambda a, b: len(str(a) + str(b)) % 3 - 1)\n"
        "libc.qsort(array, 50, 4, compare)\n"
        "def spin():\n"
        "    while True:\n        [bytearray(i) for i in range(100)]\n"
        "for _ in range(3):\n    threading.Thread(target=spin, daemon=True).start()\n"
        "def deep(n):\n    return [n, deep(n - 1)] if n else []\n"
        "for _ in range(20):\n    deep(700)\n"
        "try:\n    import _xxsubinterpreters as interpreters\nexcept ImportError:\n    interpreters = None\n"
        "if interpreters:\n"
        "    for _ in range(3):\n"
        "        one = interpreters.create()\n"
        "        interpreters.run_string(one, 'x = [str(i) for i in range(1000)]')\n"
        "        interpreters.destroy(one)\n"
        "if os.fork() == 0:\n    sys.exit(0)\nos.wait()\nprint('done')\n",
    )

    result = heapwitness_run(python, script, options=("--stacks", stacks))

    assert (result.status, result.stdout) == (0, "done\n")
    assert not result.findings


@each_python
def test_without_lines_a_block_has_its_c_stack(tmp_path: Path, python: Path) -> None:
    script = _write(tmp_path, "def first():\n    return libc.malloc(24)\nspoil(first())\n")

    result = heapwitness_run(python, script, options=("--no-python-lines",))

    (finding,) = result.findings
    stack = finding["culprit"]["allocated"]["stack"]
    assert stack and all(frame["language"] == "c" for frame in stack)


HELPER = """\
import ctypes
def new(size):
    return ctypes.create_string_buffer(size)
def spoil(buffer, length):
    ctypes.memset(ctypes.addressof(buffer), 65, length)
def names():
    spoil(new(40), 43)
def ages():
    spoil(new(40), 45)
for turn in range(3):
    names()
    ages()
"""


@each_python
def test_bugs_in_what_is_done_with_blocks_of_one_helper_are_told_apart_by_its_callers(
    tmp_path: Path, python: Path
) -> None:
    script = tmp_path / "script.py"
    script.write_text(HELPER)

    result = heapwitness_run(python, script)

    found = {
        (
            tuple(
                (frame["function"], frame["line"])
                for frame in finding["culprit"]["allocated"]["stack"]
                if frame["file"] == str(script)
            ),
            finding["damage"]["length"],
            finding["count"],
        )
        for finding in result.findings
    }
    assert found == {((("new", 3), ("names", 7)), 3, 3), ((("new", 3), ("ages", 9)), 5, 3)}
