"""Random programs, random damage, and what came of it: the fault campaign.

    python benchmarks/faults/run.py --runs 1000000 --jobs 2 --seed 1 --markdown FILE
    python benchmarks/faults/run.py --table                     only print what is known
    python benchmarks/faults/run.py --level core --replay 4711  one run, with what was found

The same damage on three levels: the core in this process (the most runs), the engine in forked processes, and
`heapwitness run` as a whole. Results are kept in the state directory in chunks; started again with the same seed, the
campaign goes on where it was. docs/faults.md has the tables and explains every kind of miss.
"""

import argparse
import datetime
import importlib.metadata
import json
import os
import platform
import sys
import time
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path

import core
import engine
import whole
from tally import Tally, confusion, misses, moments, outcome
from truth import Result

STATE = Path(__file__).parents[2] / "build" / "faults"
LEVELS = {"core": 4000, "engine": 1500, "run": 50}
"""Runs in a chunk."""

TITLES = {
    "core": "The core, its walker and the diagnosis, in one process",
    "engine": "The engine in forked processes, one to four threads each",
    "run": "`heapwitness run --json`, one process each",
}
LINEAR = ("overflow: a fill (memset)", "overflow: text (strcpy)", "overflow: words (structs, arrays)")
HEADERS = ("header or backup, one bit", "header or backup, 1 to 8 bytes", "header, whole", "backup, whole")
DOUBLE = ("header and its backup",)


@dataclass(frozen=True, slots=True)
class Chunk:
    """Neighbouring runs of one level."""

    level: str
    seed: int
    number: int

    @property
    def key(self) -> str:
        return f"{self.level} {self.seed} {self.number}"

    def runs(self, program: Path) -> Iterator[tuple[int, Result]]:
        """Carry them out."""
        count = LEVELS[self.level]
        first = self.number * count
        return _runs(self.level, program, self.seed, first, count)


def _runs(level: str, program: Path, seed: int, first: int, count: int) -> Iterator[tuple[int, Result]]:
    """Runs `first` to before `first + count` of a level; every few chunks of processes are run with --poison."""
    if level == "core":
        return core.runs(seed, first, count)
    poison = first // LEVELS[level] % engine.POISON_EVERY == engine.POISON_EVERY - 1
    if level == "engine":
        return engine.runs(program, seed, first, count, poison)
    return whole.runs(program, seed, first, count, poison)


def main() -> int:
    options = _options()
    options.state.mkdir(parents=True, exist_ok=True)
    program = engine.build(options.state)
    if options.replay is not None:
        return _replay(options, program)
    log = options.state / "chunks.jsonl"
    done = _load(log)
    if not options.table:
        todo = [chunk for chunk in _chunks(options) if chunk.key not in done]
        for chunk, tally, seconds in _carry_out(todo, program, options.jobs):
            done[chunk.key] = tally
            with log.open("a") as out:
                out.write(json.dumps({"key": chunk.key, "seconds": seconds, "rows": tally.encode()}) + "\n")
            print(f"{chunk.key:>20}: {tally.runs:,} runs, {tally.runs / seconds:.0f} a second", flush=True)
    text = markdown(done, options.seed)
    print(text)
    if options.markdown:
        options.markdown.write_text(text)
    return 0


def markdown(done: dict[str, Tally], seed: int) -> str:
    """The tables of all levels that have results, the goals first."""
    tallies = {level: _sum(done, level, seed) for level in LEVELS}
    lines = [_about(seed), ""]
    for level, tally in tallies.items():
        if not tally.runs:
            continue
        lines += [f"## {TITLES[level]}: {tally.runs:,} runs", "", *_goals(tally), ""]
        lines += ["In percent of the runs that a column asks of:", "", outcome(tally)]
        lines += ["When it was detected, in runs:", "", moments(tally)]
        lines += ["What it was told as, in runs:", "", confusion(tally)]
        lines += ["Examples of misses:", "", misses(tally)]
    return "\n".join(lines)


