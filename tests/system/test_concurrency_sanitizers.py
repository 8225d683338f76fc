"""The engine under many threads with the sanitizers watching; native/host/tests/harness.c says what is done."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

NATIVE = Path(__file__).parents[2] / "native"
FLAGS = "-std=gnu11 -O1 -g -fexceptions -ftls-model=initial-exec -DHW_FIXED_GRANULE_LOG2=4 -pthread"

pytestmark = pytest.mark.skipif(shutil.which("gcc") is None, reason="needs gcc")


def harness(into: Path, sanitizers: str) -> Path:
    """Compile core and host with the harness, not in malloc's place."""
    program = into / "harness"
    sources = [*NATIVE.glob("core/*.c"), *NATIVE.glob("host/*.c"), NATIVE / "host/tests/harness.c"]
    places = [f"-I{NATIVE / folder}" for folder in ("core", "host")]
    command = ["gcc", *FLAGS.split(), "-Wno-tsan", f"-fsanitize={sanitizers}", *places, *map(str, sources)]
    done = subprocess.run(
        [*command, "-o", str(program), "-ldl"], capture_output=True, text=True, timeout=240, check=False
    )
    if "cannot find" in done.stderr:
        pytest.skip("this compiler's sanitizers are not installed")
    assert done.returncode == 0, done.stderr
    return program


@pytest.mark.parametrize("sanitizers", ["thread", "address,undefined"])
def test_threads_that_hand_blocks_over_while_the_heap_is_checked_race_for_nothing(
    tmp_path: Path, sanitizers: str
) -> None:
    program = harness(tmp_path, sanitizers)
    suppressed = f"suppressions={NATIVE / 'host/tests/thread.supp'}"

    done = subprocess.run(
        [str(program), "4", "2", "1500"],
        capture_output=True,
        text=True,
        timeout=240,
        env={**os.environ, "TSAN_OPTIONS": suppressed, "UBSAN_OPTIONS": "halt_on_error=1"},
        check=False,
    )

    assert (done.returncode, done.stdout) == (0, "0 findings\n"), done.stderr
