"""`python tests/measure_coverage.py DIRECTORY`: which lines of Python and C the quick tests run, and if that is enough.

Python: by the tests of units and laws, which run here and nowhere else in CI. C: the core and the host parts, by their
stress tests. Writes pages into DIRECTORY/report, and ends with status 1 below a floor or when a test fails.
"""

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).parents[1]
NATIVE = ROOT / "native"
# Percent of lines. They rise with the tests, and never fall.
PYTHON_FLOOR, C_FLOOR = 75, 45
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


def main(directory: Path, tests: Sequence[str]) -> int:
    """0: all tests pass, and enough is run."""
    report = directory / "report"
    report.mkdir(parents=True, exist_ok=True)
    return max(_python(report, tests), _c(directory.resolve(), report))


def _python(report: Path, tests: Sequence[str]) -> int:
    coverage = [sys.executable, "-m", "coverage"]
    failed = _status(*coverage, "run", "-m", "pytest", *tests)
    _status(*coverage, "combine", "--quiet")
    _status(*coverage, "html", "--quiet", "--directory", report / "python")
    return failed or _status(*coverage, "report", f"--fail-under={PYTHON_FLOOR}", "--format=total")


def _c(directory: Path, report: Path) -> int:
    core, host = sorted(NATIVE.glob("core/*.c")), sorted(NATIVE.glob("host/*/*.c"))
    portable = _program(directory / "core", [*core, NATIVE / "tests/core/stress.c"])
    engine = _program(directory / "host", [*core, *host, NATIVE / "tests/host/stress.c"], "-DHW_FIXED_GRANULE_LOG2=4")
    runs = [(portable, "20240611", "400"), (engine, "1", "4", "2000"), (engine, "2", "4", "300", "damage")]
    failed = max(_status(*words, HEAPWITNESS_LOG=str(directory / "records.log")) for words in runs)
    page = report / "c.html"
    filters = [f"--filter={NATIVE / part}/" for part in ("core", "host")]
    floor = f"--fail-under-line={C_FLOOR}"
    # Threads count at the same time, and gcov subtracts.
    lenient = "--gcov-ignore-parse-errors=negative_hits.warn_once_per_file"
    gcovr = [sys.executable, "-m", "gcovr", "--root", ROOT, *filters, "--html", page, "--txt-summary", floor, lenient]
    return failed or _status(*gcovr, directory / "core", directory / "host")


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
    sys.exit(main(Path(sys.argv[1]), sys.argv[2:]))
