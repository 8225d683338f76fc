"""Chunks of runs: carried out, kept in a file as soon as they are there, and put together."""

import hashlib
import json
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import bare
import core
import engine
import whole
from tally import Tally
from truth import Result

import heapwitness

ROOT = Path(__file__).parents[2]
LEVELS = {"bare": 1_000_000, "core": 2000, "engine": 1500, "run": 50}
"""Runs in a chunk; the last one may have fewer."""
_MEASURED = (ROOT / "native" / "core", Path(heapwitness.__file__).parent, Path(__file__).parent)
"""What has a part in a result: the core that is compiled here, the package that is used with its engine, and this."""


@dataclass(frozen=True, slots=True)
class Programs:
    """What was compiled for the campaign."""

    target: Path
    bare: Path

    @classmethod
    def build(cls, directory: Path) -> Self:
        """Compile them into a directory."""
        return cls(engine.build(directory), bare.build(directory))


@dataclass(frozen=True, slots=True)
class Chunk:
    """Neighbouring runs of one level and seed."""

    level: str
    seed: int
    first: int
    count: int

    @property
    def key(self) -> str:
        """Its name in the file."""
        return f"{self.level} {self.seed} {self.first} {self.count}"


@dataclass(frozen=True, slots=True)
class Done:
    """What came of a chunk, and how many seconds it took."""

    chunk: Chunk
    tally: Tally
    seconds: float


def runs(level: str, programs: Programs, seed: int, first: int, count: int) -> Iterator[tuple[int, Result]]:
    """Runs `first` to before `first + count` of a level with a diagnosis; some chunks of processes with --poison."""
    if level == "core":
        return core.runs(seed, first, count)
    poison = first // LEVELS[level] % engine.POISON_EVERY == engine.POISON_EVERY - 1
    if level == "engine":
        return engine.runs(programs.target, seed, first, count, poison)
    return whole.runs(programs.target, seed, first, count, poison)


def chunks(wanted: dict[str, int], seeds: Sequence[int]) -> Iterator[Chunk]:
    """So many runs of each level and seed, the levels in turn: a campaign that is broken off has some of each."""
    places: list[tuple[float, Chunk]] = []
    for level, count in wanted.items():
        size = LEVELS[level]
        together = [
            Chunk(level, seed, first, min(size, count - first)) for seed in seeds for first in range(0, count, size)
        ]
        places += [((place + 0.5) / len(together), chunk) for place, chunk in enumerate(together)]
    for _, chunk in sorted(places, key=lambda one: one[0]):
        yield chunk


def carry_out(todo: Sequence[Chunk], programs: Programs, jobs: int) -> Iterator[Done]:
    """The chunks as they are done, `jobs` of them at the same time."""
    with ProcessPoolExecutor(jobs, max_tasks_per_child=20) as pool:
        running: set[Future[Done]] = set()
        waiting = iter(todo)
        while True:
            while len(running) < jobs + 1 and (chunk := next(waiting, None)) is not None:
                running.add(pool.submit(_done, chunk, programs))
            if not running:
                return
            finished, running = wait(running, return_when=FIRST_COMPLETED)
            for future in finished:
                yield future.result()


def _done(chunk: Chunk, programs: Programs) -> Done:
    started = time.monotonic()
    if chunk.level == "bare":
        tally = bare.tally(programs.bare, chunk.seed, chunk.first, chunk.count)
    else:
        tally = Tally()
        for number, result in runs(chunk.level, programs, chunk.seed, chunk.first, chunk.count):
            tally.add(f"{chunk.seed}:{number}", result)
    return Done(chunk, tally, time.monotonic() - started)


def version() -> str:
    """Of everything that has a part in a result, by its content: results of another one are not put together."""
    digest = hashlib.sha256()
    for folder in _MEASURED:
        for file in sorted(folder.rglob("*")):
            if file.suffix in (".c", ".h", ".py", ".so") and "liteos" not in file.parts:
                digest.update(file.read_bytes())
    return digest.hexdigest()[:12]


def keep(log: Path, done: Done, of: str) -> None:
    """Add a chunk to a file."""
    line = {"version": of, "key": done.chunk.key, "seconds": done.seconds, "rows": done.tally.encode()}
    with log.open("a") as out:
        out.write(json.dumps(line) + "\n")


def load(logs: Sequence[Path], of: str) -> dict[str, Tally]:
    """The chunks of this version in some files, by their keys."""
    found: dict[str, Tally] = {}
    for log in logs:
        if log.exists():
            lines = map(json.loads, log.read_text().splitlines())
            found |= {line["key"]: Tally.decode(line["rows"]) for line in lines if line["version"] == of}
    return found


def together(done: dict[str, Tally], level: str, seeds: Sequence[int]) -> Tally:
    """All chunks of a level and these seeds, in order; of two that begin alike, the longer one."""
    longest: dict[tuple[int, int], tuple[int, Tally]] = {}
    for key, tally in done.items():
        of, *numbers = key.split()
        seed, first, count = map(int, numbers)
        if of == level and seed in seeds and count > longest.get((seed, first), (0,))[0]:
            longest[seed, first] = count, tally
    whole_tally = Tally()
    for _, (_, tally) in sorted(longest.items()):
        whole_tally.merge(tally)
    return whole_tally
