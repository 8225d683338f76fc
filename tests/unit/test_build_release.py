"""What a release says of itself: one source of the version, and a page of changes that keeps up with it."""

import re
import subprocess
import sys
import tomllib
import zipfile
from importlib import util
from pathlib import Path
from types import ModuleType

import pytest

import heapwitness

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
VERSION = re.compile(r"\d+\.\d+\.\d+")


def changes() -> list[tuple[str, str]]:
    """The sections of CHANGELOG.md, newest first: heading and text."""
    parts = re.split(r"^## (.+)$", (ROOT / "CHANGELOG.md").read_text(), flags=re.MULTILINE)
    return list(zip(parts[1::2], parts[2::2], strict=True))


def versions() -> list[tuple[int, ...]]:
    headings = [heading for heading, _ in changes() if heading != "Unreleased"]
    return [tuple(map(int, VERSION.match(heading)[0].split("."))) for heading in headings]  # type: ignore[index]


@pytest.fixture(scope="module")
def check() -> ModuleType:
    """release/check.py."""
    spec = util.spec_from_file_location("release_check", ROOT / "release" / "check.py")
    assert spec is not None and spec.loader is not None
    module = util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def wheel(directory: Path, name: str, *members: str) -> Path:
    path = directory / name
    with zipfile.ZipFile(path, "w") as archive:
        for member in members:
            archive.writestr(member, "")
    return path


def test_the_version_stands_in_one_place() -> None:
    says = [
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "pyproject.toml", ROOT / "CMakeLists.txt", *(ROOT / "src").rglob("*.py"))
        if re.search(rf"(?i)version[\W_]*{re.escape(heapwitness.__version__)}\b", path.read_text())
    ]

    assert says == ["src/heapwitness/__init__.py"]
    assert PROJECT["project"]["dynamic"] == ["version"]
    assert PROJECT["tool"]["scikit-build"]["metadata"]["version"]["input"] == says[0]


def test_the_command_line_says_that_version() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "heapwitness", "--version"], capture_output=True, text=True, timeout=60
    )

    assert done.stdout == f"heapwitness {heapwitness.__version__}\n"


def test_the_page_of_changes_has_this_version_below_what_is_not_released() -> None:
    assert changes()[0][0] == "Unreleased"
    assert changes()[1][0].split()[0] == heapwitness.__version__
    assert versions() == sorted(versions(), reverse=True)


def test_each_section_of_it_tells_something() -> None:
    empty = [heading for heading, text in changes()[1:] if not text.strip()]

    assert empty == []


@pytest.mark.parametrize(
    ("name", "missing"),
    [
        ("heapwitness-0.1.0-py3-none-linux_x86_64.whl", ()),
        ("heapwitness-0.1.0-cp311-cp311-manylinux_2_35_x86_64.whl", ()),
        ("heapwitness-0.1.0-py3-none-manylinux_2_35_x86_64.whl", ("heapwitness/_lib/libheapwitness_core.so",)),
    ],
)
def test_a_wheel_with_another_tag_or_without_its_libraries_is_refused(
    check: ModuleType, tmp_path: Path, name: str, missing: tuple[str, ...]
) -> None:
    made = wheel(tmp_path, name, *(check.PARTS - set(missing)))

    with pytest.raises(check.Bad, match=re.escape(name)):
        check.check_contents(made)


def test_a_wheel_that_brings_other_packages_is_refused(check: ModuleType, tmp_path: Path) -> None:
    made = wheel(tmp_path, "heapwitness-0.1.0-py3-none-manylinux_2_35_x86_64.whl", *check.PARTS, "tests/conftest.py")

    with pytest.raises(check.Bad, match="tests, which is not part"):
        check.check_contents(made)
