"""The kernels of allocation: C programs that do nothing else and print nanoseconds an operation."""

import shutil
import subprocess
from pathlib import Path

from measure import Row

SOURCES = Path(__file__).parent / "kernels"


def compile_source(name: str, into: Path) -> Path:
    """Compile one file of `kernels/`, a C or C++ program, and give the executable."""
    source = next(SOURCES.glob(f"{name}.c*"))
    compiler, standard = ("g++", "-std=c++17") if source.suffix == ".cpp" else ("gcc", "-std=gnu11")
    program = into / name
    # Without builtins of malloc a pair of malloc and free that does nothing is not removed.
    flags = [standard, "-O2", "-fno-builtin-malloc", "-pthread"]
    subprocess.run([compiler, *flags, "-o", str(program), str(source)], check=True, timeout=120)
    return program


def rows(into: Path, quick: bool) -> list[Row]:
    """The kernels with their arguments; `quick` keeps each under a second."""
    scale = 1 if quick else 5
    live = (1_000, 100_000) if quick else (1_000, 10_000, 100_000, 1_000_000, 10_000_000)
    threads = (2, 8) if quick else (1, 2, 4, 8, 16)
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
        Row(label, (str(programs[name]), *map(str, arguments)), prints_cost=True) for label, name, arguments in cases
    ]
