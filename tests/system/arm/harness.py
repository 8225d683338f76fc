"""Compiles programs for AArch64 and runs them under user-mode emulation, with the engine inside of them."""

import atexit
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[3]
NATIVE = ROOT / "native"
SYSTEM = ROOT / "tests" / "system"
TOOLCHAIN = NATIVE / "toolchains" / "aarch64-linux-gnu.cmake"
COMPILER, EMULATOR, SYSROOT = "aarch64-linux-gnu-gcc", "qemu-aarch64", "/usr/aarch64-linux-gnu"
PAGES = (4096, 16384, 65536)
TIMEOUT_S = 100
# An assertion about the emulator's own threads may fail where many start and end.
_ATTEMPTS, _OWN_FAULT = 3, re.compile(r"^ERROR:\.\./.*assertion failed", re.MULTILINE)

_work = Path(tempfile.mkdtemp(prefix="heapwitness-arm-"))
atexit.register(shutil.rmtree, _work, ignore_errors=True)


def _cmake() -> str | None:
    return shutil.which("cmake", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}")


needs_emulator = pytest.mark.skipif(
    not all(map(shutil.which, (COMPILER, EMULATOR))) or _cmake() is None or not NATIVE.is_dir(),
    reason=f"needs {COMPILER}, {EMULATOR}, cmake and the sources of the engine",
)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a run: status (negative: the signal), output, the program's facts, and the report of its log."""

    status: int
    stdout: str
    stderr: str
    facts: dict[str, int]
    report: dict[str, Any]

    @property
    def findings(self) -> list[dict[str, Any]]:
        findings: list[dict[str, Any]] = self.report["findings"]
        return findings

    @property
    def finding(self) -> dict[str, Any]:
        """The only finding."""
        assert len(self.findings) == 1, ([(each["kind"], each["damage"]) for each in self.findings], self.stderr)
        return self.findings[0]

    def assert_clean(self) -> None:
        """The program kept all its promises, and the engine has nothing to say about it."""
        assert (self.status, self.stderr, self.findings) == (0, "", []), self


def _run(*command: str | Path) -> None:
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr or done.stdout


@cache
def engine() -> Path:
    """The engine's library, as CMake builds it for the target."""
    cmake, directory = str(_cmake()), _work / "engine"
    options = [f"-DCMAKE_TOOLCHAIN_FILE={TOOLCHAIN}", "-DCMAKE_BUILD_TYPE=Release", "-DHEAPWITNESS_STRICT=ON"]
    _run(cmake, "-S", ROOT, "-B", directory, *options)
    _run(cmake, "--build", directory, "-j2", "--target", "heapwitness_preload")
    return directory / "native" / "libheapwitness_preload.so"


@cache
def build(source: str, *options: str) -> Path:
    """The program of a source of the tests for the host, by its path below tests/system, or of an absolute path."""
    output = Path(tempfile.mkdtemp(dir=_work)) / Path(source).stem
    flags = ["-g", "-O1", "-w", "-fno-builtin", "-fno-optimize-sibling-calls", "-pthread"]
    _run(COMPILER, *flags, *options, "-o", output, SYSTEM / source, "-ldl")
    return output


@cache
def compiled(text: str, *options: str) -> Path:
    """The program of a C source."""
    source = Path(tempfile.mkdtemp(dir=_work)) / "source.c"
    source.write_text(text)
    return build(str(source), *options)


@contextmanager
def _file(suffix: str) -> Iterator[Path]:
    handle, name = tempfile.mkstemp(dir=_work, suffix=suffix)
    os.close(handle)
    yield Path(name)
    Path(name).unlink()


def emulate(
    program: Path, *words: object, page: int = 4096, cpu: str = "max", engine_inside: bool = True, **settings: str
) -> subprocess.CompletedProcess[str]:
    """Run a program on a machine with pages of so many bytes. `settings` are variables of its environment."""
    inside = {"LD_PRELOAD": str(engine()), **settings} if engine_inside else settings
    variables = [word for name, value in inside.items() for word in ("-E", f"{name}={value}")]
    command = [EMULATOR, "-cpu", cpu, "-p", str(page), "-L", SYSROOT, *variables, program, *map(str, words)]
    for _ in range(_ATTEMPTS):
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=TIMEOUT_S,
            check=False,
            stdin=subprocess.DEVNULL,
        )
        if not _OWN_FAULT.search(done.stderr):
            return done
    pytest.skip(f"the emulator itself failed: {done.stderr[:200]}")


def run(program: Path, *words: object, page: int = 4096, cpu: str = "max", **settings: str) -> Outcome:
    """Run a program with the engine recording, and read its record by `heapwitness report`."""
    with _file(".log") as log, _file(".json") as report:
        done = emulate(program, *words, page=page, cpu=cpu, HEAPWITNESS_LOG=str(log), **settings)
        read = subprocess.run(
            [sys.executable, "-m", "heapwitness", "report", "--json", report, log],
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
        )
        assert report.stat().st_size > 0, (read.stderr, done.stderr)
        document = json.loads(report.read_text())
    facts = {}
    for line in done.stdout.splitlines():
        name, _, value = line.partition(" ")
        if value.isdigit():
            facts[name] = int(value)
    return Outcome(done.returncode, done.stdout, done.stderr, facts, document)


def functions(stack: list[dict[str, Any]]) -> list[str]:
    """The names of a stack's functions, innermost first."""
    return [frame["function"] for frame in stack]
