"""The campaign's results as a page: what was asked for, what came out, and why not all of it."""

import datetime
import importlib.metadata
import os
import platform
import shutil
import subprocess
import textwrap
from collections.abc import Sequence
from pathlib import Path

from results import ROOT
from tally import Row, Tally, confusion, misses, moments, outcome
from why import WORDS

TITLES = {
    "bare": "The core alone",
    "core": "The core with walker and diagnosis",
    "engine": "The engine in processes",
    "run": "heapwitness run",
}
LINEAR = (
    "overflow: a fill (memset)",
    "overflow: text (strcpy)",
    "overflow: words (structs, arrays)",
    "overflow of a big block",
)
_HEADERS = ("header or backup, one bit", "header or backup, 1 to 8 bytes", "header, whole", "backup, whole")
_DOUBLE = ("header and its backup",)
RUN = "run: "
"""What names of rows begin with that are of runs of small blocks; the others of the core alone are of pools."""
HEADERS = (*_HEADERS, *(RUN + name for name in _HEADERS))
DOUBLE = (*_DOUBLE, *(RUN + name for name in _DOUBLE))

_INTRODUCTION = """\
# The fault campaign

Random programs on the heap, one random damage or wrong release in each, and what came of it. What was done is known,
so that each report is held against the truth. Made by

    {command}

{about}

Four levels do the same damage:

* **The core alone** (`native/core`, in C): whether damage is detected, restored to the byte, and whether the heap can
  be used to its end. Overflows and underflows go through every length from 1 to 4096, and half of the runs through
  short ones. Rows that begin with *run:* are of runs of small blocks, the others of pools.
* **The core with walker and diagnosis**, in one process: which kind, which block, how far.
* **The engine in processes** of one to four threads: all but the names of symbols, with the supervisor's channel.
* **`heapwitness run --json`** as a user runs it, a process each.

About half of the runs look at the whole heap at once (*check*), as on a signal; the others go on using the damaged heap
until an operation meets the damage, at the latest the check at exit.
"""

_COLUMNS = """\
* *right kind*: one of those that the bytes allow. A wild write that begins exactly at a block's end looks like an
  overflow of it, one that leads up to a block's start like an underflow, and both are right then; see
  [diagnosis](diagnosis.md).
* *culprit named*: the block by address, size and, in processes, by the function that allocated it; not asked for wild
  writes.
* *extent*: *exact*, or said to be *at least* so long and it is, or longer by *look-alikes*, bytes that hold what the
  write would have put there; judged where the whole heap was looked at.
* *restored*: every byte that something vouches for is what it was. *nothing left*: runs whose damage destroyed both
  copies of a header, or all signs of poison, or the links of several free nodes of a run, which nothing could restore;
  they are not counted under *restored*, and the program goes on without those blocks, or with links made anew.
* *finished*: the program went on to its end; all blocks that were not written to held what they held.
* *several kinds*: in one long damage; *right* when one of them is.
"""


def page(tallies: dict[str, Tally], seeds: Sequence[int], command: str) -> str:
    """The whole page, as Markdown; `command` is what makes it."""
    lines = [_INTRODUCTION.format(command=command, about=_about(seeds)), "## Goals", "", _goals(tallies)]
    lines += ["In percent; each cell with the runs that it is of. Of the columns below:", "", _COLUMNS]
    for level, tally in tallies.items():
        if not tally.runs:
            continue
        lines += [f"## {TITLES[level]}: {tally.runs:,} runs", "", outcome(tally)]
        lines += ["What it was told as, in runs:", "", confusion(tally)]
        lines += ["When it was detected, in runs:", "", moments(tally)]
        lines += ["Every miss, in runs:", "", misses(tally)]
    classes = (f"* **{name}**: {' '.join(text.split())}" for name, text in WORDS.items())
    lines += ["## Classes of misses", "", *(textwrap.fill(one, 118, subsequent_indent="  ") for one in classes), ""]
    return "\n".join(lines)


def goals_are_met(tallies: dict[str, Tally]) -> bool:
    """Whether nothing single was missed and every header was restored, on all levels that have runs."""
    missed = 0
    for tally in tallies.values():
        single, headers = _single(tally), tally.total(HEADERS)
        missed += single.counts["runs"] - single.counts["detected"]
        missed += headers.counts["mended"] - headers.counts["repair yes"]
    return missed == 0


def _single(tally: Tally) -> Row:
    return tally.total(name for name in tally.rows if name not in DOUBLE)


def _goals(tallies: dict[str, Tally]) -> str:
    """A row for each thing asked for, a column for each level."""
    asked = (
        ("single damage and wrong releases detected, at the latest at exit", "100", _single, "detected", "runs"),
        ("headers and backups restored", "99.9", lambda tally: tally.total(HEADERS), "repair yes", "mended"),
        ("culprit named for linear overflows", "99", lambda tally: tally.total(LINEAR), "named", "asked"),
        ("told as the right kind", "", _single, "right", "diagnosed"),
        ("restored, where anything was left to restore it from", "", _single, "repair yes", "mended"),
        ("program finished", "", _single, "finished", "runs"),
    )
    levels = [level for level, tally in tallies.items() if tally.runs]
    lines = ["| | goal | " + " | ".join(TITLES[level] for level in levels) + " |", "|---|---:|" + "---:|" * len(levels)]
    for text, goal, rows, part, whole in asked:
        cells = []
        for level in levels:
            row = rows(tallies[level])
            cells.append(f"{row.share(part, whole)} of {row.counts[whole]:,}" if row.counts[whole] else "")
        lines.append(f"| {text} | {goal} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _about(seeds: Sequence[int]) -> str:
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in ("drgn", "msgspec"))
    revision = ""
    if shutil.which("git"):
        describe = ["git", "describe", "--always", "--dirty"]
        revision = subprocess.run(describe, cwd=ROOT, capture_output=True, text=True).stdout.strip()
    return textwrap.fill(
        f"on {datetime.date.today():%Y-%m-%d}, at {revision or 'an unknown revision'}, seeds "
        f"{seeds[0]} to {seeds[-1]}. {_processor()}, {os.cpu_count()} cores, Linux {platform.release()}, "
        f"{' '.join(platform.libc_ver())}, Python {platform.python_version()}, {versions}.",
        118,
    )


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.machine()
