"""Two users on one machine: neither writes through the other, listens to the other, or sweeps the other's files."""

import contextlib
import os
import socket
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from engine_messages import HELLO, message
from run_support import ERROR, FOUND, HEAPWITNESS, OVERFLOW, SOURCE, compiled, environment, needs_engine

NOBODY = 65534


def python_of_all() -> str | None:
    """This Python, or one of the same version, that other users may run."""
    for one in (sys.executable, "/usr/bin/python3"):
        try:
            done = subprocess.run(
                [one, "-c", "import heapwitness.cli.run, msgspec._core"],
                user=NOBODY,
                group=NOBODY,
                extra_groups=[],
                capture_output=True,
                env=everywhere(),
            )
        except OSError:
            continue
        if done.returncode == 0:
            return one
    return None


def everywhere(**more: str) -> dict[str, str]:
    """The environment in which any Python finds what this one has."""
    return environment(PYTHONPATH=os.pathsep.join([str(SOURCE), *filter(os.path.isabs, sys.path)]), **more)


pytestmark = [
    needs_engine,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root to be two users"),
]


def as_nobody(directory: Path, *words: str | Path, **more: str) -> subprocess.CompletedProcess[str]:
    """heapwitness of another user, in a directory that is his."""
    return subprocess.run(
        [python_of_all() or "", "-m", "heapwitness", *words],
        user=NOBODY,
        group=NOBODY,
        extra_groups=[],
        umask=0o077,
        cwd=directory,
        env=everywhere(TMPDIR=str(directory), HOME=str(directory), **more),
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.fixture
def shared(tmp_path: Path) -> Path:
    """A directory in which everybody may write, as /tmp."""
    for one in (tmp_path, *tmp_path.parents):
        if one.stat().st_uid == 0 and one != Path("/") and one != Path("/tmp"):
            one.chmod(one.stat().st_mode | 0o055)
    directory = tmp_path / "shared"
    directory.mkdir()
    directory.chmod(0o1777)
    return directory


@pytest.fixture
def program(shared: Path) -> Path:
    file = shared / "program"
    file.write_bytes(compiled(OVERFLOW).read_bytes())
    file.chmod(0o755)
    return file


needs_python = pytest.mark.skipif(
    os.geteuid() == 0 and python_of_all() is None, reason="other users cannot run this Python"
)


@needs_python
def test_a_user_without_rights_finds_the_same_and_keeps_it_to_himself(shared: Path, program: Path) -> None:
    done = as_nobody(shared, "run", "--json", "report.json", "--output", "report.txt", "--", program)

    assert done.returncode == FOUND, done.stderr
    assert "past the end of a 24-byte block allocated by make" in (shared / "report.txt").read_text()
    for name in ("report.json", "report.txt"):
        about = (shared / name).stat()
        assert (stat.S_IMODE(about.st_mode), about.st_uid) == (0o600, NOBODY)
    assert sorted(os.listdir(shared)) == ["program", "report.json", "report.txt"]


@pytest.mark.parametrize("option", ["--json", "--output", "--log"])
def test_a_link_that_another_user_laid_in_a_shared_directory_is_not_written_through(
    shared: Path, program: Path, option: str
) -> None:
    mine = shared.parent / "mine"
    mine.write_text("mine")
    (shared / "report").symlink_to(mine)
    os.lchown(shared / "report", NOBODY, NOBODY)

    done = subprocess.run(
        [*HEAPWITNESS, "run", option, shared / "report", "--", program],
        env=environment(),
        capture_output=True,
        text=True,
    )

    assert done.returncode == ERROR
    assert "another user laid a link there" in done.stderr and done.stderr.count("\n") == 1
    assert mine.read_text() == "mine"


@needs_python
@pytest.mark.parametrize("option", ["--json", "--output", "--log"])
def test_a_file_of_another_user_in_a_shared_directory_is_not_written(shared: Path, program: Path, option: str) -> None:
    (shared / "report").write_text("root's")

    done = as_nobody(shared, "run", option, "report", "--", program)

    assert done.returncode == ERROR and "no permission" in done.stderr
    assert (shared / "report").read_text() == "root's"


@pytest.fixture
def short() -> Iterator[Path]:
    """A directory for everybody whose name leaves room for a socket's, wherever the tests' own directories are."""
    with tempfile.TemporaryDirectory(prefix="hw-", dir="/tmp") as name:
        Path(name).chmod(0o1777)
        yield Path(name)


@needs_python
def test_the_socket_of_another_user_hears_nobody_else(short: Path) -> None:
    running = subprocess.Popen(
        [python_of_all() or "", "-m", "heapwitness", "run", "--", "sleep", "3"],
        user=NOBODY,
        group=NOBODY,
        extra_groups=[],
        cwd=short,
        env=everywhere(TMPDIR=str(short)),
        stderr=subprocess.PIPE,
        text=True,
    )
    until = time.monotonic() + 30
    while not (found := list(short.glob("heapwitness-*/socket"))) and time.monotonic() < until:
        time.sleep(0.01)

    (path,) = found
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as root:
        root.connect(str(path))
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # it may be shut out before it says anything
            root.send(message(HELLO))
            assert root.recv(16) == b""
    _, said = running.communicate()

    assert "1 message" in said or "messages" in said
