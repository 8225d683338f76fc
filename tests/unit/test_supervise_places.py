"""What a killed run left is removed by the next, and nothing else is."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from heapwitness.supervise import places


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(places, "_SHORT", str(tmp_path))
    return tmp_path


def left_by_a_killed_run(temporary: Path) -> Path:
    code = (
        "import os, signal; from heapwitness.supervise import places; made = places.make();"
        "(made.path / 'log').write_text('x'); print(made.path, flush=True); os.kill(os.getpid(), signal.SIGKILL)"
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


def test_the_directory_of_a_run_that_goes_on_stays(temporary: Path) -> None:
    running = places.make()

    assert places.sweep() == 0
    assert running.path.is_dir() and running.path.stat().st_mode & 0o777 == 0o700
    running.remove()
    assert os.listdir(temporary) == []


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
