"""The frames of a stack that the author of a Python program is shown."""

import pytest

from heapwitness.findings.model import Frame
from heapwitness.report.brief import FRAMES, brief_stack

PACKAGES = "/venv/lib/python3.12/site-packages"


def c(function: str, module: str = f"{PACKAGES}/_cffi_backend.so") -> Frame:
    return Frame(pc=0, module=module, offset=1, function=function)


def python(function: str, file: str = "/home/main.py") -> Frame:
    return Frame(pc=0, function=function, file=file, line=3, language="python")


def test_own_line_is_shown_behind_a_library_that_calls_c_code_by_python_lines() -> None:
    stack = (c("allocate"), c("new"), c("call", "/usr/bin/python3.12"), python("new", f"{PACKAGES}/cffi/api.py"))

    shown = brief_stack((*stack, python("blank"), python("main"), c("main", "/usr/bin/python3.12")))

    assert [frame.function for frame in shown] == ["allocate", "new", "new", "blank", "main"]


@pytest.mark.parametrize("own", [1, 5])
def test_own_lines_are_shown_however_deep_a_library_calls(own: int) -> None:
    deep = [python("inside", f"{PACKAGES}/numpy/x.py")] * 20

    shown = brief_stack((*deep, *[python("own")] * own))

    assert [frame.function for frame in shown] == ["inside"] * (FRAMES - min(own, 2)) + ["own"] * min(own, 2)


def test_what_called_the_programs_own_code_is_left_out() -> None:
    shown = brief_stack((python("own"), python("run", f"{PACKAGES}/_pytest/runner.py"), python("<module>")))

    assert [frame.function for frame in shown] == ["own"]
