"""A program may do what it likes to the supervisor's socket: nothing hangs, nothing is lost, everything is said."""

from pathlib import Path

import pytest
from run_support import FOUND, OVERFLOW, compiled, heapwitness_run, needs_engine

pytestmark = needs_engine

UNIT = Path(__file__).parents[1] / "unit"

SPAM = """
import os, socket, subprocess, sys
sys.path.insert(0, {unit!r})
from engine_messages import DAMAGE, FINDING, connect, message
path = os.environ["HEAPWITNESS_SOCKET"]
held = [connect(path) for _ in range(100)]
for number in range({count}):
    with connect(path) as connection:
        connection.send({data})
        {then}
print(subprocess.run([{program!r}], capture_output=True, text=True).stdout, end="")
"""


def spammed(tmp_path: Path, count: int, data: str, then: str = "pass") -> Path:
    """A script that sends something many times, and runs a program with a real bug then."""
    script = tmp_path / "script.py"
    script.write_text(SPAM.format(unit=str(UNIT), count=count, data=data, then=then, program=str(compiled(OVERFLOW))))
    return script


@pytest.mark.parametrize("data", ["os.urandom(150)", "b'x' * 100000", "message(FINDING)", "message(9)"])
def test_nonsense_is_counted_and_a_real_finding_is_still_heard(tmp_path: Path, data: str) -> None:
    result = heapwitness_run(spammed(tmp_path, 300, data))

    assert (result.status, result.stdout) == (FOUND, "done\n")
    assert [one["kind"] for one in result.findings] == ["heap-buffer-overflow"]
    assert "300 messages came that no engine sends" in result.stderr


def test_forged_findings_are_answered_and_shown_as_what_they_are(tmp_path: Path) -> None:
    data = "message(FINDING, reason=DAMAGE, pool=0x1000 * number, node=2**32 - 1, frames=(2**64 - 1,) * 60)"

    result = heapwitness_run(spammed(tmp_path, 50, data, "assert connection.recv(1) == b'g'"))

    assert (result.status, result.stdout) == (FOUND, "done\n")
    assert result.report["summary"]["findings"] == 51
    assert {one["kind"] for one in result.findings} == {"header-overwrite", "heap-buffer-overflow"}


def test_flood_of_findings_is_limited_and_counted(tmp_path: Path) -> None:
    data = "message(FINDING, reason=DAMAGE, pool=0x1000, node=2)"

    result = heapwitness_run(spammed(tmp_path, 8000, data, "assert connection.recv(1) == b'g'"))

    assert result.status == FOUND
    summary = result.report["summary"]
    assert summary["findings"] == 8001
    assert "heap-buffer-overflow" in [one["kind"] for one in result.findings]
    assert summary["dropped"] > 1000
    assert "came too fast to be looked at" in result.stderr


def test_findings_of_a_process_that_ends_at_once_are_not_waited_for(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    data = "message(FINDING, reason=DAMAGE, pool=0x1000, node=2)"
    script.write_text(
        f"import os, sys\nsys.path.insert(0, {str(UNIT)!r})\n"
        "from engine_messages import DAMAGE, FINDING, connect, message\n"
        f"connect(os.environ['HEAPWITNESS_SOCKET']).send({data})\nos._exit(3)\n"
    )

    result = heapwitness_run(script)

    assert result.status == FOUND
    assert result.report["program"]["exit_status"] == 3
