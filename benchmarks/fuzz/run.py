"""Attacks everything that reads what a program can forge, for a while, and says what broke.

    python benchmarks/fuzz/run.py --seconds 60 [--only forged]

The core runs under ASan and UBSan on pools whose maker knows the key (forged.c) and under random damage (stress.c of
the core's tests); what Python reads runs under atheris, if that is installed (inputs.py, files.py). The exit status is
1 when anything broke.
"""

import argparse
import importlib.util
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import seeds

HERE = Path(__file__).parent
NATIVE = HERE.parents[1] / "native"
CORE = NATIVE / "core"
SANITIZED = ("-std=gnu11", "-O2", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")
BUILDS = {"any granule": (), "fixed granule": ("-DHW_FIXED_GRANULE_LOG2=4",), "32 bits": ("-m32",)}
PYTHON = (
    ("inputs", ("events", "records", "pools", "runs"), 2048),
    ("files", ("maps", "elf", "links", "configs", "images"), 1024),
)
"""Scripts, what each can attack, and the MiB that it may need."""
_SLACK = 600


@dataclass(frozen=True, slots=True)
class Attack:
    """A program that ends with status 0 when nothing broke."""

    name: str
    command: tuple[str, ...]


def main() -> int:
    options = _options()
    broken = 0
    with tempfile.TemporaryDirectory() as directory:
        for attack in _attacks(Path(directory), options.seconds, options.only):
            done = subprocess.run(attack.command, capture_output=True, text=True, timeout=options.seconds + _SLACK)
            tail = " / ".join((done.stdout + done.stderr).strip().splitlines()[-2:])[-200:]
            print(f"{'ok' if done.returncode == 0 else 'BROKEN':8}{attack.name}: {tail}", flush=True)
            if done.returncode:
                broken += 1
                print(done.stderr[-4000:])
    return 1 if broken else 0


def _attacks(directory: Path, seconds: int, only: str) -> Iterator[Attack]:
    """Those whose name contains `only`, each made when its turn comes."""
    seed = str(int(time.time()))
    for build, flags in BUILDS.items():
        for source, arguments in (
            (HERE / "forged.c", (seed, str(seconds))),
            (HERE / "forged_run.c", (seed, str(seconds))),
            (NATIVE / "tests" / "core" / "stress.c", (seed, str(40 * seconds))),
        ):
            name = f"{source.stem}, {build}"
            if only not in name:
                continue
            program = directory / f"{source.stem}-{build.replace(' ', '-')}"
            sources = (*sorted(CORE.glob("*.c")), source)
            compiled = subprocess.run(
                ["gcc", *SANITIZED, *flags, f"-I{CORE}", *map(str, sources), "-o", str(program)], capture_output=True
            )
            if compiled.returncode == 0:
                yield Attack(name, (str(program), *arguments))
            else:
                print(f"skipped {name}: it cannot be compiled here")
    if importlib.util.find_spec("atheris") is None:
        print("skipped inputs: atheris is not installed")
        return
    for script, targets, megabytes in PYTHON:
        for target in targets:
            name = f"{script}, {target}"
            if only in name:
                yield Attack(name, _guided(directory, script, target, seconds, megabytes))


def _guided(directory: Path, script: str, target: str, seconds: int, megabytes: int) -> tuple[str, ...]:
    """The command of a fuzzer that is guided by coverage, with seeds of its own.

    Its timeout is of the clock, on machines that do much else; the scripts bound what an input takes of the processor.
    """
    corpus = directory / target
    corpus.mkdir()
    seeds.write(target, corpus)
    limits = [f"-max_total_time={seconds}", "-timeout=60", f"-rss_limit_mb={megabytes}"]
    if target == "pools":
        limits.append(f"-max_len={seeds.SIZE + 16}")
    return (
        sys.executable,
        str(HERE / f"{script}.py"),
        target,
        *limits,
        f"-artifact_prefix={directory}/",
        str(corpus),
    )


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, default=60, help="for each attack")
    parser.add_argument("--only", default="", metavar="TEXT", help="attacks whose name contains it")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
