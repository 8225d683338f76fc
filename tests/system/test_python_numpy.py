"""NumPy's arrays: their data lies in the checked heap, and findings say what the array is."""

import subprocess
from pathlib import Path

import pytest
from run_support import FOUND, Result, environment, heapwitness_run, needs_engine
from support.pythons import each_python_with

pytestmark = needs_engine

START = """\
import ctypes
import numpy as np
from numpy.lib.stride_tricks import as_strided
"""


def _run(directory: Path, python: Path, text: str, *options: str) -> tuple[Path, Result]:
    script = directory / "script.py"
    script.write_text(START + text)
    return script, heapwitness_run(python, script, options=options)


def _lines(site: dict[str, object], script: Path) -> list[tuple[str, int]]:
    frames = site["stack"]
    assert isinstance(frames, list)
    return [(one["function"], one["line"]) for one in frames if one["file"] == str(script)]


@each_python_with("numpy")
@pytest.mark.parametrize(
    ("made", "views", "array", "element"),
    [
        ("np.zeros(12)", "(13,), (8,))[12]", ("float64", [12], [8]), [12]),
        ("np.ones(13, dtype='i2')", "(16,), (2,))[13]", ("int16", [13], [2]), [13]),
        ("np.empty((3, 4), dtype='>i4')", "(4, 4), (16, 4))[3, 0]", ("big-endian int32", [3, 4], [16, 4]), [3, 0]),
        ("np.zeros((3, 4), order='F')", "(3, 5), (8, 24))[0, 4]", ("float64", [3, 4], [8, 24]), [0, 4]),
        ("np.zeros(200_000)", "(200_001,), (8,))[200_000]", ("float64", [200_000], [8]), [200_000]),
    ],
    ids=["floats", "shorts", "rows", "columns", "large"],
)
def test_write_past_the_end_names_the_array_and_the_element(
    tmp_path: Path, python: Path, made: str, views: str, array: tuple[str, list[int], list[int]], element: list[int]
) -> None:
    text = f"def make():\n    return {made}\na = make()\nas_strided(a, {views} = -77\ndel a\nprint('deleted')\n"

    script, result = _run(tmp_path, python, text)

    assert (result.status, result.stdout) == (FOUND, "deleted\n")
    (finding,) = result.findings
    assert finding["kind"] == "heap-buffer-overflow"
    assert finding["detected"]["when"] == "free"
    told = finding["culprit"]["array"]
    assert (told["dtype"], told["shape"], told["strides"]) == array
    assert _lines(finding["culprit"]["allocated"], script)[0] == ("make", 5)
    # At the array's own release, or before, at that of what lies behind it.
    assert _lines(finding["detected"], script) in ([("<module>", 7)], [("<module>", 8)])
    assert f"of a{'n' if array[0][0] == 'i' else ''} {array[0]} array of shape" in result.stderr.replace("\n ", "")
    assert finding["element"] == element


@each_python_with("numpy")
@pytest.mark.parametrize("value", ["1.0", "3.5", "-77", "0.1"])
@pytest.mark.parametrize("count", [2, 50, 100])
def test_one_element_too_many_is_the_arrays_whatever_its_value(
    tmp_path: Path, python: Path, count: int, value: str
) -> None:
    text = f"a = np.zeros({count})\nas_strided(a, ({count + 1},), (8,))[{count}] = {value}\ndel a\n"

    script, result = _run(tmp_path, python, text)

    (finding,) = result.findings
    assert finding["kind"] == "heap-buffer-overflow"
    assert finding["element"] == [count]
    assert _lines(finding["culprit"]["allocated"], script) == [("<module>", 4)]


@each_python_with("numpy")
@pytest.mark.parametrize(("kind", "count", "size"), [("f4", 100, 4), ("c16", 64, 16), ("f8", 55, 8)])
def test_element_that_begins_with_zeros_is_surely_the_arrays_before_a_block_that_was_never_used(
    tmp_path: Path, python: Path, kind: str, count: int, size: int
) -> None:
    # The last of many that are made lies before what was never used.
    text = (
        f"kept = [np.zeros({count}, '{kind}') for _ in range(300)]\na = kept[-1]\n"
        f"as_strided(a, ({count + 1},), ({size},))[{count}] = 1.0\ndel a, kept[-1]\n"
    )

    _, result = _run(tmp_path, python, text)

    (finding,) = result.findings
    damage = finding["damage"]
    assert (finding["kind"], finding["certain"], finding["element"]) == ("heap-buffer-overflow", True, [count])
    # The last byte may be what the check behind the array had there.
    assert (damage["offset"], size - damage["length"]) in ((0, 0), (0, 1))


