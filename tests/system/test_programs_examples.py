"""The examples that `make demo` shows: each bug is found, and what dies under glibc finishes."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from programs.harness import FOUND, run_command

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture(scope="module")
def examples(tmp_path_factory: pytest.TempPathFactory) -> Path:
    copy = tmp_path_factory.mktemp("examples")
    shutil.copytree(EXAMPLES, copy, dirs_exist_ok=True, ignore=shutil.ignore_patterns("build"))
    subprocess.run(["make", "-s", "-C", str(copy), "all"], check=True, timeout=120)
    return copy


@pytest.mark.parametrize(
    ("name", "kind", "size", "output"),
    [
        ("records", "heap-buffer-overflow", 24, "workers                      4\n"),
        ("greeting", "heap-buffer-overflow", 24, "hello, the world, and all in it\n"),
        ("amounts", "heap-buffer-underflow", 8, "15162342\n"),
        ("cache", "double-free", 11, "closed\n"),
        ("events", "use-after-free-write", 24, "1 event kept\n"),
        ("graph", "header-overwrite", None, "once around: 5.25\n"),
    ],
)
def test_an_example_is_found_and_finishes(examples: Path, name: str, kind: str, size: int | None, output: str) -> None:
    outcome = run_command(examples / "build" / name)
    assert outcome.status == FOUND
    assert [finding["kind"] for finding in outcome.findings] == [kind]
    culprit = outcome.findings[0]["culprit"]
    assert (culprit["size"] if culprit else None) == size
    assert outcome.stdout.endswith(output)
    assert outcome.findings[0]["repaired"] or kind == "double-free"


@pytest.mark.parametrize(("name", "error"), [("graph", b"corrupted top size"), ("cache", b"double free")])
def test_an_example_dies_under_glibc(examples: Path, name: str, error: bytes) -> None:
    plain = subprocess.run([examples / "build" / name], capture_output=True, timeout=60, check=False)
    assert plain.returncode < 0
    assert error in plain.stderr


def test_both_wrong_releases_of_the_cpp_example_are_found(examples: Path) -> None:
    if shutil.which("g++") is None:
        pytest.skip("g++ is not installed")
    outcome = run_command(examples / "build" / "shapes")
    assert [finding["kind"] for finding in outcome.findings] == ["mismatched-free"] * 2
    assert outcome.stdout == "area 7.0\n"


def test_a_ctypes_call_that_writes_too_much_is_found(examples: Path) -> None:
    outcome = run_command(sys.executable, examples / "ctypes_overflow.py")
    assert [finding["kind"] for finding in outcome.findings] == ["heap-buffer-overflow"]
    assert outcome.findings[0]["culprit"]["size"] == 37
    assert outcome.findings[0]["damage"]["length"] == 3
    assert outcome.stdout == "AAAAAAAA\n"


def test_make_demo_shows_every_report(examples: Path) -> None:
    command = f"{sys.executable} -m heapwitness"
    demo = subprocess.run(
        ["make", "-s", "-C", str(examples), "demo", f"HEAPWITNESS={command}", f"PYTHON={sys.executable}"],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env=os.environ | {"NO_COLOR": "1"},
    )
    assert demo.returncode == 0, demo.stdout + demo.stderr
    assert "Each of the" in demo.stdout
