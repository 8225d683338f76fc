"""What an operation costs as the heap grows and threads are added: the engine, glibc, and memory itself.

python benchmarks/growth.py                                       two tables
python benchmarks/growth.py --into docs/performance.md --svg docs/growth.svg

An operation replaces one of the live blocks, at random. A larger heap costs more even if the allocator does no more
work, since the block, its neighbours and the allocator's own words are in no cache. How much is measured by the same
program when it only writes to the block (`touch`). For each allocator the costs are fitted by

    work + lines x touch

where `work` is what does not depend on the size, and `lines` how many places the operation reaches at random. The last
column says how far a measured cost is from that.
"""

import argparse
import os
import sys
import tempfile
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import columns as ways
import kernels
import lineplot
import page
from measure import Cell, Column, Launcher, Row, interleave

TOUCH = "touch"
LIVE = (1_000, 10_000, 100_000, 1_000_000, 10_000_000)
THREADS = (1, 2, 4, 8, 16)


@dataclass(frozen=True, slots=True)
class Fit:
    """Costs as `work` ns and `lines` times what touching costs."""

    work: float
    lines: float

    def cost(self, touch: float) -> float:
        """What the fit says, in ns."""
        return self.work + self.lines * touch


def fit(touches: list[float], costs: list[float]) -> Fit:
    """The least squares of the relative errors; neither part is negative."""
    weights = [1 / cost**2 for cost in costs]
    s = sum(weights)
    sx = sum(w * x for w, x in zip(weights, touches, strict=True))
    sy = sum(w * y for w, y in zip(weights, costs, strict=True))
    sxx = sum(w * x * x for w, x in zip(weights, touches, strict=True))
    sxy = sum(w * x * y for w, x, y in zip(weights, touches, costs, strict=True))
    lines = (s * sxy - sx * sy) / (s * sxx - sx * sx)
    work = (sy - lines * sx) / s
    if work < 0:
        return Fit(0, sxy / sxx)
    return Fit(work, lines)


def main() -> int:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3, help="rounds that count (3)")
    parser.add_argument("--quick", action="store_true", help="no more than 100,000 live blocks")
    parser.add_argument("--processor", action="store_true", help="the processor's time, not wall time")
    parser.add_argument("--into", type=Path, help="put the tables into this page")
    parser.add_argument("--svg", type=Path, help="write the picture to this file")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="heapwitness-growth-") as folder:
        work = Path(folder)
        launcher = Launcher(kernels.compile_source("launch", work), 300, options.processor)
        sizes = [count for count in LIVE if not options.quick or count <= 100_000]
        live = _live(work, launcher, sizes, options.rounds)
        threads = _threads(work, launcher, options.rounds)
    text = "\n".join([page.made_by(), *_live_table(live), "", *_thread_table(threads, options.processor)])
    print(text)
    if options.into:
        page.put(options.into, "growth", text)
    if options.svg:
        lines = {name: [(count, each[name].time) for count, each in live.items()] for name in next(iter(live.values()))}
        options.svg.write_text(lineplot.svg("ns an operation, by live blocks", lines))
    return 0


def _live(work: Path, launcher: Launcher, sizes: list[int], rounds: int) -> dict[int, dict[str, Cell]]:
    program = str(kernels.compile_source("lifetimes", work))
    results = {}
    for count in sizes:
        # As many operations as there are blocks, at least: each has been replaced once.
        words = (program, str(count), str(max(count, 2_000_000)))
        touch = Column(TOUCH, ways.glibc().wrap, ways.glibc().environment, own_build=True)
        builds = {TOUCH: partial(_touching, words)}
        row = Row(f"{count:,} live blocks", words, prints_cost=True, builds=builds)
        results[count] = interleave(launcher, row, [ways.glibc(), ways.engine(), touch], rounds, _failed)
        print(_words(row, results[count]), file=sys.stderr, flush=True)
    return results


def _touching(words: tuple[str, ...]) -> tuple[str, ...]:
    return (*words, "touch")


def _threads(work: Path, launcher: Launcher, rounds: int) -> dict[int, dict[str, Cell]]:
    program = str(kernels.compile_source("threads", work))
    results = {}
    for count in THREADS:
        row = Row(f"{count} threads", (program, str(count), "8000000"), prints_cost=True)
        results[count] = interleave(launcher, row, [ways.glibc(), ways.engine()], rounds, _failed)
        print(_words(row, results[count]), file=sys.stderr, flush=True)
    return results


def _live_table(results: dict[int, dict[str, Cell]]) -> list[str]:
    touches = [each[TOUCH].time for each in results.values()]
    fits = {name: fit(touches, [each[name].time for each in results.values()]) for name in (ways.GLIBC, ways.ENGINE)}
    lines = [
        "### By live blocks, one thread",
        "",
        "| live blocks | touch, ns | glibc, ns | engine, ns | engine / glibc | glibc - fit | engine - fit |",
        "| ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for count, each in results.items():
        off = {name: each[name].time / fits[name].cost(each[TOUCH].time) - 1 for name in fits}
        lines.append(
            f"| {count:,} | {each[TOUCH].time:.1f} | {each[ways.GLIBC].time:.1f} | {each[ways.ENGINE].time:.1f} "
            f"| {each[ways.ENGINE].time_ratio:.2f} | {off[ways.GLIBC]:+.0%} | {off[ways.ENGINE]:+.0%} |"
        )
    words = [f"{name}: {each.work:.0f} ns + {each.lines:.1f} x touch" for name, each in fits.items()]
    return [*lines, "", f"The fits: {'; '.join(words)}."]


def _thread_table(results: dict[int, dict[str, Cell]], processor: bool) -> list[str]:
    cores = os.cpu_count() or 1
    lines = [
        f"### By threads, on {cores} cores",
        "",
        "Each thread has 1,000 live blocks. ns are of a core: wall time by the cores in use, or the processor's time.",
        "",
        "| threads | glibc, ns | engine, ns | engine / glibc |",
        "| ---: | ---: | ---: | ---: |",
    ]
    for count, each in results.items():
        used = 1 if processor else min(count, cores)
        lines.append(
            f"| {count} | {each[ways.GLIBC].time * used:.1f} | {each[ways.ENGINE].time * used:.1f} "
            f"| {each[ways.ENGINE].time_ratio:.2f} |"
        )
    return lines


def _words(row: Row, cells: dict[str, Cell]) -> str:
    return f"{row.name}: " + "  ".join(f"{name} {cell.time:.1f} ns" for name, cell in cells.items())


def _failed(column: Column, message: str) -> None:
    raise SystemExit(f"{column.name}: {message}")


if __name__ == "__main__":
    sys.exit(main())
