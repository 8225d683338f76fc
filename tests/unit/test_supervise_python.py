"""Python frames of a process that runs, and their place in a C stack."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from heapwitness.findings.model import Frame
from heapwitness.supervise.merge import with_python
from heapwitness.supervise.modules import is_python
from heapwitness.supervise.python_stack import PythonFrame, PythonStacks

SCRIPT = """\
import sys, time
def inner():
    print(flush=True)
    time.sleep(60)
def outer():
    list(map(lambda _: inner(), [0]))
outer()
"""


@pytest.fixture
def sleeper(tmp_path: Path) -> Iterator[int]:
    """The pid of a Python program that waits in `inner`."""
    (tmp_path / "script.py").write_text(SCRIPT)
    command = [sys.executable, str(tmp_path / "script.py")]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield process.pid
        process.kill()


def test_frames_of_a_waiting_thread_come_innermost_first(sleeper: int, tmp_path: Path) -> None:
    stacks = PythonStacks()

    frames = stacks.frames(sleeper, sleeper)
    stacks.close()

    assert [(one.function, one.line) for one in frames] == [
        ("inner", 4),
        ("<lambda>", 6),
        ("outer", 6),
        ("<module>", 7),
    ]
    assert {one.file for one in frames} == {str(tmp_path / "script.py")}


def test_process_that_is_no_python_or_is_gone_has_no_frames() -> None:
    stacks = PythonStacks()

    with subprocess.Popen(["sleep", "60"]) as process:
        assert stacks.frames(process.pid, process.pid) == ()
        process.kill()
    assert stacks.frames(process.pid, process.pid) == ()
    stacks.close()


@pytest.mark.timeout(60)  # against a hang, not a measurement
def test_helper_that_does_not_answer_is_given_up(sleeper: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("heapwitness.supervise.python_stack.WAIT", 0.0)
    stacks = PythonStacks()

    answers = [stacks.frames(sleeper, sleeper) for _ in range(50)]

    assert answers == [()] * 50


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/usr/bin/python3.11", True),
        ("/usr/lib/libpython3.13t.so.1.0", True),
        ("/usr/bin/python3 (deleted)", True),
        ("/usr/bin/pythonish", False),
        ("/home/python3/program", False),
    ],
)
def test_python_is_known_by_what_is_mapped(path: str, expected: bool) -> None:
    assert is_python(f"1000-2000 r-xp 00000000 00:00 1      {path}\n") is expected


def python(name: str, *, entry: bool) -> PythonFrame:
    return PythonFrame(name, "s.py", 1, entry)


def names(frames: tuple[Frame, ...]) -> list[str | None]:
    return [f"{one.function}.py" if one.language == "python" else one.function for one in frames]


def test_each_interpreter_frame_gives_way_to_the_python_frames_that_it_runs() -> None:
    stack = [Frame(pc=n, function=name) for n, name in enumerate(["f", "_PyEval_EvalFrameDefault", "map_next"])]
    stack += [Frame(pc=9, function="_PyEval_EvalFrameDefault.cold"), Frame(pc=10, function="main")]
    frames = [python("a", entry=False), python("b", entry=True), python("c", entry=True)]

    assert names(with_python(stack, frames)) == ["f", "a.py", "b.py", "map_next", "c.py", "main"]


def test_stack_that_ends_before_the_interpreter_gets_the_python_frames_at_its_end() -> None:
    stack = [Frame(pc=1, function="f")]

    assert names(with_python(stack, [python("a", entry=True), python("b", entry=False)])) == ["f", "a.py", "b.py"]


def test_python_frames_stand_before_an_interpreter_whose_functions_have_no_names() -> None:
    interpreter = "/usr/bin/python3.14"
    stack = [Frame(pc=1, function="f", module="/lib/f.so"), Frame(pc=2, module="/lib/f.so")]
    stack += [Frame(pc=3, function="_Py_Dealloc", module=interpreter), Frame(pc=4, module=interpreter)]
    stack += [Frame(pc=5, module=interpreter), Frame(pc=6, function="PyEval_EvalCode", module=interpreter)]
    frames = [python("a", entry=True), python("b", entry=True)]

    merged = with_python(stack, frames)

    assert names(merged) == ["f", None, "_Py_Dealloc", "a.py", "b.py", None, None, "PyEval_EvalCode"]


def test_stack_without_python_stays_as_it_is() -> None:
    stack = (Frame(pc=1, function="f"), Frame(pc=2, function="_PyEval_EvalFrameDefault"))

    assert with_python(stack, []) == stack
