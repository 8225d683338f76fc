"""Where programs spend their time under the engine, and what of it is the heap's: a profile by perf (linux-perf).

python benchmarks/hotspots.py                                a table
python benchmarks/hotspots.py --into docs/performance.md

The rest of a difference to glibc is the program's own: its loads and stores reach lines that the larger blocks, or the
engine's reading of neighbours, have pushed out of the caches.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

import columns as ways
import page
import suite
import tools
from measure import Column, Row

PROGRAMS = ("sqlite3", "gcc", "perl", "python", "jq", "c++", "c++8")
SHOWN = 3
# glibc's own allocator, by the names of its functions.
GLIBC = re.compile(r"malloc|calloc|realloc|cfree|_int_free|unlink_chunk|tcache|sysmalloc|systrim|\bfree\b|mremap_chunk")


def profile(row: Row, column: Column, into: Path) -> Counter[tuple[str, str]]:
    """Samples of a run by library and function."""
    data = into / "perf.data"
    record = ["perf", "record", "-q", "-F", "4000", "-e", "cpu-clock:u", "-o", str(data), "--", *row.command]
    environment = os.environ | dict(row.environment) | dict(column.environment)
    subprocess.run(record, env=environment, cwd=row.directory, capture_output=True, check=True, timeout=120)
    report = ["perf", "report", "-i", str(data), "--stdio", "-q", "--sort", "dso,symbol", "-F", "sample,dso,symbol"]
    done = subprocess.run(report, capture_output=True, text=True, check=True, timeout=120)
    samples: Counter[tuple[str, str]] = Counter()
    for line in done.stdout.splitlines():
        found = re.match(r"\s*(\d+)\s+(\S+)\s+\[.\]\s+(.*\S)", line)
        if found:
            name = re.split(r"\s{2}|\.", found[3])[0]
            samples[found[2], name] += int(found[1])
    return samples


def line(row: Row, into: Path) -> str:
    """A row of the table."""
    base = profile(row, ways.glibc(), into)
    ours = profile(row, ways.engine(), into)
    theirs = sum(count for (library, name), count in base.items() if library.startswith("libc.") and GLIBC.search(name))
    engine = {name: count for (library, name), count in ours.items() if "heapwitness" in library}
    total = sum(base.values())
    rest = sum(ours.values()) - sum(engine.values()) - (total - theirs)
    most = ", ".join(f"{name} {count / total:.1%}" for name, count in Counter(engine).most_common(SHOWN))
    return f"| {row.name} | {theirs / total:.1%} | {sum(engine.values()) / total:.1%} | {rest / total:+.1%} | {most} |"


def main() -> int:
    """Profile, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--into", type=Path, help="put the table into this page")
    options = parser.parse_args()
    if shutil.which("perf") is None:
        print("perf is not installed (linux-perf)", file=sys.stderr)
        return 2
    lines = [
        "Of the program's user time with glibc:",
        "",
        "| | glibc's malloc | the engine | the program's own part | most of it, in the engine |",
        "| --- | ---: | ---: | ---: | --- |",
    ]
    with tempfile.TemporaryDirectory(prefix="heapwitness-profile-") as folder:
        for name in PROGRAMS:
            work = Path(folder) / name
            work.mkdir()
            try:
                lines.append(line(suite.PROGRAMS[name](work, 4), work))
            except tools.Missing as error:
                print(f"{name} is left out: {error}", file=sys.stderr)
    text = "\n".join([page.made_by(), *lines])
    print(text)
    if options.into:
        page.put(options.into, "profile", text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
