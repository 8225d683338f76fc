"""Extension modules that overrun an array, by each of the tools that people write them with.

Each is compiled for the Python that runs the tests; without the tool, or Python's headers, these tests skip.
"""

import importlib.util
import subprocess
import sys
import sysconfig
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hunt_support import heapwitness_hunt
from run_support import FOUND, WORK, heapwitness_run, needs_engine

pytestmark = needs_engine

INCLUDE = sysconfig.get_paths()["include"]
SUFFIX = sysconfig.get_config_var("EXT_SUFFIX")

CYTHON = """\
# cython: boundscheck=False, wraparound=False
def fill(double[:] out, double value):
    cdef Py_ssize_t i
    for i in range(out.shape[0] + 1):
        out[i] = value
"""
PYBIND = """\
#include <pybind11/numpy.h>
static void fill(pybind11::array_t<double> out, double value)
{
    double *to = out.mutable_data();
    for (pybind11::ssize_t i = 0; i <= out.size(); i++)
        to[i] = value;
}
PYBIND11_MODULE(module, m) { m.def("fill", &fill); }
"""
NANOBIND = """\
#include <nanobind/ndarray.h>
static void fill(nanobind::ndarray<double, nanobind::ndim<1>, nanobind::c_contig> out, double value)
{
    double *to = out.data();
    for (size_t i = 0; i <= out.shape(0); i++)
        to[i] = value;
}
NB_MODULE(module, m) { m.def("fill", &fill); }
"""
NUMBA = """\
from numba import njit
@njit
def fill(out, value):
    for i in range(len(out) + 1):
        out[i] = value
"""
MAIN = """\
import numpy
import module
def make(count):
    return numpy.zeros(count)
def work(count):
    out = make(count)
    module.fill(out, 2.5)
    del out
work(33)
print("done")
"""


def _cython(directory: Path) -> None:
    (directory / "module.pyx").write_text(CYTHON)
    subprocess.run([sys.executable, "-m", "cython", "-3", "module.pyx"], cwd=directory, check=True, capture_output=True)
    _compile("gcc", directory / "module.c", "-g")


def _pybind(directory: Path) -> None:
    (directory / "module.cpp").write_text(PYBIND)
    _compile("g++", directory / "module.cpp", "-g", "-std=c++17", f"-I{_package('pybind11') / 'include'}")


def _nanobind(directory: Path) -> None:
    (directory / "module.cpp").write_text(NANOBIND)
    home = _package("nanobind")
    headers = (f"-I{home / 'include'}", f"-I{home / 'ext' / 'robin_map' / 'include'}")
    _compile("g++", directory / "module.cpp", "-g", "-std=c++17", *headers, str(home / "src" / "nb_combined.cpp"))


def _numba(directory: Path) -> None:
    (directory / "module.py").write_text(NUMBA)


class _Tool(NamedTuple):
    """`stores`: function and file of the innermost frames of the store, as far as there are any of the module's own."""

    build: Callable[[Path], None]
    stores: tuple[str, str, int] | None


TOOLS = {
    "cython": _Tool(_cython, ("module.fill", "module.pyx", 5)),
    "pybind11": _Tool(_pybind, ("fill", "module.cpp", 6)),
    "nanobind": _Tool(_nanobind, ("fill", "module.cpp", 6)),
    "numba": _Tool(_numba, None),
}


def _package(name: str) -> Path:
    found = importlib.util.find_spec(name)
    assert found is not None and found.origin is not None
    return Path(found.origin).parent


def _compile(compiler: str, source: Path, *options: str) -> None:
    target = source.with_name(f"module{SUFFIX}")
    command = [compiler, "-w", "-O1", "-fPIC", "-shared", "-fvisibility=hidden", f"-I{INCLUDE}", "-o", str(target)]
    subprocess.run([*command, str(source), *options], check=True)


@cache
def _built(tool: str) -> Path:
    """The program whose module that tool made."""
    for package in (tool.replace("cython", "Cython"), "numpy"):
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"needs {package}")
    if not Path(INCLUDE, "Python.h").exists():
        pytest.skip("needs Python's headers")
    directory = WORK / f"extension-{tool}"
    directory.mkdir()
    TOOLS[tool].build(directory)
    (directory / "main.py").write_text(MAIN)
    return directory / "main.py"


def _lines(site: dict[str, Any], script: Path) -> list[tuple[str, int]]:
    return [(frame["function"], frame["line"]) for frame in site["stack"] if frame["file"] == str(script)]


@pytest.mark.parametrize("tool", TOOLS)
def test_one_element_too_many_names_the_array_and_the_lines_that_made_and_released_it(tool: str) -> None:
    script = _built(tool)

    result = heapwitness_run(sys.executable, script)

    assert (result.status, result.stdout) == (FOUND, "done\n")
    (finding,) = result.findings
    assert (finding["kind"], finding["count"], finding["repaired"]) == ("heap-buffer-overflow", 1, True)
    assert (finding["culprit"]["array"]["shape"], finding["element"]) == ([33], [33])
    assert _lines(finding["culprit"]["allocated"], script)[0] == ("make", 4)
    assert _lines(finding["detected"], script) == [("work", 8), ("<module>", 9)]
    assert "of a float64 array of shape (33,) allocated by make at main.py:4" in " ".join(result.stderr.split())


@pytest.mark.parametrize("tool", TOOLS)
def test_hunted_store_has_the_extensions_line_and_the_python_line_that_called_it(tool: str) -> None:
    script = _built(tool)

    hunted = heapwitness_hunt(sys.executable, script, options=("--tries", "2"))

    (finding,) = hunted.stores
    stack = finding["store"]["stack"]
    own = [(one["function"], one["file"], one["line"]) for one in stack if "module." in (one["file"] or "")]
    assert _lines(finding["store"], script) == [("work", 7), ("<module>", 9)]
    assert _lines(finding["culprit"]["allocated"], script)[0] == ("make", 4)
    if stores := TOOLS[tool].stores:
        function, file, line = own[0]
        assert (function.partition("(")[0], Path(file).name, line) == stores


def test_hunted_store_of_a_numba_loop_has_the_loops_name() -> None:
    hunted = heapwitness_hunt(sys.executable, _built("numba"), options=("--tries", "2"))

    (finding,) = hunted.stores
    assert finding["store"]["stack"][0]["function"].startswith("module::fill(")
    text = " ".join(hunted.stderr.split())
    assert "module::fill, compiled at run time, called by work (main.py), wrote" in text
    assert "NUMBA_DEBUGINFO=1 in the environment tells lines in what Numba compiled" in text


def test_hunted_store_of_a_numba_loop_has_its_line_where_numba_was_asked_for_it() -> None:
    options = ("--tries", "2")
    hunted = heapwitness_hunt(sys.executable, _built("numba"), options=options, NUMBA_DEBUGINFO="1")

    (finding,) = hunted.stores
    inner = finding["store"]["stack"][0]
    assert (Path(inner["file"]).name, inner["line"]) == ("module.py", 5)
    text = " ".join(hunted.stderr.split())
    assert "module::fill (module.py) wrote" in text
    assert "NUMBA_DEBUGINFO" not in text
