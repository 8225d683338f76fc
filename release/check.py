"""`python release/check.py DIST`: the wheel of this machine, installed as users do, finds the bugs of the examples.

In a fresh environment of each Python that is here, with programs that were compiled before and a PATH that leads to no
compiler or debugger.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
FOUND = 99
PYTHONS = ("3.11", "3.12", "3.13", "3.14")
EXPECTED = {
    "records": "heap-buffer-overflow",
    "greeting": "heap-buffer-overflow",
    "amounts": "heap-buffer-underflow",
    "cache": "double-free",
    "events": "use-after-free-write",
    "graph": "header-overwrite",
    "shapes": "mismatched-free",
}
PARTS = {f"heapwitness/_lib/libheapwitness_{name}.so" for name in ("blocks", "core", "preload")}


class Bad(SystemExit):
    """What is wrong with a release, in a sentence."""


def main(dist: Path) -> None:
    """Check all wheels' contents, and run the one of this machine."""
    wheels = sorted(dist.glob("*.whl"))
    for one in wheels:
        check_contents(one)
    (wheel,) = [one for one in wheels if one.stem.endswith(os.uname().machine)]
    with tempfile.TemporaryDirectory(prefix="heapwitness-release-") as directory:
        work = Path(directory)
        examples = _examples(work)
        pythons = dict(_pythons())
        for version, python in pythons.items():
            check_installed(wheel, python, examples, work / version)
            print(f"Python {version}: {wheel.name} finds the {len(EXPECTED)} bugs of the examples")
        if not pythons:
            raise Bad("no Python that heapwitness supports is here: nothing was checked.")


def check_contents(wheel: Path) -> None:
    """One tag for all Pythons, both libraries, and nothing that users have no use for."""
    if not re.search(r"-py3-none-manylinux_\d+_\d+_[a-z0-9_]+\.whl$", wheel.name):
        raise Bad(f"{wheel.name} has no tag of a manylinux wheel for every Python 3.")
    names = set(zipfile.ZipFile(wheel).namelist())
    if not names >= PARTS:
        raise Bad(f"{wheel.name} lacks {', '.join(sorted(PARTS - names))}.")
    strangers = {name.split("/")[0] for name in names} - {
        "heapwitness",
        f"{'-'.join(wheel.name.split('-')[:2])}.dist-info",
    }
    if strangers:
        raise Bad(f"{wheel.name} has {', '.join(sorted(strangers))}, which is not part of the package.")


def check_installed(wheel: Path, python: str, examples: Path, place: Path) -> None:
    """Install the wheel into an environment at `place`, and run each example there."""
    _run(python, "-m", "venv", place)
    lock = ROOT / "constraints" / "locked.txt"
    _run(place / "bin" / "python", "-m", "pip", "install", "--quiet", "--constraint", lock, wheel)
    installed = _run(place / "bin" / "heapwitness", "--version").split()[-1]
    if f"-{installed}-" not in wheel.name:
        raise Bad(f"{wheel.name} installs as version {installed}.")
    for name, kind in EXPECTED.items():
        report = place / f"{name}.json"
        done = subprocess.run(
            [place / "bin" / "heapwitness", "run", "--json", report, "--", examples / name],
            env={"PATH": str(place / "bin"), "HOME": str(place)},
            capture_output=True,
            text=True,
            check=False,
        )
        found = {one["kind"] for one in json.loads(report.read_text())["findings"]} if report.exists() else set()
        if (done.returncode, found) != (FOUND, {kind}):
            raise Bad(f"with {python}, {name} gave status {done.returncode} and {found}:\n{done.stderr}")


def _examples(work: Path) -> Path:
    """The programs, compiled."""
    copy = shutil.copytree(ROOT / "examples", work / "examples", ignore=shutil.ignore_patterns("build"))
    _run("make", "-s", "-C", copy, "all")
    return copy / "build"


def _pythons() -> Iterator[tuple[str, str]]:
    """One interpreter for each version: of PATH, else of pyenv."""
    for version in PYTHONS:
        candidates = [
            shutil.which(f"python{version}"),
            *map(str, sorted(Path.home().glob(f".pyenv/versions/{version}.*/bin/python"))),
        ]
        for one in candidates:
            if one and subprocess.run([one, "-c", "import venv"], capture_output=True, check=False).returncode == 0:
                yield version, one
                break


def _run(*command: str | Path) -> str:
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, check=False)
    if done.returncode:
        raise Bad(f"{' '.join(map(str, command))} failed:\n{done.stdout[-4000:]}{done.stderr[-4000:]}")
    return done.stdout


if __name__ == "__main__":
    main(Path(sys.argv[1]))
