"""Compilers, databases, servers, languages and media tools, each at work on the files of `input/`."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from task import Skip, Task

HERE = Path(__file__).parent
INPUT = HERE / "input"
CONTAINERS = HERE.parent / "kernels" / "containers.cpp"
REPOSITORY = HERE.parents[1]
GRAPH = REPOSITORY / "examples" / "graph.c"
# Package, its test modules that are run, and what those need.
LIBRARIES = {
    "numpy": ("numpy._core.tests.test_multiarray", "numpy._core.tests.test_strings", "numpy.linalg"),
    "scipy": ("scipy.sparse.linalg", "scipy.spatial"),
    "pandas": ("pandas.tests.groupby.test_groupby", "pandas.tests.io.parser.test_header", "pandas.tests.reshape.merge"),
}


def tasks() -> Iterator[Task]:
    """All of them, also those for which something is missing here."""
    yield Task(
        "database", "sqlite3, 200 MB", ("sqlite3", "base.db", ".read sqlite.sql"), _with("sqlite.sql", "sqlite3")
    )
    yield Task("database", "postgres: initdb, pgbench", _script("postgres.sh"), _postgres)
    for linker in ("bfd", "gold"):
        ready = _with("compile.sh", "gcc", "g++", f"ld.{linker}", also=(CONTAINERS,))
        yield Task("compiler", f"gcc, g++ and ld.{linker}", _script("compile.sh", linker), ready)
    ready = _with("binutils.sh", "gcc", "g++", also=(CONTAINERS, GRAPH))
    yield Task("compiler", "lto, ar, nm, objdump, readelf, strip", _script("binutils.sh"), ready)
    yield Task("git", "clone, fsck, repack, log, blame", _script("git.sh", str(REPOSITORY)), _clone)
    ready = _with("redis.sh", "redis-server", "redis-benchmark", "redis-cli")
    yield Task("server", "redis under redis-benchmark, with persistence", _script("redis.sh"), ready)
    ready = _with("nginx.sh", "nginx", "ab", also=(INPUT / "nginx.conf",))
    yield Task("server", "nginx under load", _script("nginx.sh"), ready)
    yield Task("language", "perl", ("perl", "work.pl"), _with("work.pl", "perl"))
    yield Task("language", "perl: pod2text", _script("pod.sh"), _with("pod.sh", "pod2text"))
    yield Task("language", "tcl", ("tclsh", "work.tcl"), _with("work.tcl", "tclsh"))
    yield Task("language", "node", ("node", "work.js"), _with("work.js", "node"))
    java = ("/bin/sh", "-ec", "javac Work.java; java Work")
    note = "maps the heap of its objects itself; its native parts use malloc"
    yield Task("language", "JVM: javac and java", java, _with("Work.java", "java", "javac"), note=note)
    yield Task("language", "gdb", _script("gdb.sh"), _with("gdb.sh", "gdb", "g++", also=(CONTAINERS,)))
    yield Task("media", "ImageMagick", _script("imagemagick.sh"), _with("imagemagick.sh", "convert", "identify"))
    yield Task("media", "ffmpeg", _script("ffmpeg.sh"), _with("ffmpeg.sh", "ffmpeg"))
    ready = _with("chromium.sh", "chromium", also=(INPUT / "page.html",))
    note = "brings its own allocator (PartitionAlloc): only what its libraries and helpers allocate before is seen"
    yield Task("media", "Chromium headless", _script("chromium.sh"), ready, note=note)
    ready = _with("chromium-sandbox.sh", "chromium", "runuser", also=(INPUT / "page.html",))
    yield Task("media", "Chromium with its sandbox", _script("chromium-sandbox.sh"), ready, note=note)
    containers = ("/bin/sh", "-ec", "g++ -O2 -std=c++17 -pthread containers.cpp -o containers; ./containers 8 30")
    yield Task("library", "C++ containers, 8 threads", containers, _with("containers.cpp", "g++"))
    for package, modules in LIBRARIES.items():
        for module in modules:
            yield _library(package, module)


def _script(name: str, *arguments: str) -> tuple[str, ...]:
    return ("/bin/sh", "-e", name, *arguments)


def _need(*names: str) -> None:
    for name in names:
        if shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin") is None:
            raise Skip(f"{name} is not installed")


def _with(file: str, *programs: str, also: tuple[Path, ...] = ()) -> Callable[[Path], None]:
    """Prepares a task that needs these programs and files."""

    def prepare(work: Path) -> None:
        _need(*programs)
        for source in (INPUT / file if (INPUT / file).exists() else CONTAINERS, *also):
            shutil.copy(source, work)

    return prepare


def _postgres(work: Path) -> None:
    if not list(Path("/usr/lib/postgresql").glob("*/bin/initdb")):
        raise Skip("postgresql is not installed")
    _with("postgres.sh")(work)


def _clone(work: Path) -> None:
    _need("git")
    if not (REPOSITORY / ".git").exists():
        raise Skip("this is no clone of the repository")
    _with("git.sh")(work)


def _library(package: str, module: str) -> Task:
    """A library's own tests; it is installed once, beside the tasks' directory."""

    def prepare(work: Path) -> None:
        target = work.parent / "packages"
        if not (target / package).exists():
            command = [sys.executable, "-m", "pip", "install", "--upgrade", "--target", str(target), package]
            done = subprocess.run([*command, "pytest", "hypothesis"], capture_output=True, timeout=600, check=False)
            if done.returncode != 0:
                raise Skip(f"{package} cannot be installed")

    path = os.pathsep.join(["../packages", *filter(None, [os.environ.get("PYTHONPATH")])])
    command = (sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--pyargs", module)
    # numpy's larger tests want tens of GiB; this bounds them.
    environment = {"PYTHONPATH": path, "NPY_AVAILABLE_MEM": "1GB"}
    return Task("library", module, command, prepare, words=_without_seconds, environment=environment, timeout=900)


def _without_seconds(output: str) -> str:
    """pytest's last line, without how long it took."""
    last = (output.strip().splitlines() or [""])[-1]
    return last.split(" in ")[0]
