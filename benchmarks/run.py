"""Measures heapwitness against glibc's malloc, and others, on real programs and on kernels of allocation.

python benchmarks/run.py                       programs: glibc, the engine alone, all of `heapwitness run`
python benchmarks/run.py --kernels             kernels of allocation as well
python benchmarks/run.py --against mimalloc,scudo,malloc_check --markdown FILE --svg FILE
python benchmarks/run.py --kernels --against fast --into docs/performance.md --svg docs/performance.svg
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
from measure import Cell, Column, Launcher, Row, interleave


def main() -> int:
    options = _options()
    columns = _columns(options)
    of = " of processor time" if options.processor else ""
    work = Path(tempfile.mkdtemp(prefix="heapwitness-bench-"))
    try:
        launcher = Launcher(kernels.compile_source("launch", work), options.timeout, options.processor)
        results = [_measure("Programs", f"s{of}", _programs(options, work), columns, launcher, options.rounds)]
        if options.kernels:
            # The supervisor's start does not count in a kernel's own figure.
            apart = [column for column in columns if column.name != ways.RUN]
            rows = kernels.rows(work, options.quick)
            results.append(_measure("Kernels", f"ns/op{of}", rows, apart, launcher, options.rounds))
    finally:
        shutil.rmtree(work, ignore_errors=True)
    _write(options, results)
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, help="rounds that count (5; quick: 3)")
    parser.add_argument("--quick", action="store_true", help="small inputs")
    parser.add_argument("--kernels", action="store_true", help="measure the kernels of allocation, too")
    parser.add_argument("--only", default="", help=f"programs, of {','.join(suite.PROGRAMS)}")
    parser.add_argument(
        "--against", default="", help=f"more columns, of {','.join(ways.AGAINST)}; or all, or fast: all but valgrind"
    )
    parser.add_argument(
        "--beside", type=Path, help="in place of `heapwitness run`: a library of another version of the engine"
    )
    parser.add_argument(
        "--processor", action="store_true", help="the processor's time, not wall time: where other work is going on"
    )
    parser.add_argument("--timeout", type=float, default=600, help="seconds for one run")
    parser.add_argument("--markdown", type=Path, help="write the tables to this file")
    parser.add_argument("--into", type=Path, help="put the tables into this page, where it has places for them")
    parser.add_argument("--part", default="programs", help="the place in that page (programs)")
    parser.add_argument("--svg", type=Path, help="write the picture to this file")
    options = parser.parse_args()
    if options.against == "all":
        options.against = ",".join(ways.AGAINST)
    if options.against == "fast":
        options.against = ",".join(name for name in ways.AGAINST if name != ways.SLOW)
    options.rounds = options.rounds or (3 if options.quick else 5)
    for name in filter(None, options.against.split(",")):
        if name not in ways.AGAINST:
            parser.error(f"--against {name}: must be of {', '.join(ways.AGAINST)}")
    if options.beside and not options.beside.is_file():
        parser.error(f"--beside {options.beside}: there is no such file")
    for name in filter(None, options.only.split(",")):
        if name not in suite.PROGRAMS:
            parser.error(f"--only {name}: must be of {', '.join(suite.PROGRAMS)}")
    return options


def _columns(options: argparse.Namespace) -> list[Column]:
    columns = [ways.glibc(), ways.engine(), ways.another_engine(options.beside) if options.beside else ways.run()]
    for name in filter(None, options.against.split(",")):
        try:
            columns.append(ways.against(name))
        except ways.NotInstalled as error:
            print(f"{name} is left out: {error}", file=sys.stderr)
    return columns


def _programs(options: argparse.Namespace, work: Path) -> list[Row]:
    rows = []
    for name in filter(None, options.only.split(",")) if options.only else suite.PROGRAMS:
        directory = work / name
        directory.mkdir()
        try:
            rows.append(suite.PROGRAMS[name](directory, 1 if options.quick else 4))
        except tools.Missing as error:
            print(f"{name} is left out: {error}", file=sys.stderr)
    return rows


def _measure(
    title: str, unit: str, rows: list[Row], columns: list[Column], launcher: Launcher, rounds: int
) -> tables.Table:
    def failed(column: Column, message: str) -> None:
        print(message, file=sys.stderr)

    results: dict[str, dict[str, Cell]] = {}
    for row in rows:
        cells = interleave(launcher, row, columns, rounds, failed)
        if cells:
            results[row.name] = cells
            ratios = "  ".join(f"{name} {cell.time_ratio:.2f}" for name, cell in cells.items())
            print(f"{row.name}: {ratios}", file=sys.stderr, flush=True)
    return tables.Table(title, unit, tuple(column.name for column in columns), results)


def _write(options: argparse.Namespace, results: list[tables.Table]) -> None:
    for table in results:
        print("\n" + tables.text(table))
        print(tables.text(table, peak=True))
    parts = [page.made_by(), *(tables.markdown(table, peak) for table in results for peak in (False, True))]
    if options.markdown:
        options.markdown.write_text("\n".join(parts))
    if options.into:
        page.put(options.into, options.part, "\n".join(parts))
    if options.svg:
        options.svg.write_text(tables.svg(results))


if __name__ == "__main__":
    sys.exit(main())
