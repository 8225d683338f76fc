"""What the engine does when its supervisor hangs, and on systems that it is not made for."""

import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from libc.harness import build, engine, needs_engine

from heapwitness.errors import HeapwitnessError
from heapwitness.layout.decode import parse_event, read_events
from heapwitness.layout.events import Event, Reason, Type
from heapwitness.supervise.target import check_system

pytestmark = needs_engine

FINDINGS = 5


@contextmanager
def hanging_supervisor(path: Path, answers_after: float | None = None) -> Iterator[list[Event]]:
    """Takes all that is said and never answers, or a finding after seconds; gives what it heard."""
    heard: list[Event] = []
    kept = []
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    listener.bind(os.fspath(path))
    listener.listen(64)

    def hear() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            kept.append(connection)
            heard.append(parse_event(connection.recv(1 << 20)))
            if answers_after is not None and heard[-1].type is Type.FINDING:
                time.sleep(answers_after)
                connection.send(b"g")

    thread = threading.Thread(target=hear, daemon=True)
    thread.start()
    yield heard
    listener.shutdown(socket.SHUT_RDWR)
    thread.join()
    for each in (listener, *kept):
        each.close()


def test_supervisor_that_hangs_is_waited_for_once(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with hanging_supervisor(tmp_path / "socket") as heard:
        variables = {
            "LD_PRELOAD": str(engine()),
            "HEAPWITNESS_SOCKET": str(tmp_path / "socket"),
            "HEAPWITNESS_LOG": str(log),
            "HEAPWITNESS_WAIT_MS": "300",
        }
        program = build("quiet.c")
        subprocess.run([program, "damages_again", str(FINDINGS)], env=os.environ | variables, timeout=60, check=True)

    asked = [event for event in heard if event.type is Type.FINDING]
    with log.open("rb") as stream:
        recorded = [event for event in read_events(stream) if event.type is Type.FINDING]
    assert len(recorded) == FINDINGS
    assert 1 <= len(asked) < FINDINGS


@pytest.mark.long
def test_release_waits_as_long_as_a_finding_in_the_block_waits_for_its_answer(tmp_path: Path) -> None:
    with hanging_supervisor(tmp_path / "socket", answers_after=25) as heard:
        variables = {
            "LD_PRELOAD": str(engine()),
            "HEAPWITNESS_SOCKET": str(tmp_path / "socket"),
            "HEAPWITNESS_CHECK_SIGNAL": str(int(signal.SIGUSR2)),
            "HEAPWITNESS_WAIT_MS": "3600000",
        }
        command = [build("checks.c"), "wait_for_an_answer"]
        subprocess.run(command, env=os.environ | variables, timeout=90, check=True)

    assert [event.reason for event in heard if event.type is Type.FINDING] == [Reason.DAMAGE]


def test_run_refuses_another_order_of_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.byteorder", "big")

    with pytest.raises(HeapwitnessError, match="big-endian"):
        check_system()
