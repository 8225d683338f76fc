"""Whoever knows the key of a pool or a run and writes into it what he likes makes no call on it leave it, or go on for
ever."""

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CORE = sorted((ROOT / "native/core").glob("*.c"))
OPTIONS = ["-std=gnu11", "-O2", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"]

pytestmark = pytest.mark.skipif(shutil.which("gcc") is None, reason="needs gcc")

# The seeds before pools that once made a release endless, and a resize read behind the pool.
ONCE_WRONG = [594, 2000]


@pytest.mark.parametrize("kind", ["-m64", "-DHW_FIXED_GRANULE_LOG2=4"])
def test_sealed_forgeries_keep_the_core_inside_of_its_pool_and_bring_it_to_an_end(tmp_path: Path, kind: str) -> None:
    program = compiled(tmp_path, "forged.c", kind)

    for seed in ONCE_WRONG:
        done = subprocess.run([str(program), str(seed), "1"], capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr


def test_sealed_forgeries_keep_the_core_inside_of_its_run_and_a_repaired_one_is_sound(tmp_path: Path) -> None:
    program = compiled(tmp_path, "forged_run.c", "-m64")

    done = subprocess.run([str(program), "1", "2"], capture_output=True, text=True, timeout=60)

    assert done.returncode == 0, done.stderr
    assert int(done.stdout.split()[0]) > 100


def compiled(directory: Path, source: str, kind: str) -> Path:
    """One of the programs in benchmarks/fuzz, with the core, under gcc's sanitizers."""
    program, sources = directory / "forged", [*CORE, ROOT / "benchmarks/fuzz" / source]
    command = ["gcc", kind, *OPTIONS, f"-I{ROOT / 'native/core'}", *map(str, sources), "-o", str(program)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode and "sanitize" in done.stderr + done.stdout:
        pytest.skip("needs gcc's sanitizers")
    assert done.returncode == 0, done.stderr
    return program
