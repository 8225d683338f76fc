"""What code is called in text: Cython's functions as they were written, C++'s without what fills lines."""

import pytest

from heapwitness.findings.model import Block, Detected, Finding, Frame, Store
from heapwitness.report.names import spoken
from heapwitness.report.text import headline

ARRAY = "pybind11::array_t<double, 16> (*&)(int)"
CAST = f"pybind11::cpp_function::initialize<{ARRAY}>({ARRAY})"
LAMBDA = f"{CAST}::{{lambda(pybind11::detail::function_call&)#3}}::operator()(pybind11::detail::function_call&) const"


@pytest.mark.parametrize(
    ("function", "said"),
    [
        ("__pyx_pf_7signals_moving_average", "moving_average"),
        ("__pyx_pw_7signals_1moving_average", "moving_average"),
        ("__pyx_f_3pkg7signals_fill", "__pyx_f_3pkg7signals_fill"),
        ("__pyx_f_3pkg_7signals_fill", "fill"),
        ("__pyx_pf_7signals_6Filter_2apply", "apply"),
        ("__pyx_pf_999999", "__pyx_pf_999999"),
        ("__Pyx_GetItemInt_Fast", "__Pyx_GetItemInt_Fast"),
        ("std::vector<int>::push_back(int const&)", "std::vector<int>::push_back(int const&)"),
        ("new_record", "new_record"),
    ],
)
def test_a_function_is_called_as_its_author_calls_it(function: str, said: str) -> None:
    assert spoken(function) == said


def test_a_very_long_name_is_told_without_arguments_of_templates() -> None:
    assert len(spoken(LAMBDA)) < 100
    assert spoken(LAMBDA).startswith("pybind11::cpp_function::initialize")


@pytest.mark.parametrize("called", [True, False])
def test_code_that_is_in_no_file_is_told_to_be_such_with_who_called_it(called: bool) -> None:
    block = Block(address=64, size=8, state="used", origin="malloc")
    line = Frame(pc=0, function="work", file="/app/main.py", line=7, language="python")
    store = Store(address=72, size=1, stack=(Frame(pc=0x7F00), *([line] if called else [])))
    detected = Detected(when="trap", thread=1)

    told = headline(Finding(kind="heap-buffer-overflow", detected=detected, culprit=block, store=store, access="write"))

    by = ", called by work (main.py)" if called else ""
    assert told.startswith(f"code in no file (0x7f00), such as a compiler makes at run time{by}, wrote right past")