@each_python_with("numpy")
@pytest.mark.parametrize("element", [0, 3, 5])
def test_write_into_the_data_of_a_small_array_that_is_gone_is_seen(tmp_path: Path, python: Path, element: int) -> None:
    text = (
        "def make():\n    return np.zeros(6)\n"
        "def drop():\n    a = make()\n    at = a.ctypes.data\n    del a\n    return at\n"
        f"ctypes.c_double.from_address(drop() + 8 * {element}).value = 3.25\n"
        "b = [make() for _ in range(40)]\n"
    )

    script, result = _run(tmp_path, python, text)

    (finding,) = result.findings
    assert finding["kind"] == "use-after-free-write"
    assert _lines(finding["culprit"]["allocated"], script)[0] == ("make", 5)
    assert _lines(finding["culprit"]["freed"], script) == [("drop", 9)]


@each_python_with("numpy")
def test_arrays_of_threads_have_their_data_there_too(tmp_path: Path, python: Path) -> None:
    text = (
        "import threading\n"
        "def work():\n    a = np.zeros(12)\n    as_strided(a, (13,), (8,))[12] = 1\n"
        "thread = threading.Thread(target=work)\nthread.start()\nthread.join()\n"
    )

    script, result = _run(tmp_path, python, text, "--check-every", "1000000")

    (finding,) = result.findings
    assert finding["culprit"]["domain"] == "NumPy"
    assert _lines(finding["culprit"]["allocated"], script) == [("work", 6)]


@each_python_with("numpy")
def test_healthy_arrays_are_no_finding(tmp_path: Path, python: Path) -> None:
    text = (
        "import threading\n"
        "def work():\n"
        "    for n in range(3000):\n"
        "        a = np.arange(n % 200 + 1.0)\n"
        "        b = np.resize(a, n % 77 + 1) + a[0]\n"
        "        b.resize(n % 300, refcheck=False)\n"
        "        np.concatenate([a, b]).sort()\n"
        "    np.zeros(3_000_000).sum()\n"
        "threads = [threading.Thread(target=work) for _ in range(3)]\n"
        "for one in threads: one.start()\n"
        "for one in threads: one.join()\n"
        "print(np._core.multiarray.get_handler_name() if hasattr(np, '_core') else 'default_allocator')\n"
    )

    _, result = _run(tmp_path, python, text)

    assert (result.status, result.stdout) == (0, "default_allocator\n")
    assert result.findings == []


FENCED = """\
import heapwitness
fenced = heapwitness.numpy.fence(np.arange(13, dtype="i2"){option})
assert (fenced == range(13)).all()
def overrun(view):
    view[{index}] = 5
    sum([1, 2])
    print("went on")
try:
    overrun({view})
except heapwitness.HeapCorruption as error:
    store = error.finding.store
    print(error.finding.kind, error.finding.element, store.address - fenced.ctypes.data)
"""


@each_python_with("numpy")
@pytest.mark.parametrize(
    ("option", "view", "index", "told"),
    [
        ("", "as_strided(fenced, (14,), (2,))", 13, "heap-buffer-overflow [13] 26"),
        (
            ", start=True",
            "np.frombuffer((ctypes.c_char * 4).from_address(fenced.ctypes.data - 4), 'i2')",
            1,
            "heap-buffer-underflow [-1] -2",
        ),
    ],
    ids=["end", "start"],
)
def test_store_beyond_a_fence_raises_and_its_line_is_told(
    tmp_path: Path, python: Path, option: str, view: str, index: int, told: str
) -> None:
    text = FENCED.format(option=option, view=view, index=index)

    script, result = _run(tmp_path, python, text)

    assert result.stdout.replace("(", "[").replace(",)", "]") == f"{told}\n"
    finding = result.findings[0]
    assert ("overrun", 8) in _lines(finding["store"], script)
    assert _lines(finding["culprit"]["allocated"], script) == [("<module>", 5)]


@each_python_with("numpy")
def test_arrays_are_guarded_where_that_is_asked_for(tmp_path: Path, python: Path) -> None:
    text = (
        "import heapwitness\n"
        "name = (np._core if hasattr(np, '_core') else np.core).multiarray.get_handler_name\n"
        "with heapwitness.numpy.guarded():\n    inner = np.zeros(4)\n"
        "print(name(inner), name(np.zeros(4)), heapwitness.numpy.install())\n"
        "as_strided(inner, (5,), (8,))[4] = 1\ndel inner\n"
    )

    _, result = _run(tmp_path, python, text)

    assert result.stdout == "heapwitness default_allocator True\n"
    assert [one["culprit"]["array"]["shape"] for one in result.findings] == [[4]]


@each_python_with("numpy")
def test_without_an_engine_arrays_are_as_they_were(tmp_path: Path, python: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "import heapwitness, numpy\na = numpy.zeros(3)\n"
        "with heapwitness.numpy.guarded(): b = heapwitness.numpy.fence(a)\n"
        "print(b is a, heapwitness.numpy.install())\n"
    )

    done = subprocess.run([python, script], capture_output=True, text=True, env=environment(), check=True)

    assert (done.stdout, done.stderr) == ("True False\n", "")
