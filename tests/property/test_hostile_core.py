"""Whoever knows a pool's key and writes into it what he likes makes no call on it leave the pool, or go on for ever."""

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = [*sorted((ROOT / "native/core").glob("*.c")), ROOT / "benchmarks/fuzz/forged.c"]
OPTIONS = ["-std=gnu11", "-O2", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"]

pytestmark = pytest.mark.skipif(shutil.which("gcc") is None, reason="needs gcc")

# The seeds before pools that once made a release endless, and a resize read behind the pool.
ONCE_WRONG = [594, 2000]


@pytest.mark.parametrize("kind", ["-m64", "-DHW_FIXED_GRANULE_LOG2=4"])
def test_sealed_forgeries_keep_the_core_inside_of_its_pool_and_bring_it_to_an_end(tmp_path: Path, kind: str) -> None:
    program = tmp_path / "forged"
    command = ["gcc", kind, *OPTIONS, f"-I{ROOT / 'native/core'}", *map(str, SOURCES), "-o", str(program)]
    compiled = subprocess.run(command, capture_output=True, text=True)
    if compiled.returncode and "sanitize" in compiled.stderr + compiled.stdout:
        pytest.skip("needs gcc's sanitizers")
    assert compiled.returncode == 0, compiled.stderr

    for seed in ONCE_WRONG:
        done = subprocess.run([str(program), str(seed), "1"], capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
