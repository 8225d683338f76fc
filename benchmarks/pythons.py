"""What Python lines cost: programs with malloc, plain, under the engine without lines and with them.

python benchmarks/pythons.py                                      a table, of this interpreter
python benchmarks/pythons.py --python python3.12 --python python3.13
python benchmarks/pythons.py --processor --into docs/performance.md
python benchmarks/pythons.py --instructions                       counted by valgrind, once each

The baseline is `PYTHONMALLOC=malloc`, since the engine sees Python's objects only so. The programs are those in
`benchmarks/interpreted/`; one that needs a package that the interpreter lacks is left out.
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import columns as ways
import kernels
import page
import tables
from measure import Cell, Column, Launcher, Row, interleave, print_failure

PROGRAMS = Path(__file__).parent / "interpreted"
ROUNDS = {
    "json_rows": 60,
    "regex_log": 40,
    "text_words": 80,
    "tasks_queue": 120,
    "constraints_chain": 150,
    "classes_many": 600,
    "pickle_tree": 80,
    "async_pairs": 100,
    "numbers_small": 8_000,
    "imports_many": 1,
}
"""How often each does its work, for about a quarter of a second."""
MALLOC = "malloc"
_COLLECTED = re.compile(r"Collected : (\d+)")


def columns() -> list[Column]:
    """The baseline, plain Python, and the engine without and with lines."""
    malloc = {"PYTHONMALLOC": "malloc", "PYTHONHASHSEED": "0"}
    engine = {**malloc, **ways.engine().environment}
    return [
        Column(MALLOC, environment=malloc),
        Column("plain", environment={"PYTHONMALLOC": "", "PYTHONHASHSEED": "0"}),
        Column("engine, no lines", environment={**engine, "HEAPWITNESS_PYTHON_LINES": "0"}),
        Column("engine", environment=engine),
    ]


def rows(python: str, scale: int) -> list[Row]:
    """The programs that this interpreter can run."""
    found = [Row("start", (python, "-c", "pass"))]
    for program, rounds in ROUNDS.items():
        command = (python, str(PROGRAMS / f"{program}.py"))
        if subprocess.run([*command, "1"], capture_output=True, check=False).returncode:
            print(f"{program} is left out: {python} cannot run it", file=sys.stderr)
        else:
            found.append(Row(program.replace("_", " "), (*command, str(max(rounds // scale, 1)))))
    return found


def instructions(row: Row, ways_to_run: Sequence[Column]) -> dict[str, Cell]:
    """Millions of instructions of the program, which callgrind counts; there is no peak."""
    counts = {}
    for column in ways_to_run:
        done = subprocess.run(
            ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null", *row.command],
            env=os.environ | dict(column.environment),
            capture_output=True,
            text=True,
            check=True,
        )
        counts[column.name] = int(_COLLECTED.findall(done.stderr)[-1]) / 1e6
    base = counts[ways_to_run[0].name]
    return {name: Cell(count, 0, count / base, 1) for name, count in counts.items()}


def main() -> int:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--python", action="append", help="an interpreter (this one); may be given several times")
    parser.add_argument("--rounds", type=int, default=5, help="rounds that count (5)")
    parser.add_argument("--quick", action="store_true", help="a tenth of the work")
    parser.add_argument("--processor", action="store_true", help="the processor's time, not wall time")
    parser.add_argument("--instructions", action="store_true", help="instructions by valgrind, in place of time")
    parser.add_argument("--into", type=Path, help="put the tables into this page")
    options = parser.parse_args()
    if options.instructions and options.into:
        parser.error("--instructions has no place in a page")
    asked = columns()
    made = []
    with tempfile.TemporaryDirectory(prefix="heapwitness-pythons-") as folder:
        launcher = Launcher(kernels.compile_source("launch", Path(folder)), 300, options.processor)
        for python in options.python or [sys.executable]:
            version = subprocess.run([python, "-V"], capture_output=True, text=True, check=True).stdout.strip()
            results = {}
            for row in rows(python, 10 if options.quick else 1):
                if options.instructions:
                    cells = instructions(row, asked)
                else:
                    cells = interleave(launcher, row, asked, options.rounds, print_failure)
                if cells:
                    results[row.name] = cells
                    print(row.name, *(f"{cell.time_ratio:.2f}" for cell in cells.values()), file=sys.stderr, flush=True)
            unit = "million instructions" if options.instructions else "s"
            made.append(tables.Table(version, unit, tuple(column.name for column in asked), results))
            print(tables.text(made[-1]))
    if options.into:
        page.put(options.into, "python", f"{page.made_by()}\n" + "\n".join(map(tables.markdown, made)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
