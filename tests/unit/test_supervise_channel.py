"""The private socket: who may speak, and that nobody can hold up anybody else."""

import os
import socket
import stat
import threading
import time
from collections.abc import Iterator

import pytest
from engine_messages import ask, connect

from heapwitness.supervise import channel as channel_module
from heapwitness.supervise.channel import CONNECTIONS_LIMIT, MESSAGE_LIMIT, Channel, Peer

_PACKETS = socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC


class Echo:
    """Answers every message with itself."""

    def __init__(self) -> None:
        self.heard: list[tuple[Peer, bytes]] = []
        self.not_heard = 0

    def message(self, peer: Peer, message: bytes) -> bytes | None:
        self.heard.append((peer, message))
        return message[:8]

    def unheard(self) -> None:
        self.not_heard += 1


@pytest.fixture
def served() -> Iterator[tuple[Channel, Echo]]:
    """A channel that is served by a thread."""
    echo = Echo()
    stop = threading.Event()
    with Channel() as channel:

        def serve() -> None:
            while not stop.is_set():
                channel.serve(echo, 0.02)

        thread = threading.Thread(target=serve)
        thread.start()
        yield channel, echo
        stop.set()
        thread.join()


def test_only_this_user_can_enter_the_directory_and_it_is_removed() -> None:
    with Channel() as channel:
        assert stat.S_IMODE(channel.directory.stat().st_mode) == 0o700
        assert channel.path.is_socket()

    assert not channel.directory.exists()


def test_peer_is_the_process_for_which_the_kernel_vouches(served: tuple[Channel, Echo]) -> None:
    channel, echo = served

    assert ask(channel.path, b"hello") == b"hello"
    assert echo.heard == [(Peer(os.getpid(), os.getuid()), b"hello")]


def test_message_sent_before_its_sender_closed_is_heard(served: tuple[Channel, Echo]) -> None:
    channel, echo = served

    with connect(channel.path) as connection:
        connection.send(b"farewell")
    ask(channel.path, b"next")

    assert [message for _, message in echo.heard] == [b"farewell", b"next"]


def test_it_knows_that_more_wait_than_it_takes_at_once() -> None:
    with Channel() as channel:
        senders = [connect(channel.path) for _ in range(70)]
        for sender in senders:
            sender.send(b"word")
        behind = []
        for _ in range(3):
            channel.serve(Echo(), 0.0)
            behind.append(channel.behind)

        assert behind == [True, False, False]
        for sender in senders:
            sender.close()


def test_silent_connections_hold_nobody_up_and_are_closed(
    served: tuple[Channel, Echo], monkeypatch: pytest.MonkeyPatch
) -> None:
    channel, _ = served
    monkeypatch.setattr(channel_module, "SILENCE", 0.1)
    silent = [connect(channel.path) for _ in range(20)]

    started = time.monotonic()
    assert ask(channel.path, b"a") == b"a"
    assert time.monotonic() - started < 1

    assert [one.recv(1) for one in silent] == [b""] * 20
    for one in silent:
        one.close()


def test_who_spoke_while_another_was_heard_is_heard_before_it_counts_as_silent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(channel_module, "SILENCE", 0.0)
    with Channel() as channel, connect(channel.path) as waiting, connect(channel.path) as first:

        class Slow(Echo):
            def message(self, peer: Peer, message: bytes) -> bytes | None:
                if message == b"first":
                    waiting.send(b"meanwhile")
                return super().message(peer, message)

        slow = Slow()
        first.send(b"first")
        channel.serve(slow, 0.0)

    assert [message for _, message in slow.heard] == [b"first", b"meanwhile"]


def test_more_silent_connections_than_are_kept_hold_nobody_up(served: tuple[Channel, Echo]) -> None:
    channel, _ = served
    silent = [connect(channel.path) for _ in range(CONNECTIONS_LIMIT + 50)]

    assert ask(channel.path, b"a") == b"a"
    for one in silent:
        one.close()


def test_message_that_is_too_long_is_refused(served: tuple[Channel, Echo]) -> None:
    channel, echo = served
    with connect(channel.path) as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4 * MESSAGE_LIMIT)
        try:
            connection.send(bytes(MESSAGE_LIMIT + 1))
        except OSError:
            pytest.skip("the system sends no message of that length")
        assert connection.recv(1) == b""

    assert echo.heard == []
    assert channel.refused == 1


def test_many_askers_at_once_are_all_answered(served: tuple[Channel, Echo]) -> None:
    channel, _ = served
    answers: list[bytes] = []

    def work(number: int) -> None:
        for turn in range(50):
            answers.append(ask(channel.path, b"%d.%d" % (number, turn)))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(answers) == sorted(b"%d.%d" % (number, turn) for number in range(16) for turn in range(50))


def test_answer_that_nobody_waits_for_is_noticed() -> None:
    echo = Echo()
    with Channel() as channel:
        with connect(channel.path) as connection:
            connection.send(b"question")
        while not echo.heard:
            channel.serve(echo, 0.1)

    assert echo.not_heard == 1


def test_long_directory_for_temporary_files_is_avoided(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    deep = tmp_path_factory.mktemp("deep") / ("d" * 100)
    deep.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(deep))

    with Channel() as channel:
        assert channel.path.is_socket()
    assert list(deep.iterdir()) == []


def test_messages_of_a_process_are_taken_in_the_order_in_which_it_sent_them(monkeypatch: pytest.MonkeyPatch) -> None:
    echo = Echo()
    receive = Channel._receive
    with Channel() as channel, connect(channel.path) as first, socket.socket(socket.AF_UNIX, _PACKETS) as second:

        def send_both_when_the_first_was_taken(self: Channel, handler: Echo, connection: socket.socket) -> None:
            receive(self, handler, connection)
            monkeypatch.setattr(Channel, "_receive", receive)
            first.send(b"first")
            second.connect(os.fspath(channel.path))
            second.send(b"second")

        monkeypatch.setattr(Channel, "_receive", send_both_when_the_first_was_taken)
        channel.serve(echo, 1.0)

    assert [message for _, message in echo.heard] == [b"first", b"second"]


def test_it_is_reached_by_name_where_its_directory_is_not_seen(served: tuple[Channel, Echo]) -> None:
    channel, echo = served
    with socket.socket(socket.AF_UNIX, _PACKETS) as connection:
        connection.connect(b"\0" + os.fsencode(channel.path))
        connection.send(b"a word")

        assert connection.recv(8) == b"a word"
    assert echo.heard == [(Peer(os.getpid(), os.getuid()), b"a word")]


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become somebody else")
def test_nobody_else_is_heard_by_that_name(served: tuple[Channel, Echo]) -> None:
    channel, echo = served
    child = os.fork()
    if child == 0:
        try:
            os.setuid(65534)
            with socket.socket(socket.AF_UNIX, _PACKETS) as connection:
                connection.connect(b"\0" + os.fsencode(channel.path))
                connection.send(b"a word")
                connection.recv(8)
        finally:
            os._exit(0)
    os.waitpid(child, 0)

    assert (echo.heard, channel.refused) == ([], 0)
