"""Files that a user names: pipes are read and written when somebody is at their other end, and else not waited for."""

import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from heapwitness import named
from heapwitness.accept.acceptance import load
from heapwitness.accept.asked import Accepting
from heapwitness.errors import HeapwitnessError
from heapwitness.liteos.config import config
from heapwitness.liteos.firmware import tasknames
from heapwitness.liteos.firmware.firmware import FirmwareFile
from heapwitness.liteos.image import files
from heapwitness.report import json
from heapwitness.supervise import recorded
from heapwitness.supervise.screen import Screen
from heapwitness.supervise.traps import traps_asked_for


@pytest.fixture
def pipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A pipe with nobody at either end, and less patience with it."""
    monkeypatch.setattr(named, "_PATIENCE", 0.05)
    path = tmp_path / "pipe"
    os.mkfifo(path)
    return path


READERS: dict[str, Callable[[Path], object]] = {
    "a record": recorded.report,
    "a report": json.load,
    "a baseline": lambda path: load(Accepting(baseline=path)),
    "sites to trap": lambda path: traps_asked_for((), path),
    "a kernel's .config": config.read,
    "names of tasks": tasknames.load,
    "a firmware": FirmwareFile,
    "a dump": lambda path: files.read(path, 1 << 20),
}


@pytest.mark.parametrize("what", READERS)
def test_a_pipe_to_which_nobody_writes_is_one_sentence(pipe: Path, what: str) -> None:
    with pytest.raises(HeapwitnessError, match="nobody writes to it"):
        READERS[what](pipe)


@pytest.mark.parametrize("what", READERS)
def test_a_file_that_the_kernel_makes_up_is_one_sentence(what: str) -> None:
    made_up = Path("/proc/kmsg")  # no reader comes to its end
    if not os.access(made_up, os.R_OK):
        made_up = Path("/proc/self/status")
    with pytest.raises(HeapwitnessError, match="the kernel makes it up"):
        READERS[what](made_up)


def test_a_plain_file_under_a_name_in_proc_is_read(tmp_path: Path) -> None:
    sites = tmp_path / "sites"
    sites.write_text("server@6f0c1e4d2b9a8d31+0x11d3\n")
    with sites.open() as stream:
        assert len(traps_asked_for((), Path(f"/proc/self/fd/{stream.fileno()}"))) == 1


def test_a_pipe_from_which_nobody_reads_is_one_sentence(pipe: Path) -> None:
    with pytest.raises(HeapwitnessError, match="nobody reads from it"):
        Screen.to(pipe, lambda: pytest.fail("nothing is shown"))


def test_what_comes_through_a_pipe_is_read(pipe: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(named, "_PATIENCE", 60.0)
    writer = threading.Thread(target=lambda: pipe.write_bytes(b"CONFIG_X=y\n" * 20_000))
    held = os.open(pipe, os.O_RDWR)
    writer.start()

    with named.reading(pipe) as stream:
        start = stream.read(11)
        os.close(held)
        rest = stream.read()

    writer.join()
    assert start + rest == b"CONFIG_X=y\n" * 20_000


def test_what_is_written_waits_for_a_reader_and_for_room(pipe: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(named, "_PATIENCE", 60.0)
    got: list[bytes] = []
    reader = threading.Thread(target=lambda: got.append(pipe.read_bytes()))
    reader.start()

    with open(named.writing(pipe), "wb") as stream:
        stream.write(b"x" * 500_000)

    reader.join()
    assert got == [b"x" * 500_000]


def test_endless_and_long_files_of_sites_are_refused(tmp_path: Path) -> None:
    long = tmp_path / "long"
    long.write_bytes(b"x" * (2 << 20))

    for file in (Path("/dev/zero"), long):
        with pytest.raises(HeapwitnessError, match="too long for a file of allocation sites"):
            traps_asked_for((), file)
