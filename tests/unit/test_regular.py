"""What others name is opened only when it is a plain file, and never waited for."""

import fcntl
import os
import signal
import socket
import threading
import time
from pathlib import Path

import pytest

from heapwitness.regular import Identity, NotRegular, open_regular, within

LIMIT = 1 << 20


def identity(path: Path) -> Identity:
    about = path.stat()
    return Identity((os.major(about.st_dev), os.minor(about.st_dev)), about.st_ino)


def test_a_plain_file_is_read(tmp_path: Path) -> None:
    file = tmp_path / "a\rb\nc"
    file.write_bytes(b"content")

    with open(open_regular(str(file), LIMIT, identity(file)), "rb") as stream:
        assert stream.read() == b"content"


@pytest.mark.parametrize(
    "path",
    [
        "/proc/self/pagemap",
        "/proc/self/maps",
        "/proc/kcore",
        "/sys/kernel/mm/transparent_hugepage/enabled",
        "/dev/zero",
        "/dev/null",
        "/dev/tty",
        "/",
        "no-such-file",
        "a\x00b",
        "",
        "x" * 5000,
    ],
)
def test_what_the_kernel_makes_up_devices_and_what_is_not_there_are_not_opened(path: str) -> None:
    with pytest.raises(OSError):
        open_regular(path, 1 << 60)


def test_a_pipe_and_a_socket_are_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "socket"))

        for name in ("pipe", "socket"):
            with pytest.raises(NotRegular):
                open_regular(str(tmp_path / name), LIMIT)


def test_a_link_to_what_is_no_plain_file_is_as_bad(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("/proc/self/pagemap")

    with pytest.raises(NotRegular):
        open_regular(str(tmp_path / "link"), LIMIT)


def test_a_file_on_which_somebody_holds_a_lease_is_not_waited_for(tmp_path: Path) -> None:
    file = tmp_path / "leased"
    file.write_bytes(b"content")
    # The holder is told by this signal.
    before = signal.signal(signal.SIGIO, signal.SIG_IGN)
    with open(file, "r+b") as stream:
        fcntl.fcntl(stream, fcntl.F_SETLEASE, fcntl.F_WRLCK)

        with pytest.raises(BlockingIOError):
            open_regular(str(file), LIMIT)
    signal.signal(signal.SIGIO, before)


def test_a_file_that_is_too_large_is_not_opened(tmp_path: Path) -> None:
    file = tmp_path / "sparse"
    with open(file, "wb") as stream:
        stream.truncate(LIMIT + 1)

    with pytest.raises(NotRegular):
        open_regular(str(file), LIMIT)


def test_another_file_of_the_same_name_is_not_opened(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"old")
    old = identity(file)
    (tmp_path / "new").write_bytes(b"new")
    os.replace(tmp_path / "new", file)

    for mapped in (old, Identity((250, 250), old.inode), Identity((0, 0), 0)):
        with pytest.raises(NotRegular):
            open_regular(str(file), LIMIT, mapped)


def test_nothing_stays_open_when_a_file_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    before = len(os.listdir("/proc/self/fd"))

    for _ in range(10):
        with pytest.raises(OSError):
            open_regular(str(tmp_path / "pipe"), LIMIT)

    assert len(os.listdir("/proc/self/fd")) == before


def test_work_that_does_not_end_is_left_behind_and_nothing_is_begun_beside_it() -> None:
    let_go = threading.Event()

    assert within(0.01, let_go.wait) is None
    assert within(10, lambda: "begun") is None

    let_go.set()
    until = time.monotonic() + 10
    while within(10, lambda: "begun") is None and time.monotonic() < until:
        time.sleep(0.001)
    assert within(10, lambda: "begun") == "begun"


def test_what_work_raises_is_raised() -> None:
    with pytest.raises(NotRegular):
        within(10, lambda: open_regular("/proc/self/maps", LIMIT))
