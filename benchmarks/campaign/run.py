"""Runs programs that people use without and with the heap, and compares: the campaign.

    python benchmarks/campaign/run.py                      all; hours
    python benchmarks/campaign/run.py --only server/       those whose name contains a text
    python benchmarks/campaign/run.py --without cpython/   those whose name does not
    python benchmarks/campaign/run.py --table              only print what is known

A result is kept in the state directory as soon as it is there; started again, the campaign goes on where it was. With
--again results of the given verdicts are made anew.
"""

import argparse
import datetime
import json
import platform
import shutil
import sys
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path

import cpython
import suites
import tools
from task import Result, Task, carry_out

PACKAGES = (
    "sqlite3 postgresql gcc g++ binutils git redis-server redis-tools nginx apache2-utils perl tcl tcl-dev nodejs "
    "default-jdk-headless gdb imagemagick ffmpeg chromium make zlib1g-dev dpkg-dev"
)
# The end of the page, about what is run by another program.
PUBLIC_REPORTS = """
## Public reports

Programs in which people reported a fault run under heapwitness, and what it says is compared with what is right:

```sh
python benchmarks/public_reports/run.py --inputs DIR --cache DIR
```

`--inputs` names the folder of the programs; `--cache` one outside of /tmp in which the releases with the faults (scipy,
pandas and numba, from PyPI) and the compiled programs are made the first time and kept. It needs gcc, and golang-go and
bubblewrap of Debian, which root has installed for it; Python 3.6 and 3.9 beside 3.11 or newer, from PATH or as pyenv
has them (`--pythons`); and 5 GiB of memory. `--only TEXT` takes the rows whose name contains a text, and `--show`
prints the reports that are wrong. It ends with a table: row, command, expected, found, ok. A row that cannot be run
says why, and is not ok. What is right is data, `benchmarks/public_reports/rows.toml`, explained in `judge.py` beside
it.
"""
STATE = Path(__file__).parents[2] / "build" / "campaign"


def main() -> int:
    options = _options()
    options.state.mkdir(parents=True, exist_ok=True)
    log = options.state / "results.jsonl"
    done = _load(log)
    if not options.table:
        again = set(filter(None, options.again.split(",")))
        for task in _tasks(options.only, options.without):
            known = done.get(task.key)
            if known is not None and known.verdict not in again:
                continue
            result = _carry_out(task, options.state)
            done[task.key] = result
            with log.open("a") as out:
                out.write(json.dumps(asdict(result)) + "\n")
            print(f"{result.verdict:10} {result.seconds_with:7.1f} s  {task.key}  {result.remark}", flush=True)
    table = markdown((result for result in done.values() if options.only in result.key), options.note)
    print(table)
    if options.markdown:
        options.markdown.write_text(table)
    return 1 if any(result.verdict in ("differs", "finding", "hangs") for result in done.values()) else 0


def markdown(results: Iterable[Result], note: str = "") -> str:
    """A table of the groups, and one of everything that was not the same."""
    known = sorted(results, key=lambda result: result.key)
    verdicts = ("same", "both fail", "differs", "finding", "hangs", "skipped")
    groups: dict[str, Counter[str]] = {}
    operations: Counter[str] = Counter()
    for result in known:
        group = result.key.split("/")[0]
        groups.setdefault(group, Counter())[result.verdict] += 1
        operations[group] += result.operations
    lines = [
        "# Programs that people use, without and with the heap",
        "",
        "Made by `python benchmarks/campaign/run.py --markdown docs/campaign.md`. Each program runs twice and is",
        "compared by exit status, output and the tests that fail. *Both fail*: it fails in the same way with the",
        "heap and without; mostly what it needs is missing here.",
        "",
        "What is not installed is skipped. On Debian 12 it is all there after",
        "",
        "```sh",
        f"apt-get install {PACKAGES}",
        "```",
        "",
        "numpy, scipy and pandas come from PyPI into a directory of the campaign's own, and the tests of sqlite3, perl",
        "and tcl from the source packages of Debian.",
        "",
        f"{datetime.date.today():%Y-%m-%d}, Linux {platform.release()}, {' '.join(platform.libc_ver())}, "
        f"Python {platform.python_version()}",
        "",
        *([note, ""] if note else []),
        f"| group | {' | '.join(verdicts)} | operations checked |",
        f"| --- | {' | '.join('---:' for _ in verdicts)} | ---: |",
    ]
    for group, count in sorted(groups.items()):
        lines.append(f"| {group} | {' | '.join(str(count[v]) for v in verdicts)} | {operations[group]:,} |")
    lines += ["", "| program | verdict | remark |", "| --- | --- | --- |"]
    for result in known:
        if result.verdict != "same" or result.remark:
            remark = result.remark.replace("|", "\\|").replace(sys.base_prefix, "PREFIX")
            lines.append(f"| {result.key} | {result.verdict} | {remark} |")
    return "\n".join(lines) + "\n" + PUBLIC_REPORTS


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", metavar="TEXT", help="tasks whose name contains it")
    parser.add_argument("--without", default="", metavar="TEXT", help="no task whose name contains it")
    parser.add_argument("--again", default="", metavar="VERDICTS", help="comma separated, e.g. differs,hangs")
    parser.add_argument("--table", action="store_true", help="run nothing")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the table to a file")
    parser.add_argument("--note", default="", metavar="TEXT", help="a paragraph for above the table")
    parser.add_argument("--state", type=Path, default=STATE, metavar="DIR", help="where results are kept")
    return parser.parse_args()


def _tasks(only: str, without: str) -> list[Task]:
    return [
        task
        for task in (*tools.tasks(), *suites.tasks(), *cpython.tasks())
        if only in task.key and not (without and without in task.key)
    ]


def _load(log: Path) -> dict[str, Result]:
    if not log.exists():
        return {}
    results = [Result(**json.loads(line)) for line in log.read_text().splitlines()]
    return {result.key: result for result in results}


def _carry_out(task: Task, state: Path) -> Result:
    work = state / "work"
    try:
        return carry_out(task, work)
    finally:
        shutil.rmtree(work, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
