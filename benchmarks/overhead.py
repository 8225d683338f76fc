"""What `heapwitness run` adds before a program's main begins, and after its last instruction.

python benchmarks/overhead.py                               a table
python benchmarks/overhead.py --rounds 100 --into docs/performance.md

Every round runs each way once, one after the other, and the medians over all rounds are shown. Only ways of the same
round compare: another load makes all of them slower.
"""

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import columns as ways
import kernels
import page

ROUNDS = 40
LASTING = 1000
"""Milliseconds that the program lasts which ends when everything around it is at rest."""
PROCESSES = 1000


class Times(NamedTuple):
    """One run, in milliseconds: until main, from main's end to the end of all, the whole, and of processors."""

    start: float
    end: float
    whole: float
    processor: float


class Way(NamedTuple):
    """A command; a `stamped` one prints when its main began and ended."""

    name: str
    command: tuple[str, ...]
    stamped: bool = True
    engine: bool = False


def once(way: Way, output: Path) -> Times:
    """Run a command, with its output in a file, so that nobody has to read it meanwhile."""
    environment = os.environ | (dict(ways.engine().environment) if way.engine else {})
    wanted = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
    actions = [
        (os.POSIX_SPAWN_OPEN, 1, str(output), wanted, 0o600),
        (os.POSIX_SPAWN_OPEN, 2, os.devnull, os.O_WRONLY, 0),
    ]
    before = time.monotonic_ns()
    pid = os.posix_spawn(way.command[0], way.command, environment, file_actions=actions)
    _, status, used = os.wait4(pid, 0)
    after = time.monotonic_ns()
    if status != 0:
        raise SystemExit(f"{way.name} ended with status {os.waitstatus_to_exitcode(status)}")
    begun, ended = map(int, output.read_text().split()) if way.stamped else (before, after)
    processor = (used.ru_utime + used.ru_stime) * 1e3
    return Times((begun - before) / 1e6, (after - ended) / 1e6, (after - before) / 1e6, processor)


def medians(of: Sequence[Way], rounds: int, output: Path) -> dict[str, Times]:
    """Medians by the ways' names."""
    taken: dict[str, list[Times]] = {way.name: [] for way in of}
    for number in range(rounds + 1):
        for way in of:
            times = once(way, output)
            if number > 0:  # the first round fills caches of files
                taken[way.name].append(times)
    return {name: Times(*map(statistics.median, zip(*each, strict=True))) for name, each in taken.items()}


def table(work: Path, rounds: int) -> list[str]:
    """Starts and ends, with the Python that runs heapwitness beside them."""
    stamp = str(kernels.compile_source("stamp", work))
    run = ways.installed().wrap
    of = (
        Way("Python alone, `-I -S -c pass`", (sys.executable, "-I", "-S", "-c", "pass"), stamped=False),
        Way("Python alone, `-c pass`", (sys.executable, "-c", "pass"), stamped=False),
        Way("the program alone", (stamp,)),
        Way("the program with the engine", (stamp,), engine=True),
        Way("`heapwitness run`", (*run, "--", stamp)),
        Way("`heapwitness run --quiet`", (*run, "--quiet", "--", stamp)),
        Way(f"`heapwitness run`, a program that lasts {LASTING} ms", (*run, "--", stamp, str(LASTING))),
    )
    lines = ["| ms | until main | behind its end | whole | of processors |", "| --- | ---: | ---: | ---: | ---: |"]
    for name, times in medians(of, rounds, work / "output").items():
        stamped = next(way.stamped for way in of if way.name == name)
        parts = [f"{times.start:.1f}", f"{times.end:.1f}"] if stamped else ["", ""]
        lines.append(f"| {name} | {' | '.join(parts)} | {times.whole:.1f} | {times.processor:.1f} |")
    return lines


def many(work: Path, rounds: int) -> list[str]:
    """A shell that starts a program PROCESSES times."""
    loop = f"i=0; while [ $i -lt {PROCESSES} ]; do /bin/true; i=$((i + 1)); done"
    shell = ("/bin/sh", "-c", loop)
    run = (*ways.installed().wrap, "--quiet", "--")
    of = (
        Way("alone", shell, stamped=False),
        Way("with the engine", shell, stamped=False, engine=True),
        Way("`heapwitness run --quiet`", (*run, *shell), stamped=False),
    )
    found = medians(of, rounds, work / "output")
    plain = found["alone"].whole
    lines = ["| a shell that runs /bin/true, a process | ms | more than alone |", "| --- | ---: | ---: |"]
    for name, times in found.items():
        lines.append(f"| {name} | {times.whole / PROCESSES:.3f} | {(times.whole - plain) / PROCESSES:.3f} |")
    return lines


def main() -> int:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=ROUNDS, help=f"rounds that count ({ROUNDS})")
    parser.add_argument("--into", type=Path, help="put the tables into this page")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="heapwitness-overhead-") as folder:
        work = Path(folder)
        lines = [*table(work, options.rounds), "", *many(work, max(3, options.rounds // 4))]
    text = "\n".join([page.made_by(), *lines])
    print(text)
    if options.into:
        page.put(options.into, "overhead", text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
