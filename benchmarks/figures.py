"""Measures everything that docs/performance.md shows, and puts it there. About half an hour; on a machine that does
nothing else.

python benchmarks/figures.py
python benchmarks/figures.py --only stacks,starts
"""

import argparse
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
PAGE = "docs/performance.md"
PARTS = {
    "starts": ("starts.py",),
    "overhead": ("overhead.py",),
    "programs": ("run.py", "--kernels", "--against", "fast", "--svg", "docs/performance.svg"),
    "valgrind": ("run.py", "--quick", "--rounds", "1", "--kernels", "--against", "valgrind", "--part", "valgrind"),
    "growth": ("growth.py", "--svg", "docs/growth.svg"),
    "checks": ("checks.py",),
    "profile": ("hotspots.py",),
    "stacks": ("stacks.py",),
    "python": ("pythons.py",),
}


def main() -> int:
    """Run the commands one after the other, in the repository."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default=",".join(PARTS), help=f"of {','.join(PARTS)}")
    parser.add_argument(
        "--processor", action="store_true", help="the processor's time, not wall time, where that is told"
    )
    options = parser.parse_args()
    wanted = options.only.split(",")
    for name in wanted:
        if name not in PARTS:
            parser.error(f"--only {name}: must be of {', '.join(PARTS)}")
    for name in wanted:
        script, *words = PARTS[name]
        print(f"{name}: {script} {' '.join(words)}", flush=True)
        more = (
            ["--processor"] if options.processor and name not in ("starts", "overhead", "valgrind", "profile") else []
        )
        command = [sys.executable, f"benchmarks/{script}", *words, *more, "--into", PAGE]
        subprocess.run(command, cwd=HERE.parent, check=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
