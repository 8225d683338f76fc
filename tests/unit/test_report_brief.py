"""The frames of a stack that the author of a Python program is shown."""

import pytest

from heapwitness.findings.model import Detected, Finding, Frame
from heapwitness.report.brief import FRAMES, brief_stack
from heapwitness.report.facts import facts

PACKAGES = "/venv/lib/python3.12/site-packages"


def c(function: str, module: str = f"{PACKAGES}/_cffi_backend.so") -> Frame:
    return Frame(pc=0, module=module, offset=1, function=function)


def python(function: str, file: str = "/home/main.py") -> Frame:
    return Frame(pc=0, function=function, file=file, line=3, language="python")


def test_own_line_is_shown_behind_a_library_that_calls_c_code_by_python_lines() -> None:
    stack = (c("allocate"), c("new"), c("call", "/usr/bin/python3.12"), python("new", f"{PACKAGES}/cffi/api.py"))

    shown = brief_stack((*stack, python("blank"), python("main"), c("main", "/usr/bin/python3.12")))

    assert [frame.function for frame in shown] == ["allocate", "new", "blank", "main"]


def test_what_cython_wraps_around_a_function_is_left_out() -> None:
    def written(function: str, line: int, file: str = "ring.pyx") -> Frame:
        return Frame(pc=0, module="/home/ring.so", offset=1, function=function, file=file, line=line)

    made = (written("ring.Ring.__cinit__", 36), written("ring.Ring.__cinit__", 35))
    shown = brief_stack((*made, written("__pyx_tp_new_4ring_Ring", 19270, "ring.c"), python("main")))

    assert [(frame.function, frame.line) for frame in shown] == [("ring.Ring.__cinit__", 36), ("main", 3)]


@pytest.mark.parametrize("own", [1, 5])
def test_own_lines_are_shown_however_deep_a_library_calls(own: int) -> None:
    deep = [python("inside", f"{PACKAGES}/numpy/x.py")] * 20

    shown = brief_stack((*deep, *[python("own")] * own))

    assert [frame.function for frame in shown] == ["inside"] * (FRAMES - min(own, 2)) + ["own"] * min(own, 2)


def test_what_called_the_programs_own_code_is_left_out() -> None:
    shown = brief_stack((python("own"), python("run", f"{PACKAGES}/_pytest/runner.py"), python("<module>")))

    assert [frame.function for frame in shown] == ["own"]


@pytest.mark.parametrize("ends", ["Py_FinalizeEx", "_Py_Finalize"])
@pytest.mark.parametrize(
    ("last", "said"), [((), "in free, as Python ended"), ((python("bye"),), "in free, called by bye at main.py:3")]
)
def test_what_was_noticed_as_python_ended_says_so_where_no_line_does(
    ends: str, last: tuple[Frame, ...], said: str
) -> None:
    interpreter = "/usr/bin/python3.12"
    stack = (c("tuple_dealloc", interpreter), *last, c(ends, interpreter))
    detected = Detected(when="free", thread=1, stack=stack)

    told = next(
        fact for fact in facts(Finding(kind="heap-buffer-overflow", detected=detected)) if fact.label == "noticed"
    )

    assert told.lines == (said,)
