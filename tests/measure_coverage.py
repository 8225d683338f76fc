"""`python tests/measure_coverage.py DIRECTORY`: which lines of C the stress tests run, and if that is enough.

Of the core and the host parts; what faults, signals and endings need is run by the system tests, which are not counted.
Writes a page into DIRECTORY/report, and ends with status 1 below the floor or when a test fails.
"""

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).parents[1]
NATIVE = ROOT / "native"
# Percent of lines. It rises with the tests, and never falls.
FLOOR = 54
_FLAGS = (
    "--coverage",
    "-fprofile-update=atomic",
    "-O1",
    "-g",
    "-std=gnu11",
    "-DHW_STRETCH=64",
    "-I",
    NATIVE / "core",
    "-I",
    NATIVE / "host",
)


def main(directory: Path) -> int:
    """0: the tests pass, and enough is run."""
    report = directory / "report"
    report.mkdir(parents=True, exist_ok=True)
    core, host = sorted(NATIVE.glob("core/*.c")), sorted(NATIVE.glob("host/*/*.c"))
    portable = _program(directory / "core", [*core, NATIVE / "tests/core/stress.c"])
    runs_alone = _program(directory / "runs", [*core, NATIVE / "tests/core/runs.c"])
    engine = _program(directory / "host", [*core, *host, NATIVE / "tests/host/stress.c"], "-DHW_FIXED_GRANULE_LOG2=4")
    log = {"HEAPWITNESS_LOG": str(directory / "records.log")}
    runs: list[tuple[tuple[str | Path, ...], dict[str, str]]] = [
        ((portable, "20240611", "400"), {}),
        ((runs_alone, "20240611", "400"), {}),
        ((engine, "1", "4", "2000"), {}),
        ((engine, "2", "4", "300", "damage"), {}),
        ((engine, "3", "4", "300"), {"HEAPWITNESS_TRAP_SAMPLE": "20", "HEAPWITNESS_STACKS": "full"}),
        ((engine, "4", "4", "300"), {"HEAPWITNESS_POISON": "1", "HEAPWITNESS_CHECK_EVERY": "50"}),
    ]
    failed = max(_status(*words, **log, **variables) for words, variables in runs)
    page = report / "c.html"
    filters = [f"--filter={NATIVE / part}/" for part in ("core", "host")]
    floor = f"--fail-under-line={FLOOR}"
    # Threads count at the same time, and gcov subtracts.
    lenient = "--gcov-ignore-parse-errors=negative_hits.warn_once_per_file"
    gcovr = [sys.executable, "-m", "gcovr", "--root", ROOT, *filters, "--html", page, "--txt-summary", floor, lenient]
    return failed or _status(*gcovr, directory / "core", directory / "runs", directory / "host")


def _program(directory: Path, sources: Sequence[Path], *flags: str) -> Path:
    """Compiled one by one: two files of the same name would share their counts."""
    directory.mkdir(exist_ok=True)
    objects = []
    for source in sources:
        unit = directory / ("-".join(source.relative_to(NATIVE).parts) + ".o")
        unit.with_suffix(".gcda").unlink(missing_ok=True)
        subprocess.run(["gcc", *_FLAGS, *flags, "-c", source, "-o", unit], check=True)
        objects.append(unit)
    program = directory / "stress"
    subprocess.run(["gcc", "--coverage", *objects, "-o", program, "-pthread", "-ldl"], check=True)
    return program


def _status(*command: str | Path, **variables: str) -> int:
    done = subprocess.run([*map(str, command)], cwd=ROOT, env=os.environ | variables, check=False)
    return int(done.returncode != 0)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]).resolve()))
