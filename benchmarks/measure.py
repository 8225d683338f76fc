"""Runs commands side by side, interleaved, and reduces what they cost to ratios.

Nothing here knows what the commands are. A *column* is a way to run a command (an allocator, a checker), a *row* is a
command. In each round every column runs once, in an order that rotates, so that a slow minute of the machine hits
all of them; ratios are taken within a round and their median counts.
"""

import statistics
import subprocess
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Column:
    """A way to run commands: words put before the command, and additions to its environment."""

    name: str
    wrap: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Row:
    """A command to be measured; `statuses` are the exit statuses that mean success.

    A command may print its own cost as the last line of its output (`prints_cost`, ns an operation), which then counts
    in place of its wall time.
    """

    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)
    statuses: tuple[int, ...] = (0,)
    directory: Path | None = None
    prints_cost: bool = False


@dataclass(frozen=True, slots=True)
class Cost:
    """One run: `time` in seconds (or in ns an operation), `peak` resident memory in KiB."""

    time: float
    peak: float


@dataclass(frozen=True, slots=True)
class Cell:
    """A row in a column, over all rounds: medians, and medians of the ratios to the first column."""

    time: float
    peak: float
    time_ratio: float
    peak_ratio: float


class RunFailed(Exception):
    """A command did not end with one of its statuses."""


class Launcher:
    """Runs commands through `launch` (kernels/launch.c), the small process that measures."""

    def __init__(self, launch: Path, timeout: float) -> None:
        self._launch = launch
        self._timeout = timeout

    def run(self, row: Row, column: Column) -> Cost:
        """Run once.

        Raises:
            RunFailed: with the last line that the command wrote to its standard error.
        """
        settings = [f"{key}={value}" for key, value in {**row.environment, **column.environment}.items()]
        with tempfile.NamedTemporaryFile() as output:
            done = subprocess.run(
                [str(self._launch), output.name, *settings, "--", *column.wrap, *row.command],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                cwd=row.directory,
                timeout=self._timeout,
                check=False,
            )
            words = Path(output.name).read_text().split()
        if done.returncode != 0 or len(words) != 3 or int(words[2]) not in row.statuses:
            last = (done.stderr.decode(errors="replace").strip().splitlines() or ["no message"])[-1]
            raise RunFailed(f"{row.name} under {column.name}: status {words[2:] or done.returncode}: {last}")
        time = int(words[0]) / 1e9
        if row.prints_cost:
            time = float(done.stdout.split()[-1])
        return Cost(time, float(words[1]))


def interleave(
    launcher: Launcher,
    row: Row,
    columns: Sequence[Column],
    rounds: int,
    failed: Callable[[Column, str], None],
) -> dict[str, Cell]:
    """Measure one row in all columns; the first column is the baseline.

    A column in which the command fails is left out, and `failed` is told.
    """
    alive = list(columns)
    costs: dict[str, list[Cost]] = {column.name: [] for column in columns}
    for turn in range(rounds + 1):
        shift = turn % len(alive)
        for column in alive[shift:] + alive[:shift]:
            try:
                cost = launcher.run(row, column)
            except (RunFailed, subprocess.TimeoutExpired) as error:
                failed(column, str(error))
                if column is columns[0]:
                    return {}
                alive.remove(column)
                del costs[column.name]
                continue
            # The first round warms caches and does not count.
            if turn > 0:
                costs[column.name].append(cost)
    base = costs[columns[0].name]
    return {name: _cell(base, each) for name, each in costs.items()}


def _cell(base: Sequence[Cost], costs: Sequence[Cost]) -> Cell:
    return Cell(
        time=statistics.median(cost.time for cost in costs),
        peak=statistics.median(cost.peak for cost in costs),
        time_ratio=statistics.median(cost.time / ours.time for cost, ours in zip(costs, base, strict=True)),
        peak_ratio=statistics.median(cost.peak / ours.peak for cost, ours in zip(costs, base, strict=True)),
    )
