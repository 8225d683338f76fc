"""Released packages with known heap bugs: each is found, with its block, and the program finishes.

The packages are installed from the registry into a directory of their own; without the registry these tests skip.
What has no wheel is built from source, with the locked versions of what builds it.
"""

import os
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest
from hunt_support import heapwitness_hunt
from programs.harness import SOURCES, Outcome, run_command
from run_support import SOURCE

LOCK = Path(__file__).parents[2] / "constraints" / "locked.txt"


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("packages")


@cache
def install(requirement: str, under: Path) -> Path:
    """Install one pinned package, without dependencies, and give the directory to import it from."""
    target = under / requirement
    name = requirement.partition("==")[0]
    # The lock may name the package itself, in the version that our tests use.
    held = under / f"{name}.txt"
    held.write_text("".join(line for line in LOCK.open() if not line.startswith(f"{name}==")))
    # Which of the two holds for what builds a package depends on the release of pip.
    environment = {**os.environ, "PIP_CONSTRAINT": str(held), "PIP_BUILD_CONSTRAINT": str(held)}
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(target), requirement]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=280, check=False)
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or ["pip failed"])[-1]
        pytest.skip(f"{requirement} cannot be installed here: {last}")
    return target


def run_with(requirement: str, script: str, packages: Path) -> Outcome:
    """Run a script of `programs` that imports the package."""
    target = install(requirement, packages)
    path = os.pathsep.join([str(target), *filter(None, [os.environ.get("PYTHONPATH")])])
    return run_command(sys.executable, SOURCES / script, environment={"PYTHONPATH": path})


def modules(site: dict[str, list[dict[str, str | None]]]) -> str:
    return " ".join(frame["module"] or "" for frame in site["stack"])


def test_ujson_with_a_huge_indent_overruns_its_buffer(packages: Path) -> None:
    finding = run_with("ujson==5.1.0", "ujson_indent.py", packages).finding
    assert finding["kind"] == "heap-buffer-overflow"
    assert finding["culprit"]["size"] == 262_144
    assert finding["damage"]["offset"] == 0
    # The last byte is a terminator, which may be what was there before.
    assert finding["damage"]["length"] in (19, 20)
    assert "ujson" in modules(finding["culprit"]["allocated"])
    assert "ujson" in modules(finding["detected"])
    assert finding["repaired"]


def test_numpy_repeating_a_string_in_place_overruns_its_array(packages: Path) -> None:
    outcome = run_with("numpy==2.3.5", "numpy_multiply.py", packages)
    finding = outcome.finding
    assert outcome.stdout.splitlines()[0] == "-"
    assert finding["kind"] == "heap-buffer-overflow"
    assert finding["culprit"]["size"] == 4
    assert (finding["damage"]["offset"], finding["damage"]["length"]) == (0, 36)
    assert "_multiarray_umath" in modules(finding["culprit"]["allocated"])
    assert finding["repaired"]


def test_bsdiff4_with_a_crafted_patch_overruns_its_result(packages: Path) -> None:
    outcome = run_with("bsdiff4==1.1.9", "bsdiff4_patch.py", packages)
    finding = outcome.finding
    assert outcome.stdout.startswith("corrupt patch")
    assert finding["kind"] == "heap-buffer-overflow"
    assert finding["culprit"]["size"] == 16
    assert (finding["damage"]["offset"], finding["damage"]["length"]) == (0, 24)
    assert "bsdiff4" in modules(finding["detected"])


@pytest.mark.skipif(sys.version_info >= (3, 13), reason="Pillow 10.0.0 has no wheel for this Python")
def test_pillow_with_a_crafted_webp_image_overruns_its_huffman_table(packages: Path) -> None:
    outcome = run_with("Pillow==10.0.0", "pillow_webp.py", packages)
    # It leaves entries out, so that a header further on is a finding of its own, and not a sure one, where one is hit.
    (finding,) = (one for one in outcome.findings if one["certain"])
    assert outcome.stdout.startswith("failed to read")
    assert finding["kind"] == "heap-buffer-overflow"
    assert finding["culprit"]["size"] >= 2954 * 4
    assert "libwebp" in modules(finding["culprit"]["allocated"])


def test_ujsons_store_is_hunted_to_the_function_and_the_python_line_that_called_it(packages: Path) -> None:
    target = install("ujson==5.1.0", packages)
    script = SOURCES / "ujson_indent.py"
    path = os.pathsep.join((str(target), str(SOURCE)))

    hunted = heapwitness_hunt(sys.executable, script, options=("--tries", "2"), PYTHONPATH=path)

    (finding,) = hunted.stores
    assert finding["kind"] == "heap-buffer-overflow"
    frames = finding["store"]["stack"]
    assert "ujson" in Path(frames[0]["module"]).name and frames[0]["offset"] > 0
    assert any(frame["function"] == "JSON_EncodeObject" for frame in frames)
    lines = [frame["line"] for frame in frames if frame["language"] == "python"]
    assert "ujson.dumps(" in script.read_text().splitlines()[lines[0] - 1]
    assert hunted.stdout.split() == ["done"] * 2


@pytest.mark.parametrize(
    ("requirement", "script", "function"),
    [
        ("bsdiff4==1.1.9", "bsdiff4_patch.py", "patch"),
        ("numpy==2.3.5", "numpy_multiply.py", "string_multiply_strint_loop"),
    ],
)
def test_store_of_a_package_is_hunted_to_its_function_and_offset(
    requirement: str, script: str, function: str, packages: Path
) -> None:
    path = os.pathsep.join((str(install(requirement, packages)), str(SOURCE)))

    hunted = heapwitness_hunt(sys.executable, SOURCES / script, options=("--tries", "2"), PYTHONPATH=path)

    (finding,) = hunted.report["findings"]
    assert (finding["kind"], finding["access"], finding["certain"]) == ("heap-buffer-overflow", "write", True)
    own = [frame for frame in finding["store"]["stack"] if function in (frame["function"] or "")]
    assert own[0]["offset"] > 0
