"""How long it takes to the line of a wrong store: `heapwitness hunt`, an AddressSanitizer build, Valgrind, and gdb.

python benchmarks/stores.py                    a table
python benchmarks/stores.py --into docs/hunt.md

Each program of `tests/system/programs/stores.c` does one wrong store on a marked line. A tool has found it when the
stack that it tells first goes through that line, or through the head of its loop, one line before. The tools take
turns, program by program. Times are of everything that a user waits for: for the sanitizer the build as well, for the
hunt all its runs.

gdb is told what a user would have to know: which call of `make` gives the block, and which byte is overwritten. It
watches that byte by the processor, and stops behind a store: the line after counts, too. It has found the store when
that is where it stops first, second or third.
"""

import argparse
import json
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import page

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "tests" / "system" / "programs" / "stores.c"
FLAGS = ("-g", "-O1", "-w", "-fno-builtin", "-fno-optimize-sibling-calls", "-pthread")
CASE = re.compile(r'^    \{"(\w+)", \w+\},$', re.MULTILINE)
NOT_FOUND = "no"
WATCHED = {
    "negative": -4,
    "off_by_one": 96,
    "struct_past_end": 576,
    "flexible": 200,
    "after_free_at_start": 0,
    "after_free_inside": 17,
    "stale": 0,
    "slack": 25,
    "jump": 32,
    "header": -8,
}
"""Offset of the overwritten byte in the block, where it is not 24."""
SECOND = ("header",)
"""Whose block is that of the second call of `make`."""
STOPS = 3


def line_of(name: str) -> int:
    return next(
        number for number, line in enumerate(SOURCE.read_text().splitlines(), 1) if line.endswith(f"/* {name} */")
    )


def build(into: Path, *flags: str) -> Path:
    program = into / f"program{len(flags)}"
    subprocess.run(["gcc", *FLAGS, *flags, "-o", program, SOURCE], check=True)
    return program


def hunt(program: Path, name: str, into: Path) -> tuple[bool, int]:
    """Whether the line was told, and after how many runs."""
    report = into / "report.json"
    command = [sys.executable, "-m", "heapwitness", "hunt", "--json", report, "--", program, name]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    stores = [one["store"] for one in json.loads(report.read_text())["findings"] if one["store"]]
    lines = {
        next((frame["line"] for frame in store["stack"] if frame["file"] and frame["file"].endswith(SOURCE.name)), None)
        for store in stores
    }
    return line_of(name) in lines, done.stderr.count("heapwitness: try ")


def tells(text: str, name: str) -> bool:
    """Whether the first frame in the source that a tool tells is the marked line, or the head of its loop."""
    found = re.search(rf"{re.escape(SOURCE.name)}:(\d+)", text)
    return found is not None and int(found[1]) in (line_of(name) - 1, line_of(name))


def sanitizer(into: Path, name: str) -> bool:
    program = build(into, "-fsanitize=address")
    done = subprocess.run([program, name], capture_output=True, text=True, check=False)
    return tells(done.stderr, name)


def valgrind(program: Path, name: str) -> bool:
    command = ["valgrind", "--quiet", "--leak-check=no", program, name]
    return tells(subprocess.run(command, capture_output=True, text=True, check=False).stderr, name)


def gdb(program: Path, name: str) -> bool:
    calls = ["-ex", "break make", "-ex", f"ignore 1 {int(name in SECOND)}", "-ex", f"run {name}", "-ex", "finish"]
    watch = ["-ex", "set $block = (char *)$rax", "-ex", f"watch *($block + {WATCHED.get(name, 24)})"]
    stops = ["-ex", "continue", "-ex", "echo STOP\\n", "-ex", "bt 12"] * STOPS
    usual = ["-ex", "set confirm off", "-ex", "set follow-fork-mode child", "-ex", "set width 0"]
    command = ["gdb", "-q", "-batch", "-nx", *usual, *calls, *watch, *stops, str(program)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    lines = [re.search(rf"{re.escape(SOURCE.name)}:(\d+)", stop) for stop in done.stdout.split("STOP")[1:]]
    return any(one is not None and abs(int(one[1]) - line_of(name)) <= 1 for one in lines)


def timed(find: Callable[[], bool]) -> str:
    started = time.perf_counter()
    found = find()
    return cell(found, time.perf_counter() - started)


def cell(found: bool, seconds: float, more: str = "") -> str:
    return f"{seconds:.1f} s{more}" if found else NOT_FOUND


def row(name: str, program: Path, into: Path) -> list[str]:
    started = time.perf_counter()
    caught, runs = hunt(program, name, into)
    hunted = time.perf_counter() - started
    return [
        f"`{name}`",
        cell(caught, hunted, f", {runs} run{'' if runs == 1 else 's'}"),
        timed(lambda: sanitizer(into, name)),
        timed(lambda: valgrind(program, name)) if shutil.which("valgrind") else NOT_FOUND,
        timed(lambda: gdb(program, name)) if shutil.which("gdb") else NOT_FOUND,
    ]


def table() -> list[str]:
    names = CASE.findall(SOURCE.read_text())
    with tempfile.TemporaryDirectory() as directory:
        into = Path(directory)
        program = build(into)
        rows = [row(name, program, into) for name in names]
    heading = ["store", "hunt", "AddressSanitizer, with its build", "Valgrind", "gdb by hand"]
    told = [str(sum(one[column] != NOT_FOUND for one in rows)) for column in range(1, len(heading))]
    rows.append([f"lines told, of {len(rows)}", *told])
    return [
        f"| {' | '.join(heading)} |",
        f"|{'---|' * len(heading)}",
        *(f"| {' | '.join(one)} |" for one in rows),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--into", type=Path, help="put the table between the marks of this page")
    arguments = parser.parse_args()
    lines = table()
    print("\n".join(lines))
    if arguments.into:
        page.put(arguments.into, "stores", "\n".join((page.made_by(), *lines)))


if __name__ == "__main__":
    main()
