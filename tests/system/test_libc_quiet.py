"""No write of the engine's raises a signal in the program, or holds it up."""

import os
import subprocess
from pathlib import Path

import pytest
from libc.harness import build, engine, needs_engine, run
from run_support import ERROR, HEAPWITNESS, OVERFLOW, compiled, environment

from heapwitness.layout.decode import parse_event
from heapwitness.layout.events import Type

pytestmark = needs_engine

LIMITED = ["may_write_no_files", "may_write_short_files", "has_blocked_the_signal", "handles_the_signal"]


@pytest.mark.parametrize("case", LIMITED)
def test_limit_on_the_size_of_files_does_not_end_the_program(case: str) -> None:
    outcome = run(build("quiet.c"), case)

    assert outcome.status == 0


def test_log_that_may_not_grow_holds_whole_messages_only(tmp_path: Path) -> None:
    log = tmp_path / "log"

    subprocess.run([build("quiet.c"), "may_write_short_files"], env=_alone(log), timeout=60, check=True)

    written, at = log.read_bytes(), 0
    assert parse_event(written[: _length(written)]).type is Type.HELLO
    while at < len(written):
        at += _length(written[at:])
    assert at == len(written)


def test_stderr_whose_reader_is_gone_does_not_end_the_program() -> None:
    read, write = os.pipe()
    os.close(read)

    done = subprocess.run([build("quiet.c"), "damages"], env=_alone(), stderr=write, timeout=60, check=False)

    os.close(write)
    assert done.returncode == 0


def test_stderr_that_nobody_reads_does_not_hold_the_program_up() -> None:
    read, write = os.pipe()

    done = subprocess.run([build("quiet.c"), "fills_stderr_first"], env=_alone(), stderr=write, timeout=20, check=False)

    os.close(read)
    os.close(write)
    assert done.returncode == 0


@pytest.mark.parametrize("read_by_somebody", [False, True])
def test_pipe_as_the_log_is_left_alone(tmp_path: Path, read_by_somebody: bool) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK) if read_by_somebody else -1

    done = subprocess.run([build("quiet.c"), "damages"], env=_alone(pipe), capture_output=True, timeout=20, check=False)

    assert done.returncode == 0
    if read_by_somebody:
        assert os.read(reader, 1) == b""
        os.close(reader)


def test_link_as_the_log_is_not_followed_by_the_engine(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")

    subprocess.run([build("quiet.c"), "damages"], env=_alone(tmp_path / "link"), timeout=20, check=True)

    assert not (tmp_path / "elsewhere").exists()


def test_pipe_as_the_log_of_a_run_is_refused_in_one_sentence(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    command = [*HEAPWITNESS, "run", "--log", pipe, "--", compiled(OVERFLOW)]

    done = subprocess.run(command, capture_output=True, text=True, env=environment(), timeout=20, check=False)

    assert done.returncode == ERROR
    assert done.stderr == f"heapwitness: {pipe} cannot be the log: it is no plain file.\n"


def test_file_that_the_kernel_makes_up_is_refused_as_the_log_of_a_run() -> None:
    command = [*HEAPWITNESS, "run", "--log", "/proc/self/comm", "--", compiled(OVERFLOW)]

    done = subprocess.run(command, capture_output=True, text=True, env=environment(), timeout=20, check=False)

    assert done.returncode == ERROR
    assert done.stderr == "heapwitness: /proc/self/comm cannot be the log: it is no plain file.\n"


def _length(message: bytes) -> int:
    return int.from_bytes(message[8:12], "little")


def _alone(log: Path | None = None) -> dict[str, str]:
    """The engine without a supervisor."""
    named = {"HEAPWITNESS_LOG": str(log)} if log else {}
    return {**os.environ, "LD_PRELOAD": str(engine()), **named}
