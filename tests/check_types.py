"""`python tests/check_types.py`: mypy on tests and benchmarks, folder by folder, as modules share names."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
TESTS = ("tests", "tests/unit", "tests/property", "tests/system")
BENCHMARKS = ("benchmarks", "benchmarks/public_reports")
# Each folder, and where its modules import from.
FOLDERS = {
    "tests/unit": (*TESTS, *BENCHMARKS),
    "tests/property": ("tests", "tests/property"),
    "tests/system": TESTS,
    "benchmarks": ("benchmarks",),
    "benchmarks/faults": ("benchmarks/faults",),
    "benchmarks/campaign": ("benchmarks/campaign",),
    "benchmarks/fuzz": ("benchmarks/fuzz",),
    "benchmarks/public_reports": ("benchmarks/public_reports",),
}


def main() -> int:
    """The number of folders that do not pass."""
    failed = 0
    for folder, places in FOLDERS.items():
        files = [str(file) for file in sorted((ROOT / folder).glob("*.py"))] if "benchmarks" in folder else [folder]
        done = subprocess.run(
            [sys.executable, "-m", "mypy", "--config-file", "tests/mypy.ini", "--no-error-summary", *files],
            cwd=ROOT,
            env=os.environ | {"MYPYPATH": os.pathsep.join(("src", *places))},
            check=False,
        )
        failed += done.returncode != 0
    return failed


if __name__ == "__main__":
    sys.exit(main())
