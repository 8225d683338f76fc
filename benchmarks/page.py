"""Puts what was measured into a page between marks, and says by which command, when and on what machine.

The page has a pair of marks for each part, `<!-- NAME -->` and `<!-- end of NAME -->`; what is outside of them is
written by hand.
"""

import datetime
import os
import platform
import shlex
import sys
from pathlib import Path


def put(page: Path, name: str, text: str) -> None:
    """Replace what is between the marks of `name`.

    Raises:
        ValueError: the page has no such marks.
    """
    before, begin, rest = page.read_text().partition(f"<!-- {name} -->\n")
    _, end, after = rest.partition(f"<!-- end of {name} -->\n")
    if not begin or not end:
        raise ValueError(f"{page} has no place for {name}")
    page.write_text(f"{before}{begin}\n{text.strip()}\n\n{end}{after}")


def made_by() -> str:
    """The date, the machine and the command, for above a table."""
    processor = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line.split(":", 1)[1].strip() for line in processor if line.startswith("model name")), "unknown")
    command = shlex.join(["python", f"benchmarks/{Path(sys.argv[0]).name}", *sys.argv[1:]])
    return (
        f"{datetime.date.today():%Y-%m-%d}, {os.cpu_count()} cores of {model}, Linux {platform.release()}, "
        f"{' '.join(platform.libc_ver())}, Python {platform.python_version()}; `{command}`\n"
    )
