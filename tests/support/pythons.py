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
    versions = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    found = {f"3.{sys.version_info.minor}": Path(sys.executable)}
    for one in sorted(versions.glob("3.*")) if versions.is_dir() else ():
        if _KNOWN.fullmatch(one.name):
            found.setdefault(one.name.rpartition(".")[0], one / "bin" / "python3")
    for minor in range(11, 15):
        if path := shutil.which(f"python3.{minor}"):
            found.setdefault(f"3.{minor}", Path(path))
    return list(found.values())


each_python = pytest.mark.parametrize("python", pythons(), ids=lambda path: re.sub(r"\W", "-", str(path))[-24:])
"""A test for each of them."""

each_named_python = pytest.mark.parametrize(
    "python", [one for one in pythons() if "3.14" not in str(one)], ids=lambda path: re.sub(r"\W", "-", str(path))[-24:]
)
"""... whose C frames have names, also where it is stripped."""
