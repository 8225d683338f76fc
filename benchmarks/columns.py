"""The ways to run a program: glibc, heapwitness, other allocators, other checkers."""

import os
import shutil
import sys
from pathlib import Path

from measure import Column

from heapwitness.native import library

GLIBC = "glibc"
ENGINE = "engine"
RUN = "run"
# What `--against` takes: the names of a library, where it is packaged, and what has to be set.
ALLOCATORS = {
    "mimalloc": ("libmimalloc.so.2", "libmimalloc2.0"),
    "jemalloc": ("libjemalloc.so.2", "libjemalloc2"),
    "tcmalloc": ("libtcmalloc_minimal.so.4", "libtcmalloc-minimal4"),
    "tcmalloc_debug": ("libtcmalloc_minimal_debug.so.4", "libtcmalloc-minimal4"),
    "scudo": ("libclang_rt.scudo_standalone-x86_64.so", "libclang-rt-14-dev"),
    "hardened": ("libhardened_malloc.so", "no package in Debian 12; put the library into /usr/local/lib"),
    "isoalloc": ("libisoalloc.so", "no package in Debian 12; put the library into /usr/local/lib"),
}
SLOW = "valgrind"
AGAINST = (*ALLOCATORS, "malloc_check", "asan", SLOW)
_PLACES = ("/usr/lib/x86_64-linux-gnu", "/lib/x86_64-linux-gnu", "/usr/local/lib", "/usr/lib64", "/usr/lib")


class NotInstalled(Exception):
    """What a column needs is not on this machine."""


def glibc() -> Column:
    """The baseline. The preload makes programs that were linked with another allocator use glibc's, too."""
    return Column(GLIBC, environment={"LD_PRELOAD": str(_find("libc.so.6", "libc6"))})


def engine() -> Column:
    """The engine alone: repairs, and tells nobody."""
    return Column(ENGINE, environment={"LD_PRELOAD": str(library("preload"))})


def another_engine(library: Path) -> Column:
    """The engine as another version of this repository builds it; called as its file is."""
    return Column(library.stem, environment={"LD_PRELOAD": str(library.resolve())})


def run() -> Column:
    """All of `heapwitness run`: its time has the supervisor's start in it, its peak the larger of the two."""
    return Column(RUN, wrap=(sys.executable, "-m", "heapwitness", "run", "--quiet", "--"))


def installed() -> Column:
    """`heapwitness run` as its installed command starts it."""
    script = Path(sys.executable).with_name("heapwitness")
    start = "import sys; from heapwitness.cli.main import main; sys.exit(main())"
    return Column(RUN, wrap=((str(script),) if script.exists() else (sys.executable, "-c", start)) + ("run",))


def against(name: str) -> Column:
    """Another allocator or checker, by its name in `AGAINST`.

    Raises:
        NotInstalled: with the package that has it.
    """
    if name == SLOW:
        if shutil.which("valgrind") is None:
            raise NotInstalled("valgrind is not installed (valgrind)")
        return Column(name, wrap=("valgrind", "-q", "--trace-children=yes"), most_rounds=1)
    if name == "asan":
        if shutil.which("gcc") is None:
            raise NotInstalled("gcc is not installed (gcc)")
        return Column(name, environment={"ASAN_OPTIONS": "detect_leaks=0"}, own_build=True)
    if name == "malloc_check":
        preload = str(_find("libc_malloc_debug.so.0", "libc6"))
        return Column(name, environment={"LD_PRELOAD": preload, "MALLOC_CHECK_": "3"})
    file, package = ALLOCATORS[name]
    return Column(name, environment={"LD_PRELOAD": str(_find(file, package))})


def _find(file: str, package: str) -> Path:
    places = [Path(place) for place in _PLACES]
    places += sorted(Path("/usr/lib").glob("llvm-*/lib/clang/*/lib/linux"), reverse=True)
    places += [Path(place) for place in os.environ.get("LD_LIBRARY_PATH", "").split(":") if place]
    for place in places:
        if (place / file).exists():
            return place / file
    raise NotInstalled(f"{file} was not found ({package})")
