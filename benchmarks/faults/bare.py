"""Runs on the core alone, in C: what is detected and restored, without a diagnosis. See bare/main.c."""

import subprocess
from collections import Counter
from pathlib import Path

from tally import Row, Tally
from why import POISON, UNEXPLAINED

_HERE = Path(__file__).parent
_CORE = _HERE.parents[1] / "native" / "core"


def build(directory: Path) -> Path:
    """The program, compiled with the core."""
    program = directory / "bare"
    sources = (*sorted(_CORE.glob("*.c")), *sorted((_HERE / "bare").glob("*.c")))
    subprocess.run(["gcc", "-std=gnu11", "-O2", "-g", f"-I{_CORE}", *sources, "-o", program], check=True)
    return program


def tally(program: Path, seed: int, first: int, count: int) -> Tally:
    """Runs `first` to before `first + count`, counted."""
    done = subprocess.run([program, str(seed), str(first), str(count)], capture_output=True, text=True, check=True)
    found = Tally()
    for line in sorted(done.stdout.splitlines(), key=lambda line: line.startswith("miss")):
        what, name, label, number = line.split("\t")
        row = found.rows.setdefault(name, Row(Counter(), {}))
        if what == "count":
            row.counts[label] = int(number)
        else:
            row.misses.setdefault(label, []).append(f"{seed}:{number}:")
    for row in found.rows.values():
        row.misses = {_case(row, label): runs for label, runs in row.misses.items()}
    return found


def _case(row: Row, label: str) -> str:
    """Counts a miss of a row as of its class."""
    in_doubt = label == "poison in doubt"
    case = f"not restored: {POISON}" if in_doubt else f"{label}: {UNEXPLAINED}"
    row.counts[f"why {case}"] = row.counts[label]
    if in_doubt:
        row.counts["not restored"] += row.counts.pop(label)
    return case
