"""What each option costs, over programs: time and peak memory against the program with glibc.

python benchmarks/options.py                                a table
python benchmarks/options.py --into docs/run.md

Programs that are not installed are left out. `--words` adds one: the rest of the line is its command.
"""

import argparse
import shutil
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

OPTIONS = {
    "default": {},
    "--stacks caller": {"HEAPWITNESS_STACKS": "caller"},
    "--stacks full": {"HEAPWITNESS_STACKS": "full"},
    "--poison": {"HEAPWITNESS_POISON": "1"},
    "--check-every 1000": {"HEAPWITNESS_CHECK_EVERY": "1000"},
}
PROGRAMS = ("perl", "python", "c++", "c++8")
OCTAVE = """
s = 0;
for i = 1:400
  a = rand(20, 20); b = a * a'; c = num2str(b(1, 1)); s = s + numel(strsplit([c ',' c ',' c], ','));
  m = struct('x', a, 'y', {c}); q = cellfun(@(z) numel(z), {c, c, c}); s = s + sum(q);
end
"""
NODE = """
let n = 0;
for (let i = 0; i < 20000; i++)
  n += new Function('a', 'b', `let s = ${i}; for (let k = 0; k < 3; k++) s += a * k + b; return {s};`)(i, 3).s;
"""


def columns() -> list[Column]:
    """glibc, and the engine with each option."""
    preload = ways.engine().environment
    return [ways.glibc(), *(Column(name, environment={**preload, **more}) for name, more in OPTIONS.items())]


def rows(work: Path, scale: int, words: list[str]) -> list[Row]:
    """Programs of the suite, interpreters that make many call stacks, and what was asked for."""
    found = []
    for name in PROGRAMS:
        (work / name).mkdir()
        try:
            found.append(suite.PROGRAMS[name](work / name, scale))
        except tools.Missing as error:
            print(f"{name} is left out: {error}", file=sys.stderr)
    for name, tool, text, before in (
        ("Node, 20,000 functions compiled", "node", NODE, ()),
        ("Octave", "octave-cli", OCTAVE, ("-q",)),
    ):
        script = work / f"{tool}.txt"
        script.write_text(text)
        if shutil.which(tool):
            found.append(Row(name, (tool, *before, str(script))))
        else:
            print(f"{name} is left out: {tool} is not installed", file=sys.stderr)
    if words:
        python = {"PYTHONMALLOC": "malloc"}
        found.append(Row(words[0], tuple(words[1:]), environment=python, statuses=(0, 1)))
    return found


def main() -> int:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="rounds that count (5)")
    parser.add_argument("--quick", action="store_true", help="small inputs")
    parser.add_argument("--processor", action="store_true", help="the processor's time, not wall time")
    parser.add_argument("--into", type=Path, help="put the tables into this page")
    parser.add_argument("--words", nargs=argparse.REMAINDER, default=[], help="NAME COMMAND...: one more program")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="heapwitness-options-") as folder:
        work = Path(folder)
        launcher = Launcher(kernels.compile_source("launch", work), 300, options.processor)
        results = {}
        for row in rows(work, 1 if options.quick else 4, options.words):
            cells = interleave(launcher, row, columns(), options.rounds, print_failure)
            if cells:
                results[row.name] = cells
                print(row.name, *(f"{cell.time_ratio:.2f}" for cell in cells.values()), file=sys.stderr, flush=True)
    of = " of processor time" if options.processor else ""
    table = tables.Table("Options", f"s{of}", (ways.GLIBC, *OPTIONS), results)
    print(tables.text(table))
    if options.into:
        both = [tables.markdown(table, peak) for peak in (False, True)]
        page.put(options.into, "options", "\n".join([page.made_by(), *both]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
