"""The kernels of allocation: C programs that do nothing else and print nanoseconds an operation."""

import shutil
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

from measure import Row

SOURCES = Path(__file__).parent / "kernels"
CORE = Path(__file__).parents[1] / "native" / "core"

ADDRESS_SANITIZER = ("-fsanitize=address", "-fno-omit-frame-pointer")


def compile_source(name: str, into: Path, more: Sequence[str] = (), *, core: bool = False) -> Path:
    """Compile one file of `kernels/`, a C or C++ program, with `more` options, and give the executable.

    With `core` the heap's core is compiled in, as it is in the engine.
    """
    source = next(SOURCES.glob(f"{name}.c*"))
    compiler, standard = ("g++", "-std=c++17") if source.suffix == ".cpp" else ("gcc", "-std=gnu11")
    program = into / (name + "".join(more))
    # Without builtins of malloc a pair of malloc and free that does nothing is not removed.
    flags = [standard, "-O2", "-fno-builtin-malloc", "-pthread", *more]
    sources = [str(source)]
    if core:
        flags += ["-flto=auto", "-DHW_FIXED_GRANULE_LOG2=4", f"-I{CORE}"]
        sources += sorted(map(str, CORE.glob("*.c")))
    subprocess.run([compiler, *flags, "-o", str(program), *sources], check=True, timeout=120)
    return program


def rows(into: Path, quick: bool) -> list[Row]:
    """The kernels with their arguments; `quick` keeps each under a second. growth.py has more sizes."""
    scale = 1 if quick else 3
    live = (1_000, 100_000) if quick else (1_000, 100_000, 1_000_000)
    threads = (2, 8)
    cases: list[tuple[str, str, tuple[int, ...]]] = [
        ("LIFO pair", "lifo", (4_000_000 * scale,)),
        *((f"lifetimes, {count:,} live", "lifetimes", (count, max(1_000_000 * scale, count))) for count in live),
        ("handover, 1 pair of threads", "handover", (1, 400_000 * scale)),
        ("handover, 4 pairs of threads", "handover", (4, 400_000 * scale)),
        ("growth by realloc", "growth", (100_000 * scale,)),
        ("fragmentation", "fragments", (60_000 * scale, 8)),
        *((f"{count} threads", "threads", (count, 2_000_000 * scale)) for count in threads),
    ]
    if shutil.which("gcc") is None:
        return []
    programs = {name: compile_source(name, into) for name in {case[1] for case in cases}}
    return [
        Row(
            label,
            (str(programs[name]), *map(str, arguments)),
            prints_cost=True,
            builds={"asan": sanitized(name, into, *map(str, arguments))},
        )
        for label, name, arguments in cases
    ]


def sanitized(name: str, into: Path, *arguments: str) -> Callable[[], tuple[str, ...]]:
    """Makes the command of a kernel that is built with AddressSanitizer."""

    def build() -> tuple[str, ...]:
        program = into / (name + "".join(ADDRESS_SANITIZER))
        if not program.exists():
            compile_source(name, into, ADDRESS_SANITIZER)
        return (str(program), *arguments)

    return build
