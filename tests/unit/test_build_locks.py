"""What make installs does not depend on what was released last night: constraints/ and the targets that use it."""

import os
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest
from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PYTHONS = ("3.11", "3.12", "3.13", "3.14")
# What the packages in each file are for.
LOCKS = {"locked": ("lint", "test", "docs", "coverage", "release"), "oldest": ("test",)}


def read(name: str) -> list[Requirement]:
    """The requirements of a file of constraints/."""
    lines = (ROOT / "constraints" / name).read_text().splitlines()
    return [Requirement(line) for line in lines if line and not line.startswith("#")]


def direct(lock: str) -> list[Requirement]:
    """What is required by name: by the package, by what a lock is for beside it, and to build it."""
    project = PROJECT["project"]
    return [
        *map(Requirement, project["dependencies"]),
        *(Requirement(one) for extra in LOCKS[lock] for one in project["optional-dependencies"][extra]),
        *read("build.in"),
    ]


def pins(lock: str, python: str) -> dict[str, list[Version]]:
    """The versions that a lock has for each package on Linux with a Python, which is one or none."""
    environment = {**default_environment(), "python_version": python, "python_full_version": f"{python}.1"}
    found: dict[str, list[Version]] = {}
    for one in read(f"{lock}.txt"):
        if one.marker is None or one.marker.evaluate(environment):
            (pin,) = one.specifier
            assert pin.operator == "=="
            found.setdefault(canonicalize_name(one.name), []).append(Version(pin.version))
    return found


def bound(requirement: Requirement) -> Version:
    (one,) = requirement.specifier
    assert one.operator in (">=", "==")
    return Version(one.version)


@pytest.mark.parametrize("python", PYTHONS)
@pytest.mark.parametrize("lock", LOCKS)
def test_each_package_is_locked_to_one_version_that_is_allowed(lock: str, python: str) -> None:
    found = pins(lock, python)

    assert [name for name, versions in found.items() if len(versions) != 1] == []
    missed = [one for one in direct(lock) if not one.specifier.contains(found[canonicalize_name(one.name)][0])]
    assert missed == []


@pytest.mark.parametrize("python", PYTHONS)
def test_the_oldest_versions_are_those_that_are_said_to_be_enough(python: str) -> None:
    found = pins("oldest", python)

    assert {one.name: found[canonicalize_name(one.name)] for one in direct("oldest")} == {
        one.name: [bound(one)] for one in direct("oldest")
    }


def test_the_build_says_the_same_bounds_wherever_it_names_them() -> None:
    tools = {one.name: bound(one) for one in read("build.in")}
    build = [Requirement(one) for one in PROJECT["build-system"]["requires"]]
    settings = PROJECT["tool"]["scikit-build"]

    assert {one.name: bound(one) for one in build} == {"scikit-build-core": tools["scikit-build-core"]}
    assert Version(settings["minimum-version"]) == tools["scikit-build-core"]
    assert Requirement(f"cmake{settings['cmake']['version']}") == Requirement(f"cmake>={tools['cmake']}")


def installs(*targets: str) -> list[str]:
    """The commands by which these targets would install packages on a fresh machine."""
    outer = ("MAKE", "MFLAGS", "VENV", "LOCK")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(outer)}
    command = ["make", "--dry-run", "--always-make", "--no-print-directory", *targets]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True, timeout=60)
    return [line for line in done.stdout.replace("\\\n", " ").splitlines() if " pip install " in line]


needs_make = pytest.mark.skipif(shutil.which("make") is None, reason="needs make")


@needs_make
@pytest.mark.parametrize(
    "target", ["demo", "test", "lint", "build", "format", "menuconfig", "bench", "docs", "coverage", "release"]
)
def test_everything_that_a_target_installs_is_held_to_the_lock(target: str) -> None:
    commands = installs(target)

    assert commands
    assert [one for one in commands if "--constraint constraints/locked.txt" not in one] == []


@needs_make
def test_the_oldest_versions_are_tested_in_an_environment_of_their_own() -> None:
    commands = installs("test-oldest")

    assert len(commands) == 3
    assert [one for one in commands if ".venv-oldest/" not in one] == []
    assert [one for one in commands if "--constraint constraints/oldest.txt" not in one] == []


@needs_make
def test_the_newest_versions_are_tested_without_a_lock_in_an_environment_of_their_own() -> None:
    commands = installs("test-newest")

    assert len(commands) == 3
    assert [one for one in commands if ".venv-newest/" not in one or "--constraint" in one] == []
