"""The core and host parts, under their own functions, are free of races and of what ASan and UBSan see."""

import os
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path

import pytest

NATIVE = Path(__file__).parents[2] / "native"
SUPPRESSIONS = NATIVE / "tests" / "host" / "thread.supp"

# The space between these is the program's under ThreadSanitizer; the rest is its own.
_PLACE = ("-DHW_SPACE_LOW=((uintptr_t)0x7e8<<36)", "-DHW_SPACE=((uintptr_t)1<<40)")
_WRAPPED = "-Wl,--wrap=hw_call,--wrap=hw_map,--wrap=hw_map_shared,--wrap=hw_unmap"
# Walks go through small pools in several stretches, too.
_STRETCH = ("-DHW_STRETCH=64", "-DHW_STRETCH_OF_PART=64")
THREAD = ("-fsanitize=thread", "-Wno-tsan", _WRAPPED, *_PLACE, *_STRETCH)
ADDRESS = ("-fsanitize=address,undefined", "-fno-sanitize-recover=undefined", *_STRETCH)
EVEN = ("-DHW_EVEN_FENCES",)
# So that many of the large blocks are too large for a pool.
HUGE = (*ADDRESS, "-DHW_MOST_IN_POOL=((size_t)650000)")

# Each seed is another order of events; a few are tried always.
SEEDS = [1, 2, *(pytest.param(seed, marks=pytest.mark.long) for seed in range(3, 43))]

pytestmark = pytest.mark.skipif(
    not NATIVE.is_dir() or shutil.which("gcc") is None, reason="needs gcc and the sources of the engine"
)


def compiled(native: Path, *options: str) -> Path:
    """The stress test of these sources with these options of the compiler; skips where that cannot make it."""
    directory = Path(tempfile.mkdtemp(prefix="heapwitness-stress-"))
    sources = [*native.glob("core/*.c"), *native.glob("host/*/*.c"), native / "tests" / "host" / "stress.c"]
    command = ["gcc", "-std=c11", "-O1", "-g", "-fno-omit-frame-pointer", "-DHW_FIXED_GRANULE_LOG2=4"]
    command += ["-I", native / "core", "-I", native / "host", *options, *sources, "-o", directory / "stress"]
    done = subprocess.run([*command, "-pthread", "-ldl"], capture_output=True, text=True, check=False, timeout=200)
    if "cannot find" in done.stderr:
        pytest.skip("this sanitizer is not installed")
    assert done.returncode == 0, done.stderr
    return directory / "stress"


@cache
def built(*options: str) -> Path:
    return compiled(NATIVE, *options)


def complaint(program: Path, *words: object, log: Path) -> str:
    """Run the stress test; gives what it or a sanitizer complains of, "" for nothing."""
    try:
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
    except subprocess.TimeoutExpired:
        return "it does not come to its end"
    return done.stderr[:4000] or (f"status {done.returncode}" if done.returncode else "")


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("options", [THREAD, ADDRESS, EVEN, HUGE], ids=["thread", "address", "even fences", "huge"])
def test_threads_share_blocks_without_a_race_or_a_finding(options: tuple[str, ...], seed: int, tmp_path: Path) -> None:
    steps = 3000 if options == THREAD else 6000
    assert complaint(built(*options), seed, 4, steps, log=tmp_path / "log") == ""


@pytest.mark.parametrize("seed", SEEDS[1:])
@pytest.mark.parametrize("options", [THREAD, ADDRESS, EVEN], ids=["thread", "address", "even fences"])
def test_damage_in_many_threads_at_once_is_found_without_a_race(
    options: tuple[str, ...], seed: int, tmp_path: Path
) -> None:
    assert complaint(built(*options), seed, 4, 500, "damage", log=tmp_path / "log") == ""


_STORE_BUSY = "atomic_store_explicit(&arena->busy, 0, memory_order_release);"
_LOAD_BUSY = "atomic_load_explicit(&arena->busy, memory_order_acquire)"
_ADOPT = """        hw_lock_take(&arena->visitors); /* a visitor who took it for an orphan leaves first */
        hw_lock_give(&arena->visitors);
"""
_HANDOVER = "__atomic_store_n(&l->check, hw_handover_check(descriptor->pool, node), __ATOMIC_RELAXED);"
_SITE = "atomic_compare_exchange_strong(&b->word[i], &found, tag | site)"
_RELAXED_SITE = (
    "atomic_compare_exchange_strong_explicit(&b->word[i], &found, tag | site, memory_order_relaxed, "
    "memory_order_relaxed)"
)
# The rules of docs/concurrency.md, each broken in the sources.
FAULTS = {
    "owner does not look": (
        "arena/arena.h",
        "if (HW_LIKELY(!atomic_load_explicit(&arena->wanted, memory_order_acquire)))",
        "if (true)",
    ),
    "owner leaves without release": ("arena/arena.h", _STORE_BUSY, _STORE_BUSY.replace("release", "relaxed")),
    "visitor does not wait": ("arena/arena.c", f"turn = 0; {_LOAD_BUSY};", "turn = 0; false && most;"),
    "visitor looks without acquire": ("arena/arena.c", _LOAD_BUSY, _LOAD_BUSY.replace("acquire", "relaxed")),
    "visitor leaves without release": (
        "arena/arena.c",
        "atomic_exchange_explicit(&arena->wanted, 0, memory_order_release)",
        "atomic_exchange_explicit(&arena->wanted, 0, memory_order_relaxed)",
    ),
    "visitors take no lock": ("arena/arena.c", "!hw_lock_take_within(&arena->visitors, (unsigned)most)", "false"),
    "new owner does not wait": ("arena/arena.c", _ADOPT, ""),
    "handed over without release": ("heap/release.c", "node, memory_order_release,", "node, memory_order_relaxed,"),
    "taken in without acquire": (
        "heap/release.c",
        "atomic_exchange_explicit(&descriptor->pending, 0, memory_order_acquire)",
        "atomic_exchange_explicit(&descriptor->pending, 0, memory_order_relaxed)",
    ),
    "links are not announced": ("heap/release.c", _HANDOVER, ""),
    "big block is let go without release": (
        "heap/big.c",
        "HW_BIG_POOL, memory_order_release",
        "HW_BIG_POOL, memory_order_relaxed",
    ),
    "site is told of without release": ("stacks/sites.c", _SITE, _RELAXED_SITE),
}


@pytest.mark.long
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("fault", FAULTS)
def test_fault_in_a_rule_is_noticed(fault: str, tmp_path: Path) -> None:
    file, right, wrong = FAULTS[fault]
    native = shutil.copytree(NATIVE, tmp_path / "native")
    source = native / "host" / file
    assert right in source.read_text()
    source.write_text(source.read_text().replace(right, wrong))

    program = compiled(native, *THREAD)

    assert any(complaint(program, seed, 4, 1500, log=tmp_path / "log") for seed in range(1, 13))
