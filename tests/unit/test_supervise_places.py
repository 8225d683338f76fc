"""What a killed run left is removed by the next, and nothing else is."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from engine_messages import COMMAND, DAMAGE, FINDING, HELLO, message, section

from heapwitness.supervise import places


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("TMPDIR", "TEMP", "TMP"):
        monkeypatch.setenv(name, str(tmp_path))
    monkeypatch.setattr(places, "_USUAL", (str(tmp_path),))
    return tmp_path


def left_by_a_killed_run(temporary: Path, log: bytes = b"x") -> Path:
    code = (
        "import os, signal; from heapwitness.supervise import places; made = places.make();"
        f"(made.path / 'log').write_bytes({log!r}); print(made.path, flush=True); os.kill(os.getpid(), signal.SIGKILL)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env={**os.environ, "TMPDIR": str(temporary)}
    )
    return Path(done.stdout.strip())


def test_what_a_killed_run_left_is_removed(temporary: Path) -> None:
    left = left_by_a_killed_run(temporary)
    assert left.parent == temporary and left.exists()

    assert places.sweep() == 1
    assert os.listdir(temporary) == []


def test_findings_that_nobody_has_read_stay_for_a_week(temporary: Path) -> None:
    left = left_by_a_killed_run(
        temporary, message(HELLO, section(COMMAND, b"x" * 5000)) + message(FINDING, reason=DAMAGE)
    )

    assert places.sweep() == 0
    assert (left / "log").stat().st_size > 5000

    long_ago = time.time() - 8 * 24 * 3600
    os.utime(left / "log", (long_ago, long_ago))
    assert places.sweep() == 1
    assert os.listdir(temporary) == []


@pytest.mark.parametrize(
    "log", [message(HELLO), message(FINDING, reason=DAMAGE)[:10], bytes(200)], ids=["hello", "cut", "zeros"]
)
def test_record_without_findings_does_not_stay(temporary: Path, log: bytes) -> None:
    left_by_a_killed_run(temporary, log)

    assert places.sweep() == 1


def test_the_directory_of_a_run_that_goes_on_stays(temporary: Path) -> None:
    running = places.make()

    assert places.sweep() == 0
    assert running.path.is_dir() and running.path.stat().st_mode & 0o777 == 0o700
    running.remove()
    assert os.listdir(temporary) == []


def test_what_others_put_into_it_is_removed_with_it(temporary: Path) -> None:
    made = places.make()
    (made.path / "deep" / "deeper").mkdir(parents=True)
    (made.path / "link").symlink_to("/")

    made.remove()

    assert os.listdir(temporary) == []


def test_a_place_where_nothing_can_be_made_is_passed_over(temporary: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(temporary / "missing"))
    monkeypatch.setenv("TEMP", "")

    made = places.make()

    assert made.path.parent == temporary
    made.remove()


def test_a_path_that_would_be_too_long_lies_in_the_usual_place(
    temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    long = temporary / ("x" * 100)
    long.mkdir()
    monkeypatch.setenv("TMPDIR", str(long))

    made = places.make(longest=len(str(temporary)) + 40)

    assert made.path.parent == temporary
    made.remove()
    assert os.listdir(long) == []


def test_what_only_looks_like_one_stays(temporary: Path) -> None:
    (temporary / "heapwitness-mine").mkdir()
    (temporary / "heapwitness-file").write_text("x")
    (temporary / "heapwitness-pipe").mkdir()
    os.mkfifo(temporary / "heapwitness-pipe" / "lock")
    (temporary / "other").mkdir()
    (temporary / "other" / "lock").touch()
    (temporary / "heapwitness-link").symlink_to("other")
    (temporary / "heapwitness-linked").mkdir()
    (temporary / "heapwitness-linked" / "lock").symlink_to(temporary / "other" / "lock")
    before = sorted(os.listdir(temporary))

    assert places.sweep() == 0
    assert sorted(os.listdir(temporary)) == before


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to be two users")
def test_the_directory_of_another_user_stays(temporary: Path) -> None:
    left = left_by_a_killed_run(temporary)
    os.chown(left, 65534, 65534)

    assert places.sweep() == 0
    assert left.exists()
