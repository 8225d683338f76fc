"""Where the programs of public reports run: environments of old releases, and compilers.

All of it is made once, under a directory that the user names. Packages come from PyPI, in the versions that rows.toml
names.
"""

import json
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# Debian's package of each program that a row may need.
DEBIAN = {"gcc": "gcc libc6-dev", "go": "golang-go", "bwrap": "bubblewrap"}


class Unavailable(Exception):
    """What a row needs cannot be had here; says why and what to do."""


@dataclass(frozen=True, slots=True)
class Cache:
    """A directory for what is made, and where Pythons may be besides PATH: folders with a Python each, as pyenv has."""

    root: Path
    pythons: Path

    def command(self, surroundings: dict[str, Any], source: Path) -> list[str]:
        """The beginning of a command that runs an input there.

        Raises:
            Unavailable: a compiler, a Python or a package cannot be had.
        """
        if "python" in surroundings:
            return [str(self._environment(surroundings)), *surroundings.get("before", ()), str(source)]
        environment = {"GOCACHE": str(self.root / "go"), **surroundings.get("environment", {})}
        return [*surroundings.get("before", ()), str(self._compiled(surroundings["compile"], source, environment))]

    def _compiled(self, compiler: list[str], source: Path, environment: dict[str, str]) -> Path:
        """The program of a source, compiled again when the way or the source is another than the last time."""
        program = self.root / "programs" / source.stem
        made = program.with_suffix(".made.json")
        way = json.dumps([compiler, environment, source.read_text()])
        if made.exists() and made.read_text() == way:
            return program
        _need(compiler[0])
        program.parent.mkdir(parents=True, exist_ok=True)
        _run([*compiler, "-o", str(program), str(source)], environment)
        made.write_text(way)
        return program

    def _environment(self, surroundings: dict[str, Any]) -> Path:
        """The Python of an environment with the packages, made the first time."""
        packages: list[str] = surroundings.get("packages", [])
        version, python = self._python(surroundings["python"])
        if not packages:
            return python
        place = self.root / f"{packages[0].replace('==', '-')}-python{version}"
        made = place / "packages.json"
        if not made.exists() or json.loads(made.read_text()) != packages:
            shutil.rmtree(place, ignore_errors=True)
            _run([str(python), "-m", "venv", str(place)])
            _run([str(place / "bin" / "python"), "-m", "pip", "install", "--quiet", *packages])
            made.write_text(json.dumps(packages))
        return place / "bin" / "python"

    def _python(self, versions: list[str]) -> tuple[str, Path]:
        """The first Python of these versions ("3.6") that is here."""
        for version in versions:
            found = shutil.which(f"python{version}")
            if found and _answers(found, version):
                return version, Path(found)
            for place in sorted(self.pythons.glob(f"{version}.*/bin/python{version}")):
                return version, place
        raise Unavailable(f"no Python {' or '.join(versions)} on PATH or in {self.pythons} (see --pythons)")


def need(programs: list[str]) -> None:
    """Make sure that programs are there, from Debian's packages where we may install them.

    Raises:
        Unavailable: one is missing.
    """
    for program in programs:
        _need(program)


def _need(program: str) -> None:
    if shutil.which(program):
        return
    packages = DEBIAN[program]
    if os.getuid() == 0 and shutil.which("apt-get"):
        _run(["apt-get", "install", "--quiet", "--yes", "--no-install-recommends", *packages.split()])
    if not shutil.which(program):
        raise Unavailable(f"{program} is not installed: apt-get install {packages}")


def _answers(python: str, version: str) -> bool:
    """Whether it is that Python: pyenv's stand-in for a version that is not chosen only complains."""
    told = subprocess.run([python, "--version"], capture_output=True, text=True, check=False).stdout
    return told.startswith(f"Python {version}.")


def _run(command: list[str], more: dict[str, str] | None = None) -> None:
    """Run a step of making something.

    Raises:
        Unavailable: with its last line.
    """
    done = subprocess.run(command, env=os.environ | (more or {}), capture_output=True, text=True, check=False)
    if done.returncode != 0:
        last = ((done.stderr or done.stdout).strip().splitlines() or ["it failed"])[-1]
        raise Unavailable(f"{' '.join(command[:6])}: {last}")
