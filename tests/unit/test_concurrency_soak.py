"""The soak tells growth without end from a heap that fills up, and notices a leak."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
MIB = 1 << 20

pytestmark = pytest.mark.skipif(not BENCHMARKS.is_dir(), reason="needs the sources")


@pytest.fixture
def soak(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import soak

    yield soak


@pytest.mark.parametrize(
    ("values", "unbounded"),
    [
        ([50 * MIB] * 40, False),
        ([50 * MIB + i % 7 * MIB // 3 for i in range(40)], False),
        ([80 * MIB - 60 * MIB // (i + 1) for i in range(40)], False),
        ([50 * MIB + i * MIB // 4 for i in range(40)], True),
        ([50 * MIB + (i > 30) * 10 * MIB for i in range(40)], True),
        ([i * MIB // 40 for i in range(40)], False),
    ],
    ids=["flat", "noise", "fills up", "constant loss", "late step", "less than is noticed"],
)
def test_growth_is_what_the_last_quarter_has_more_than_the_second(
    soak: ModuleType, values: list[int], unbounded: bool
) -> None:
    assert soak.growth(values).unbounded is unbounded


def test_leak_is_noticed_and_told(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("<!-- soak -->\n<!-- end of soak -->\n")
    command = [sys.executable, BENCHMARKS / "soak.py", "--minutes", "0.134", "--leak", "30000000", "--into", page]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)

    assert done.returncode == 1, done.stderr
    rows = [line.split("  ") for line in done.stdout.splitlines()]
    assert [row[0] for row in rows] == ["most, in MiB", "glibc", "engine"]
    assert "resident" in rows[2][-1]
    assert "| engine |" in page.read_text()


@pytest.mark.long
@pytest.mark.timeout(900)
def test_memory_stays_in_bounds_for_three_minutes() -> None:
    command = [sys.executable, BENCHMARKS / "soak.py", "--minutes", "3"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)

    assert done.returncode == 0, done.stdout + done.stderr
