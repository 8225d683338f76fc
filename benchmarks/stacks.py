"""What it costs to keep more of each call stack: `--stacks fast` and `full` against `caller`.

python benchmarks/stacks.py                                 a table
python benchmarks/stacks.py --into docs/performance.md

`caller` keeps a return address for each block, `fast` follows frame pointers, `full` unwinds by .eh_frame.
"""

import argparse
import sys
import tempfile
from pathlib import Path

import columns as ways
import kernels
import page
import suite
import tables
import tools
from measure import Column, Launcher, Row, interleave, print_failure

STACKS = ("caller", "fast", "full")
PROGRAMS = ("perl", "python", "git", "gcc", "c++", "c++8")


def columns() -> list[Column]:
    """The engine with each kind of stacks."""
    preload = ways.engine().environment
    return [Column(stacks, environment={**preload, "HEAPWITNESS_STACKS": stacks}) for stacks in STACKS]


def rows(work: Path, scale: int) -> list[Row]:
    """Programs, one built with frame pointers, a long run of Python, in which its start no longer counts, a kernel."""
    found = []
    for name in PROGRAMS:
        (work / name).mkdir()
        try:
            found.append(suite.PROGRAMS[name](work / name, scale))
        except tools.Missing as error:
            print(f"{name} is left out: {error}", file=sys.stderr)
    with_frames = kernels.compile_source("containers", work, ("-fno-omit-frame-pointer",))
    found.append(Row("C++ containers, frame pointers", (str(with_frames), "1", str(9 * scale))))
    script = work / "longer.py"
    script.write_text(
        "import json\n"
        f"rows = [{{'id': i, 'tags': [str(i % k) for k in range(1, 12)]}} for i in range({2_000 * scale})]\n"
        "for _ in range(25):\n    rows = json.loads(json.dumps(rows))\n"
    )
    found.append(Row("python: json", (sys.executable, str(script)), environment={"PYTHONMALLOC": "malloc"}))
    found.append(Row("python: start", (sys.executable, "-c", "pass"), environment={"PYTHONMALLOC": "malloc"}))
    lifetimes = str(kernels.compile_source("lifetimes", work))
    for live in (1_000, 100_000):
        found.append(Row(f"lifetimes, {live:,} live", (lifetimes, str(live), "3000000"), prints_cost=True))
    return found


def main() -> int:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="rounds that count (5)")
    parser.add_argument("--quick", action="store_true", help="small inputs")
    parser.add_argument("--processor", action="store_true", help="the processor's time, not wall time")
    parser.add_argument("--into", type=Path, help="put the table into this page")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="heapwitness-stacks-") as folder:
        work = Path(folder)
        launcher = Launcher(kernels.compile_source("launch", work), 300, options.processor)
        results = {}
        for row in rows(work, 1 if options.quick else 4):
            cells = interleave(launcher, row, columns(), options.rounds, print_failure)
            if cells:
                results[row.name] = cells
                print(row.name, *(f"{cell.time_ratio:.2f}" for cell in cells.values()), file=sys.stderr, flush=True)
    table = tables.Table("Call stacks", "s (kernels: ns)", STACKS, results)
    print(tables.text(table))
    if options.into:
        page.put(options.into, "stacks", f"{page.made_by()}\n{tables.markdown(table)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
