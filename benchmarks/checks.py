"""What each check of the fast path costs: engines that leave one out, against the one that has all.

python benchmarks/checks.py                    a table, ratios to the engine with all checks
python benchmarks/checks.py --into docs/performance.md

The engines are compiled for the measurement only and are not installed: one that leaves a check out is no checked heap.
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

import kernels
import page
import suite
import tables
from measure import Column, Launcher, Row, interleave, print_failure

NATIVE = Path(__file__).parents[1] / "native"
# The bits of HW_CHECKS in native/core/run_node.h.
CHECKS = {
    "the backup of the node's own header": 1,
    "the node after": 2,
    "the node before": 4,
    "slack": 8,
    "links of free nodes": 16,
}
ALL = 31
# As native/CMakeLists.txt compiles it.
FLAGS = [
    *("-std=c11", "-O2", "-fPIC", "-shared", "-pthread", "-fexceptions", "-fno-plt", "-flto", "-static-libgcc"),
    *("-fno-optimize-sibling-calls", "-fno-tree-slp-vectorize"),
    *("-fvisibility=hidden", "-ftls-model=initial-exec", "-DHW_FIXED_GRANULE_LOG2=4"),
    *(f"-fno-builtin-{name}" for name in ("malloc", "calloc", "realloc", "free")),
]


def engine(into: Path, checks: int) -> Path:
    """Compile an engine with these checks only."""
    library = into / f"checks{checks}.so"
    sources = [str(file) for folder in ("core", "host/*", "preload") for file in sorted(NATIVE.glob(f"{folder}/*.c"))]
    places = [f"-I{NATIVE / folder}" for folder in ("core", "host")]
    command = ["gcc", *FLAGS, f"-DHW_CHECKS={checks}", *places, *sources, "-o", str(library), "-ldl"]
    subprocess.run(command, check=True, timeout=300, stderr=subprocess.DEVNULL)
    return library


def columns(into: Path) -> list[Column]:
    """The engine with all checks first, then one without each."""
    cases = [
        ("all checks", ALL),
        *((f"without {name}", ALL & ~bit) for name, bit in CHECKS.items()),
        ("none of them", 0),
    ]
    return [Column(name, environment={"LD_PRELOAD": str(engine(into, checks))}) for name, checks in cases]


def rows(into: Path) -> list[Row]:
    """Few live blocks, which stay in the caches of the processor, many, which do not, and a program."""
    program = kernels.compile_source("lifetimes", into)
    lifo = kernels.compile_source("lifo", into)
    return [
        Row("LIFO pair", (str(lifo), "8000000"), prints_cost=True),
        Row("1,000 live", (str(program), "1000", "3000000"), prints_cost=True),
        Row("100,000 live", (str(program), "100000", "3000000"), prints_cost=True),
        Row("1,000,000 live", (str(program), "1000000", "3000000"), prints_cost=True),
        suite.PROGRAMS["c++"](into, 2),
    ]


def main() -> int:
    """Compile, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7, help="rounds that count (7)")
    parser.add_argument("--processor", action="store_true", help="the processor's time, not wall time")
    parser.add_argument("--into", type=Path, help="put the table into this page")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="heapwitness-checks-") as folder:
        work = Path(folder)
        ways = columns(work)
        launcher = Launcher(kernels.compile_source("launch", work), 120, options.processor)
        results = {row.name: interleave(launcher, row, ways, options.rounds, print_failure) for row in rows(work)}
    table = tables.Table("The fast path's checks", "ns (the program: s)", tuple(way.name for way in ways), results)
    print(tables.text(table))
    if options.into:
        page.put(options.into, "checks", f"{page.made_by()}\n{tables.markdown(table)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
