"""Runs commands side by side, interleaved, and reduces what they cost to ratios.

Nothing here knows what the commands are. A *column* is a way to run a command (an allocator, a checker), a *row* is a
command. In each round every column runs once, in an order that rotates, so that a slow minute of the machine hits
all of them; ratios are taken within a round and their median counts.
"""

import math
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Column:
    """A way to run commands: words put before the command, and additions to its environment.

    `own_build`: only rows that can be built for it have it. `most_rounds`: for what takes very long.
    """

    name: str
    wrap: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    own_build: bool = False
    most_rounds: int | None = None


@dataclass(frozen=True, slots=True)
class Row:
    """A command to be measured; `statuses` are the exit statuses that mean success.

    A command may print its own cost as the last line of its output (`prints_cost`, ns an operation), which then counts
    in place of its wall time. `builds` makes its command for the column of that name (`own_build`).
    """

    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)
    statuses: tuple[int, ...] = (0,)
    directory: Path | None = None
    prints_cost: bool = False
    builds: Mapping[str, Callable[[], tuple[str, ...]]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Cost:
    """One run: `time` in seconds (or in ns an operation), `peak` resident memory in KiB."""

    time: float
    peak: float


@dataclass(frozen=True, slots=True)
class Cell:
    """A row in a column, over all rounds: medians, and medians of the ratios to the first column.

    NaN in all of them: the command failed there.
    """

    time: float
    peak: float
    time_ratio: float
    peak_ratio: float


class RunFailed(Exception):
    """A command did not end with one of its statuses."""


class Launcher:
    """Runs commands through `launch` (kernels/launch.c), the small process that measures."""

    def __init__(self, launch: Path, timeout: float, processor: bool = False) -> None:
        """`processor`: measure the processor's time of all processes in place of wall time."""
        self._launch = launch
        self._timeout = timeout
        self._processor = processor

    def run(self, row: Row, column: Column, command: Sequence[str]) -> Cost:
        """Run once; `command` is the row's, or its build for the column.

        Raises:
            RunFailed: with the last line that the command wrote to its standard error.
        """
        settings = [f"{key}={value}" for key, value in {**row.environment, **column.environment}.items()]
        if self._processor:
            settings.append("KERNEL_PROCESSOR_TIME=1")
        with tempfile.NamedTemporaryFile() as output:
            done = subprocess.run(
                [str(self._launch), output.name, *settings, "--", *column.wrap, *command],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                cwd=row.directory,
                timeout=self._timeout,
                check=False,
            )
            words = Path(output.name).read_text().split()
        if done.returncode != 0 or len(words) != 4 or int(words[2]) not in row.statuses:
            last = (done.stderr.decode(errors="replace").strip().splitlines() or ["no message"])[-1]
            raise RunFailed(f"{row.name} under {column.name}: status {words[2:3] or done.returncode}: {last}")
        time = int(words[3 if self._processor else 0]) / 1e9
        if row.prints_cost:
            time = float(done.stdout.split()[-1])
        return Cost(time, float(words[1]))


def print_failure(column: Column, message: str) -> None:
    """What `interleave` tells, on standard error."""
    print(f"{column.name}: {message}", file=sys.stderr)


def interleave(
    launcher: Launcher,
    row: Row,
    columns: Sequence[Column],
    rounds: int,
    failed: Callable[[Column, str], None],
) -> dict[str, Cell]:
    """Measure one row in all columns; the first column is the baseline.

    Where the command fails, `failed` is told. A column for which the row has no build is left out.
    """
    commands = {
        column.name: row.builds[column.name]() if column.own_build else row.command
        for column in columns
        if not column.own_build or column.name in row.builds
    }
    alive = [column for column in columns if column.name in commands]
    costs: dict[str, dict[int, Cost]] = {column.name: {} for column in alive}
    for turn in range(rounds + 1):
        shift = turn % len(alive)
        for column in alive[shift:] + alive[:shift]:
            # The first round warms caches and does not count; it would take what is slow too long.
            if column.most_rounds is not None and not 0 < turn <= column.most_rounds:
                continue
            try:
                cost = launcher.run(row, column, commands[column.name])
            except (RunFailed, subprocess.TimeoutExpired) as error:
                failed(column, str(error))
                if column is columns[0]:
                    return {}
                alive.remove(column)
                costs[column.name].clear()
                continue
            if turn > 0:
                costs[column.name][turn] = cost
    base = costs[columns[0].name]
    return {name: _cell(base, each) for name, each in costs.items()}


def _cell(base: Mapping[int, Cost], costs: Mapping[int, Cost]) -> Cell:
    if not costs:
        return Cell(math.nan, math.nan, math.nan, math.nan)
    return Cell(
        time=statistics.median(cost.time for cost in costs.values()),
        peak=statistics.median(cost.peak for cost in costs.values()),
        time_ratio=statistics.median(cost.time / base[turn].time for turn, cost in costs.items()),
        peak_ratio=statistics.median(cost.peak / base[turn].peak for turn, cost in costs.items()),
    )
