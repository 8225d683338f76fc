"""Names come from a process of its own: what happens to it costs the names of one file."""

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from heapwitness.findings.model import Detected, Finding, Frame
from heapwitness.symbols import remote as remote_module
from heapwitness.symbols.remote import FAILURES_LIMIT, Remote

FAKE = """
import os, sys
from heapwitness.symbols import helper
from heapwitness.symbols.helper import ANSWER, OPENING, receive, send
refused = {refused}
def tell(data):
    send(sys.stdout.buffer.write, data)
    sys.stdout.buffer.flush()
def read(length):
    data = sys.stdin.buffer.read(length)
    if len(data) < length:
        sys.exit()
    return data
while True:
    kind, maps, document = (receive(read) for _ in range(3))
    for path in maps.split():
        if path.decode() in refused:
            continue
        tell(OPENING + path)
        if b"crash" in path:
            os.abort()
        elif b"silent" in path:
            sys.stdin.read()
        elif b"nonsense" in path:
            sys.stdout.buffer.write(bytes([255]) * 4)
            sys.stdout.buffer.flush()
        elif b"lie" in path:
            tell(ANSWER + b"no finding")
    tell(ANSWER + document.replace(b"nobody", b"worker"))
"""


def finding() -> Finding:
    return Finding(
        kind="double-free", detected=Detected(when="free", thread=1, thread_name="nobody", stack=(Frame(pc=1),))
    )


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is said, while helpers do what the names of files say."""

    def start(self: Remote) -> "subprocess.Popen[bytes]":
        code = FAKE.format(refused=repr(self._refused))
        return subprocess.Popen(
            [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )

    monkeypatch.setattr(Remote, "_start", start)
    return []


@pytest.mark.parametrize("file", ["/crash", "/silent", "/nonsense", "/lie"])
def test_a_file_that_ends_its_reader_costs_its_own_names(
    said: list[str], monkeypatch: pytest.MonkeyPatch, file: str
) -> None:
    monkeypatch.setattr(remote_module, "SILENCE", 1.0 if file == "/silent" else 20.0)
    names = Remote(said.append)

    named = [names.finding(finding(), f"/good {file} /other") for _ in range(3)]
    names.close()

    assert [one.detected.thread_name for one in named] == ["worker"] * 3
    assert len(said) == 1 and said[0].startswith(f"{file} could not be read for names")


def test_many_such_files_cost_all_names_and_no_finding(said: list[str]) -> None:
    names = Remote(said.append)
    maps = " ".join(f"/crash{n}" for n in range(100))

    named = [names.finding(finding(), maps) for _ in range(3)]
    names.close()

    assert named == [finding()] * 3
    assert len(said) == FAILURES_LIMIT + 1


def test_a_helper_that_cannot_be_started_is_said_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/nonexistent")
    said: list[str] = []
    names = Remote(said.append)

    named = [names.finding(finding(), "") for _ in range(2)]

    assert named == [finding()] * 2
    assert len(said) == 1 and "No such file" in said[0]


def test_the_helper_names_what_the_resolver_names_and_has_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    names = Remote(lambda _: None)
    maps = Path("/proc/self/maps").read_text()
    libc = next(line for line in maps.splitlines() if "libc.so" in line and " r-xp " in line)
    one = Finding(
        kind="double-free",
        detected=Detected(when="free", thread=1, stack=(Frame(pc=int(libc.split("-")[0], 16) + 0x100),)),
    )

    named = names.finding(one, maps)
    helper = names._helper
    assert helper is not None
    limits = Path(f"/proc/{helper.pid}/limits").read_text()
    names.close()

    assert named.detected.stack[0].module == libc.split()[-1]
    assert f"Max address space         {4 << 30}" in limits
    assert "Max file size             0 " in limits
    assert not os.path.exists(f"/proc/{helper.pid}")


def test_names_that_are_no_text_are_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    names = Remote(said.append)
    one = Finding(kind="double-free", detected=Detected(when="free", thread=1, stack=(Frame(pc=0x1800),)))

    named = names.finding(one, "1000-2000 r-xp 00000000 00:00 0 /tmp/\udcff\x1c\n")
    names.close()

    assert named.detected.stack[0].module == "/tmp/\ufffd\x1c"
    assert said == []


def test_names_that_are_given_up_from_outside_are_not_waited_for(said: list[str]) -> None:
    names = Remote(said.append)
    named: list[Finding] = []
    looks = threading.Thread(
        target=lambda: named.extend(names.finding(finding(), file) for file in ("/silent", "/good"))
    )
    looks.start()
    while looks.is_alive():
        looks.join(0.1)
        names.give_up("enough")
    names.close()

    assert [one.detected.thread_name for one in named] == ["nobody"] * 2
    assert said == ["names could not be looked up (enough); addresses have none from now on."]
