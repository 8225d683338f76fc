"""A producer/consumer soak: does memory grow without bound under the engine?

python benchmarks/soak.py                      10 minutes with glibc's heap, 10 with the engine
python benchmarks/soak.py --minutes 1 --into docs/performance.md

One program (kernels/soak.c) runs with each heap in turn. Threads allocate, others release, all end and start again
every 2 seconds; what is alive at a time stays the same. Every second its resident memory and its address space are
read from /proc. The status is 1 when either grows without bound under the engine:

* the run is cut into quarters; the first is for filling up and does not count;
* something *grows without bound* when the most it had in the last quarter is more than what it had in the second by
  a twentieth and 1 MiB. So a constant loss of that much in half of the run is noticed, a slower one is not told from
  noise, and a heap that fragments ever more slowly passes.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import columns
import kernels
import page
from measure import Column

MIB = 1 << 20
PAGE = os.sysconf("SC_PAGE_SIZE")
LEAST_SAMPLES = 8


@dataclass(frozen=True, slots=True)
class Sample:
    """The program at one moment; memory in bytes, `seconds` since its start."""

    seconds: float
    operations: int
    live: int
    resident: int
    space: int


@dataclass(frozen=True, slots=True)
class Growth:
    """The most of something in the second and in the last quarter of a run, in bytes."""

    early: int
    late: int

    @property
    def unbounded(self) -> bool:
        return self.late > self.early + self.early // 20 + MIB


def growth(values: Sequence[int]) -> Growth:
    """Compare the quarters of a run.

    Args:
        values: at equal intervals, at least `LEAST_SAMPLES`.
    """
    quarter = len(values) // 4
    return Growth(max(values[quarter : 2 * quarter]), max(values[-quarter:]))


def growths(samples: Sequence[Sample]) -> tuple[Growth, Growth, Growth]:
    """Of what is alive, of resident memory and of address space."""
    return (
        growth([sample.live for sample in samples]),
        growth([sample.resident for sample in samples]),
        growth([sample.space for sample in samples]),
    )


class SoakFailed(Exception):
    """The program ended before its time."""


def soak(program: Path, column: Column, seconds: int, pairs: int, leak: int) -> list[Sample]:
    """Run the program with one heap, and look at it whenever it prints its line.

    Raises:
        SoakFailed: with its exit status.
    """
    with subprocess.Popen(
        [program, str(seconds), str(pairs), str(leak)],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | dict(column.environment),
    ) as process:
        assert process.stdout is not None
        samples = []
        for line in process.stdout:
            time, operations, live = line.split()
            space, resident = Path(f"/proc/{process.pid}/statm").read_text().split()[:2]
            samples.append(
                Sample(float(time), int(operations), int(live), int(resident) * PAGE, int(space) * PAGE),
            )
    if process.returncode != 0 or len(samples) != seconds:
        raise SoakFailed(f"under {column.name} it ended with status {process.returncode} after {len(samples)} s")
    return samples


def table(results: dict[str, list[Sample]]) -> list[list[str]]:
    """Words of the table: a heading, then a row for each heap."""
    heading = ["most, in MiB", "operations", "alive, 2nd quarter", "last", "resident, 2nd", "last"]
    rows = [[*heading, "address space, 2nd", "last", "grows without bound"]]
    for name, samples in results.items():
        live, resident, space = growths(samples)
        grown = [what for what, each in (("resident", resident), ("address space", space)) if each.unbounded]
        figures = [f"{most / MIB:,.1f}" for each in (live, resident, space) for most in (each.early, each.late)]
        operations = f"{samples[-1].operations / 1e6:,.0f} million"
        rows.append([name, operations, *figures, " and ".join(grown) or "no"])
    return rows


def text(rows: Sequence[Sequence[str]]) -> str:
    """The table with aligned columns."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = ["  ".join(word.ljust(width) for word, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join(lines) + "\n"


def markdown(rows: Sequence[Sequence[str]]) -> str:
    """The table for a page."""
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    lines.insert(1, "| --- |" + " ---: |" * (len(rows[0]) - 1))
    return "\n".join(lines) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10, help="for each heap (10)")
    parser.add_argument("--pairs", type=int, default=2, choices=range(1, 17), help="of threads (2)")
    parser.add_argument("--leak", type=int, default=0, metavar="BYTES", help="to be lost in each second, as a test")
    parser.add_argument("--into", type=Path, help="put the table into this page")
    options = parser.parse_args()
    seconds = round(options.minutes * 60)
    if seconds < LEAST_SAMPLES:
        parser.error(f"--minutes must be at least {LEAST_SAMPLES / 60:.2f}")
    results = {}
    with tempfile.TemporaryDirectory(prefix="heapwitness-soak-") as work:
        program = kernels.compile_source("soak", Path(work))
        for column in (columns.glibc(), columns.engine()):
            try:
                results[column.name] = soak(program, column, seconds, options.pairs, options.leak)
            except SoakFailed as error:
                print(f"The soak failed: {error}.", file=sys.stderr)
                return 1
    rows = table(results)
    print(text(rows), end="")
    if options.into:
        page.put(options.into, "soak", f"{page.made_by()}\n{markdown(rows)}")
    _, resident, space = growths(results[columns.ENGINE])
    return int(resident.unbounded or space.unbounded)


if __name__ == "__main__":
    sys.exit(main())