def _goals(tally: Tally) -> list[str]:
    single = tally.total(name for name in tally.rows if name not in DOUBLE)
    header, linear = tally.total(HEADERS), tally.total(LINEAR)
    return [
        f"* single damage and wrong releases detected: {single.share('detected', 'runs')} %",
        f"* of the right kind: {single.share('right', 'runs')} %",
        f"* headers and backups restored byte for byte: {header.share('repair yes', 'mended')} %",
        f"* everything that had anything to be restored from, restored: {single.share('repair yes', 'mended')} %",
        f"* culprit named for linear overflows: {linear.share('named', 'asked')} %",
        f"* program finished: {single.share('finished', 'runs')} %",
    ]


def _about(seed: int) -> str:
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in ("drgn", "msgspec"))
    return (
        f"{datetime.date.today():%Y-%m-%d}, seed {seed}, Linux {platform.release()} on {platform.machine()} with "
        f"{os.cpu_count()} processors, {' '.join(platform.libc_ver())}, Python {platform.python_version()}, {versions}"
    )


def _sum(done: dict[str, Tally], level: str, seed: int) -> Tally:
    whole_tally = Tally()
    for key in sorted(done, key=lambda key: int(key.split()[2])):
        if key.startswith(f"{level} {seed} "):
            whole_tally.merge(done[key])
    return whole_tally


def _chunks(options: argparse.Namespace) -> Iterator[Chunk]:
    """All that are asked for, the levels in turn, so that a campaign that is broken off has something of each."""
    wanted = {"core": options.runs, "engine": options.engine_runs, "run": options.whole_runs}
    counts = {level: -(-wanted[level] // LEVELS[level]) for level in LEVELS if options.level in (None, level)}
    places = [((number + 0.5) / count, level, number) for level, count in counts.items() for number in range(count)]
    for _, level, number in sorted(places):
        yield Chunk(level, options.seed, number)


def _carry_out(todo: list[Chunk], program: Path, jobs: int) -> Iterator[tuple[Chunk, Tally, float]]:
    with ProcessPoolExecutor(jobs, max_tasks_per_child=20) as pool:
        running: dict[Future[tuple[Tally, float]], Chunk] = {}
        waiting = iter(todo)
        while True:
            while len(running) < jobs + 1 and (chunk := next(waiting, None)) is not None:
                running[pool.submit(_tally, chunk, program)] = chunk
            if not running:
                return
            finished, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in finished:
                yield (running.pop(future), *future.result())


def _tally(chunk: Chunk, program: Path) -> tuple[Tally, float]:
    started = time.monotonic()
    tally = Tally()
    for number, result in chunk.runs(program):
        tally.add(number, result)
    return tally, time.monotonic() - started


def _load(log: Path) -> dict[str, Tally]:
    if not log.exists():
        return {}
    lines = map(json.loads, log.read_text().splitlines())
    return {line["key"]: Tally.decode(line["rows"]) for line in lines}


def _replay(options: argparse.Namespace, program: Path) -> int:
    for _, result in _runs(options.level or "core", program, options.seed, options.replay, 1):
        print(result)
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=100_000, help="of the core")
    parser.add_argument("--engine-runs", type=int, help="a tenth of --runs, if not given")
    parser.add_argument("--whole-runs", type=int, help="a thousandth of --runs, if not given")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="at the same time")
    parser.add_argument("--seed", type=int, default=1, help="everything follows from it")
    parser.add_argument("--level", choices=LEVELS, help="only this one")
    parser.add_argument("--table", action="store_true", help="run nothing")
    parser.add_argument("--replay", type=int, metavar="RUN", help="make one run again and print it")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the tables to a file")
    parser.add_argument("--state", type=Path, default=STATE, metavar="DIR", help="where results are kept")
    options = parser.parse_args()
    if options.engine_runs is None:
        options.engine_runs = options.runs // 10
    if options.whole_runs is None:
        options.whole_runs = options.runs // 1000
    return options


if __name__ == "__main__":
    sys.exit(main())
