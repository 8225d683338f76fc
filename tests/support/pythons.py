"""The interpreters that Python's lines are told of, as far as they are there."""

import os
import re
import shutil
import sys
from pathlib import Path

import pytest

_KNOWN = re.compile(r"3\.1[1-4]\.\d+")


def pythons() -> list[Path]:
    """This interpreter, and one of each other known version that pyenv or PATH has."""
    found = {f"3.{sys.version_info.minor}": Path(sys.executable)}
    for one in _installed():
        found.setdefault(one.parents[1].name.rpartition(".")[0], one)
    for minor in range(11, 15):
        if named := shutil.which(f"python3.{minor}"):
            found.setdefault(f"3.{minor}", Path(named))
    return list(found.values())


def _installed() -> list[Path]:
    versions = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    known = sorted(versions.glob("3.*")) if versions.is_dir() else []
    return [one / "bin" / "python3" for one in known if _KNOWN.fullmatch(one.name)]


each_python = pytest.mark.parametrize("python", pythons(), ids=lambda path: re.sub(r"\W", "-", str(path))[-24:])
"""A test for each of them."""

each_named_python = pytest.mark.parametrize(
    "python", [one for one in pythons() if "3.14" not in str(one)], ids=lambda path: re.sub(r"\W", "-", str(path))[-24:]
)
"""... whose C frames have names, also where it is stripped."""


each_python_of_own_frames = pytest.mark.parametrize(
    "python",
    [
        one
        for one in pythons()
        if not re.search(r"3\.1[12]", f"{one} {sys.version if str(one) == sys.executable else ''}")
    ]
    or [pytest.param(None, marks=pytest.mark.skip("no Python from 3.13 on is here"))],
    ids=lambda path: re.sub(r"\W", "-", str(path))[-24:],
)
"""... whose frames nothing on the C stack leads to, as from 3.13 on."""


def each_python_with(package: str) -> pytest.MarkDecorator:
    """A test for each of these, and all others of pyenv, that have a package; skipped where none has."""
    there = dict.fromkeys([*pythons(), *_installed()])
    have = [one for one in there if any(one.parents[1].glob(f"lib/python3*/site-packages/{package}"))]
    known = have or [pytest.param(None, marks=pytest.mark.skip(f"no Python has {package}"))]
    return pytest.mark.parametrize("python", known, ids=lambda path: re.sub(r"\W", "-", str(path))[-24:])
