"""The core and host parts, under their own functions, are free of races and of what ASan and UBSan see."""

import os
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path

import pytest

NATIVE = Path(__file__).parents[2] / "native"
SUPPRESSIONS = NATIVE / "host" / "tests" / "thread.supp"

# The space between these is the program's under ThreadSanitizer; the rest is its own.
_PLACE = ("-DHW_SPACE_LOW=((uintptr_t)0x7e8<<36)", "-DHW_SPACE=((uintptr_t)1<<40)")
_WRAPPED = "-Wl,--wrap=hw_call,--wrap=hw_map,--wrap=hw_unmap"
THREAD = ("-fsanitize=thread", "-Wno-tsan", _WRAPPED, *_PLACE)
ADDRESS = ("-fsanitize=address,undefined", "-fno-sanitize-recover=undefined")
EVEN = ("-DHW_EVEN_FENCES",)
# So that many of the large blocks are too large for a pool.
HUGE = (*ADDRESS, "-DHW_MOST_IN_POOL=((size_t)650000)")

# Each seed is another order of events; a few are tried always.
SEEDS = [1, 2, *(pytest.param(seed, marks=pytest.mark.long) for seed in range(3, 43))]

pytestmark = pytest.mark.skipif(
    not NATIVE.is_dir() or shutil.which("gcc") is None, reason="needs gcc and the sources of the engine"
)


@cache
def built(*options: str) -> Path:
    """The stress test with these options of the compiler; skips where that cannot make it."""
    directory = Path(tempfile.mkdtemp(prefix="heapwitness-stress-"))
    sources = [*NATIVE.glob("core/*.c"), *NATIVE.glob("host/*.c"), NATIVE / "host" / "tests" / "stress.c"]
    command = ["gcc", "-std=c11", "-O1", "-g", "-fno-omit-frame-pointer", "-DHW_FIXED_GRANULE_LOG2=4"]
    command += ["-I", NATIVE / "core", "-I", NATIVE / "host", *options, *sources, "-o", directory / "stress"]
    done = subprocess.run([*command, "-pthread", "-ldl"], capture_output=True, text=True, check=False, timeout=200)
    if "cannot find" in done.stderr:
        pytest.skip("this sanitizer is not installed")
    assert done.returncode == 0, done.stderr
    return directory / "stress"


def run(program: Path, *words: object, log: Path) -> None:
    """Run the stress test; a broken promise, a report of a sanitizer or a hang fails."""
    done = subprocess.run(
        [program, *map(str, words)],
        capture_output=True,
        text=True,
        errors="replace",
        timeout=120,
        check=False,
        env=os.environ
        | {
            "TSAN_OPTIONS": f"history_size=7 suppressions={SUPPRESSIONS}",
            "HEAPWITNESS_LOG": str(log),
        },
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stderr[:4000]


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("options", [THREAD, ADDRESS, EVEN, HUGE], ids=["thread", "address", "even fences", "huge"])
def test_threads_share_blocks_without_a_race_or_a_finding(options: tuple[str, ...], seed: int, tmp_path: Path) -> None:
    steps = 3000 if options == THREAD else 6000
    run(built(*options), seed, 4, steps, log=tmp_path / "log")


@pytest.mark.parametrize("seed", SEEDS[1:])
@pytest.mark.parametrize("options", [THREAD, ADDRESS, EVEN], ids=["thread", "address", "even fences"])
def test_damage_in_many_threads_at_once_is_found_without_a_race(
    options: tuple[str, ...], seed: int, tmp_path: Path
) -> None:
    run(built(*options), seed, 4, 500, "damage", log=tmp_path / "log")
