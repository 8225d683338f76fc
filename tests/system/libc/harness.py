"""Compiles the programs of the libc contract and runs each with glibc's heap and with the checked one."""

import atexit
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

from heapwitness.errors import HeapwitnessError
from heapwitness.layout.decode import read_events
from heapwitness.layout.events import Event, Type
from heapwitness.native import library

SOURCES = Path(__file__).parent
TIMEOUT_S = 60

_work = Path(tempfile.mkdtemp(prefix="heapwitness-libc-"))
_work.chmod(0o755)
atexit.register(shutil.rmtree, _work, ignore_errors=True)


def engine() -> Path | None:
    """The engine's library, None when it was not built."""
    try:
        return library("preload").resolve()
    except HeapwitnessError:
        return None


needs_engine = pytest.mark.skipif(
    engine() is None or shutil.which("gcc") is None, reason="needs gcc and the engine, built by `make build`"
)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a run: status (negative: the signal), output and what the engine recorded."""

    status: int
    stdout: str
    stderr: str
    events: tuple[Event, ...]
    seconds: float = 0.0

    @property
    def findings(self) -> list[Event]:
        return [event for event in self.events if event.type is Type.FINDING]

    def assert_clean(self) -> None:
        """The program kept all its promises, and the engine has nothing to say about it."""
        assert (self.status, self.stderr) == (0, ""), self.stderr or self.status
        assert [(each.reason.name, each.when.name, hex(each.pointer)) for each in self.findings] == []


@cache
def build(source: str, *options: str) -> Path:
    """The program, or with -shared the library, of a source beside this file (or of an absolute path)."""
    compiler = "g++" if source.endswith(".cpp") else "gcc"
    if shutil.which(compiler) is None:
        pytest.skip(f"{compiler} is not installed")
    path = SOURCES / source
    output = Path(tempfile.mkdtemp(dir=_work)) / (path.stem + (".so" if "-shared" in options else ""))
    output.parent.chmod(0o755)
    command = [compiler, "-g", "-O1", "-w", "-fno-builtin", "-pthread", "-o", output, path, *options, "-ldl"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    assert done.returncode == 0, done.stderr
    return output


def run(
    program: Path | str,
    *words: str | int | Path,
    with_engine: bool = True,
    environment: Mapping[str, str] | None = None,
    timeout: float = TIMEOUT_S,
    before: Callable[[], None] | None = None,
) -> Outcome:
    """Run a program; with the engine preloaded and recording, or with glibc's own heap.

    `before` is called in the child before the program is started: limits are set there.
    """
    handle, name = tempfile.mkstemp(dir=_work, suffix=".log")
    os.close(handle)
    log = Path(name)
    log.chmod(0o666)
    variables = os.environ | (environment or {})
    if with_engine:
        variables |= {"LD_PRELOAD": str(engine()), "HEAPWITNESS_LOG": name}
    done = subprocess.run(
        [program, *map(str, words)],
        capture_output=True,
        text=True,
        errors="replace",
        env=variables,
        timeout=timeout,
        check=False,
        preexec_fn=before,
        stdin=subprocess.DEVNULL,
    )
    with log.open("rb") as stream:
        events = tuple(read_events(stream))
    log.unlink()
    return Outcome(done.returncode, done.stdout, done.stderr, events)


def case_names(source: str) -> list[str]:
    """The cases that a source's table `cases` names: lines `{"name", function},`."""
    names = []
    for line in (SOURCES / source).read_text().splitlines():
        word = line.strip()
        if word.startswith('{"') and word.endswith("},"):
            names.append(word.split('"')[1])
    return names


both_heaps = pytest.mark.parametrize("with_engine", [False, True], ids=["glibc", "engine"])
