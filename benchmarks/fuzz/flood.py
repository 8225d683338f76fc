"""Floods a supervisor from inside of its program, and says what that cost: time, memory, disk, and what was dropped.

    python benchmarks/fuzz/flood.py --seconds 10 [--only garbage]

The exit status is 1 when the program's own bug was not told, or a bound did not hold.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

SOURCE = Path(__file__).with_name("flood.c")
ATTACKS = ("findings", "frames", "commands", "garbage", "silence", "forks", "releases")
MEGABYTE = 1 << 20
MEMORY_LIMIT, REPORT_LIMIT = 1024, 32
"""Megabytes that a supervisor may take, and its report."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a flood.

    Attributes:
        times: how often the attack was carried out.
        waited: milliseconds that the release of the overrun block took.
        told: the overrun of 24 bytes is in the report.
        findings, dropped: of the report's summary, dropped ones counted in both.
        senseless: messages that were no events.
        memory, report, text: megabytes of the supervisor at its peak, of its JSON, and of what it wrote to stderr.
        commands: a name reached the text as a command to the terminal.
        seconds: from start to end.
        status: of heapwitness.
    """

    times: int
    waited: int
    told: bool
    findings: int
    dropped: int
    senseless: int
    memory: float
    report: float
    text: float
    commands: bool
    seconds: float
    status: int


def build(directory: Path) -> Path:
    """The program, compiled."""
    program = directory / "flood"
    subprocess.run(["gcc", "-O1", "-w", "-g", "-fno-builtin", "-o", program, SOURCE], check=True)
    return program


def flood(program: Path, attack: str, seconds: int) -> Outcome:
    """One run of the program under `heapwitness run`."""
    with tempfile.TemporaryDirectory() as directory:
        report, out, err = (Path(directory) / name for name in ("report.json", "out", "err"))
        command = [sys.executable, "-m", "heapwitness", "run", "--json", report, "--", program, attack, str(seconds)]
        started = time.monotonic()
        with out.open("wb") as stdout, err.open("wb") as stderr:
            process = subprocess.Popen(command, stdout=stdout, stderr=stderr)
            _, status, used = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
        took = time.monotonic() - started
        text = err.read_text()
        waited, times = map(int, out.read_text().split())
        found = json.loads(report.read_text())
        sizes = [file.stat().st_size / MEGABYTE for file in (report, err)]
    culprits = [one["culprit"]["size"] for one in found["findings"] if one["culprit"]]
    return Outcome(
        times=times,
        waited=waited,
        told=24 in culprits and "heap-buffer-overflow" in [one["kind"] for one in found["findings"]],
        findings=found["summary"]["findings"],
        dropped=found["summary"]["dropped"],
        senseless=_number(text, "messages came that no engine sends"),
        memory=used.ru_maxrss / 1024,
        report=sizes[0],
        text=sizes[1],
        commands="\033" in text or "\a" in text,
        seconds=took,
        status=process.returncode,
    )


def _number(text: str, sentence: str) -> int:
    """The number at the start of a sentence of heapwitness's own; 0 when it was not said."""
    for line in text.splitlines():
        if sentence in line:
            return int(line.removeprefix("heapwitness: ").split()[0])
    return 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, default=10, help="for each attack")
    parser.add_argument("--only", choices=ATTACKS, help="this attack")
    options = parser.parse_args()
    titles = ("attack", "times", "a second", "findings", "of these dropped", "not understood", "the bug")
    print("| " + " | ".join((*titles, "its release, ms", "memory, MB", "report, MB", "s")) + " |")
    print("|---" + "|---:" * 10 + "|")
    broken = False
    with tempfile.TemporaryDirectory() as directory:
        program = build(Path(directory))
        for attack in ATTACKS if options.only is None else (options.only,):
            one = flood(program, attack, options.seconds)
            print(
                f"| {attack} | {one.times:,} | {one.times // options.seconds:,} | {one.findings:,} | {one.dropped:,} | "
                f"{one.senseless:,} | {'told' if one.told else 'only counted'} | {one.waited:,} | {one.memory:.0f} | "
                f"{one.report:.1f} | {one.seconds:.1f} |",
                flush=True,
            )
            broken |= one.memory > MEMORY_LIMIT or one.report + one.text > REPORT_LIMIT
            broken |= not one.told and attack not in ("forks", "releases")
    return int(broken)


if __name__ == "__main__":
    sys.exit(main())
