"""How much later a program starts with the engine in it, and how fast a heap is walked; overhead.py has all of `run`.

python benchmarks/starts.py                                 a table
python benchmarks/starts.py --into docs/performance.md
"""

import argparse
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

import columns as ways
import kernels
import page

PROCESSES = 200
LIVE, CHECKS, WALKS = 200_000, 31, 101


def until_main(stamp: Path, environment: Mapping[str, str]) -> float:
    """Milliseconds from before the process is made until its main begins."""
    before = time.monotonic_ns()
    done = subprocess.run([str(stamp)], env=os.environ | dict(environment), capture_output=True, check=True, timeout=60)
    return (int(done.stdout.split()[0]) - before) / 1e6


def engine_start(stamp: Path) -> tuple[float, float]:
    """Medians without and with the engine, over processes that take turns."""
    preload = ways.engine().environment
    pairs = [(until_main(stamp, {}), until_main(stamp, preload)) for _ in range(PROCESSES)]
    return statistics.median(pair[0] for pair in pairs), statistics.median(pair[1] for pair in pairs)


def whole_process(launch: Path, directory: Path) -> tuple[float, float]:
    """Medians of all that a process which does nothing takes, from fork to wait, without and with the engine."""
    output = directory / "cost"

    def once(*settings: str) -> float:
        subprocess.run([str(launch), str(output), *settings, "--", "/bin/true"], check=True, timeout=60)
        return int(output.read_text().split()[0]) / 1e6

    preload = f"LD_PRELOAD={ways.engine().environment['LD_PRELOAD']}"
    pairs = [(once(), once(preload)) for _ in range(PROCESSES)]
    return statistics.median(pair[0] for pair in pairs), statistics.median(pair[1] for pair in pairs)


def whole_speed(whole: Path) -> float:
    """Nodes a second of a check of the whole heap, the median."""
    settings = {"HEAPWITNESS_CHECK_SIGNAL": str(int(signal.SIGUSR2)), "KERNEL_PROCESSOR_TIME": "1"}
    words = [str(whole), str(LIVE), str(CHECKS), str(int(signal.SIGUSR2))]
    environment = os.environ | dict(ways.engine().environment) | settings
    done = subprocess.run(words, env=environment, capture_output=True, check=True, timeout=120)
    return 1e9 / float(done.stdout)


def pool_speeds(walk: Path) -> tuple[float, float, float]:
    """Nodes a second in one pool, medians of ways that take turns.

    Of the check; of a loop that only follows the sizes; and what reading a word of each cache line amounts to.
    """
    words = [str(walk), str(LIVE), str(WALKS)]
    environment = os.environ | {"KERNEL_PROCESSOR_TIME": "1"}
    done = subprocess.run(words, env=environment, capture_output=True, check=True, timeout=120)
    check, follow, lines = (1e9 / float(cost) for cost in done.stdout.split())
    return check, follow, lines


def main() -> int:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--into", type=Path, help="put the table into this page")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="heapwitness-starts-") as folder:
        work = Path(folder)
        stamp = kernels.compile_source("stamp", work)
        plain, engine = engine_start(stamp)
        process, with_engine = whole_process(kernels.compile_source("launch", work), work)
        speed = whole_speed(kernels.compile_source("whole", work))
        check, follow, lines_read = pool_speeds(kernels.compile_source("walk", work, core=True))
    lines = [
        "| | measured | aim |",
        "| --- | ---: | ---: |",
        f"| the engine, until main: {engine:.2f} ms, {plain:.2f} without | {engine - plain:.2f} ms | |",
        f"| the engine, a whole process: {with_engine:.2f} ms, {process:.2f} without "
        f"| {with_engine - process:.2f} ms | 0.1 ms |",
        f"| a check of the whole heap, {LIVE:,} live blocks | {speed / 1e6:.0f} million nodes/s | 50 million nodes/s |",
        f"| a check of one pool, by turns with the next two | {check / 1e6:.0f} million nodes/s | |",
        f"| following that pool's sizes alone, from node to node | {follow / 1e6:.0f} million nodes/s | |",
        f"| reading a word of each of that pool's cache lines | {lines_read / 1e6:.0f} million nodes/s | |",
    ]
    text = "\n".join([page.made_by(), *lines])
    print(text)
    if options.into:
        page.put(options.into, "starts", text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
