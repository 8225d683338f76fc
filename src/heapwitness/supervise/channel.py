"""The private socket on which the engines of all processes are heard, and what is said back.

One connection carries one event. Nothing that a connection does, or fails to do, holds up another: reads
never wait, silent connections are closed, and a message is bounded before it is looked at.
"""

import os
import selectors
import socket
import struct
import time
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol, Self

from heapwitness.errors import HeapwitnessError
from heapwitness.supervise import places

MESSAGE_LIMIT = 256 << 10
CONNECTIONS_LIMIT = 512
SILENCE = 2.0
"""Seconds that a connection may stay without a message."""

_BACKLOG = 4096
_ACCEPTED_AT_ONCE = 64
_ADDRESS_LIMIT = 107
_CREDENTIALS = struct.Struct("=iII")


@dataclass(frozen=True, slots=True)
class Peer:
    """The process at the other end, as the kernel vouches for it; `pid` is 0 when it cannot be seen from here."""

    pid: int
    uid: int


class Handler(Protocol):
    """What takes the messages."""

    def message(self, peer: Peer, message: bytes) -> bytes | None:
        """Take a message; gives the answer, None for none."""
        ...

    def unheard(self) -> None:
        """The answer to the last message could not be given: nobody waited for it any more."""
        ...


class Channel:
    """A listening socket in a directory of its own that only this user can enter; a context manager.

    Attributes:
        directory: removed with everything in it at the end.
        path: of the socket.
        refused: messages that were cut off, and peers of other users.
        behind: more connections may wait than were taken last.

    Raises:
        HeapwitnessError: no socket can be made.
    """

    def __init__(self) -> None:
        self.refused = 0
        self.behind = False
        self._buffer = bytearray(MESSAGE_LIMIT)
        self._open: dict[socket.socket, tuple[float, Peer]] = {}
        self._place = places.make(longest=_ADDRESS_LIMIT - len("/socket"))
        self.directory = self._place.path
        self.path = self.directory / "socket"
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC)
        try:
            self._listener.bind(os.fspath(self.path))
            self._listener.listen(_BACKLOG)
        except OSError as error:
            self.close()
            raise HeapwitnessError(f"no socket can be made in {self.directory}: {error.strerror}.") from error
        self._listener.setblocking(False)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._listener, selectors.EVENT_READ)

    def wake_on(self, file: int) -> None:
        """Let `serve` return early when `file` can be read."""
        self._selector.register(file, selectors.EVENT_READ)

    def sleep_through(self, file: int) -> None:
        """Take back `wake_on`."""
        self._selector.unregister(file)

    def serve(self, handler: Handler, wait: float) -> bool:
        """Take what has come, waiting at most `wait` seconds for the first of it; whether there was anything.

        Args:
            handler: is given every message of a peer that may speak.
            wait: in seconds.
        """
        ready = self._selector.select(wait)
        busy = self.behind = False
        for key, _ in ready:
            if key.fileobj is self._listener:
                busy |= self._accept(handler)
            elif isinstance(key.fileobj, socket.socket):
                busy = True
                self._receive(handler, key.fileobj)
        if self._open:
            self._close_silent()
        return busy

    def close(self) -> None:
        """Stop listening: whoever has something to say from now on finds nobody."""
        for connection in list(self._open):
            self._drop(connection)
        self._listener.close()
        self._place.remove()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _accept(self, handler: Handler) -> bool:
        for number in range(_ACCEPTED_AT_ONCE):
            if len(self._open) >= CONNECTIONS_LIMIT:
                self._drop(next(iter(self._open)))
            try:
                connection, _ = self._listener.accept()
            except BlockingIOError:
                return number > 0
            except OSError:
                # Out of descriptors, or the peer is gone already: make room and go on later.
                if self._open:
                    self._drop(next(iter(self._open)))
                return number > 0
            peer = _peer(connection)
            if peer.uid != os.geteuid() and os.geteuid() != 0:
                self.refused += 1
                connection.close()
                continue
            connection.setblocking(False)
            self._open[connection] = (time.monotonic() + SILENCE, peer)
            # Most have sent their message already; the others are told by the selector.
            self._selector.register(connection, selectors.EVENT_READ)
            self._receive(handler, connection)
        self.behind = True
        return True

    def _receive(self, handler: Handler, connection: socket.socket) -> None:
        if connection not in self._open:
            return
        try:
            length, _, flags, _ = connection.recvmsg_into([self._buffer])
        except BlockingIOError:
            return
        except OSError:
            self._drop(connection)
            return
        if flags & socket.MSG_TRUNC:
            self.refused += 1
        elif length:
            _, peer = self._open[connection]
            answer = handler.message(peer, bytes(memoryview(self._buffer)[:length]))
            if answer is not None:
                self._answer(handler, connection, answer)
        self._drop(connection)

    def _answer(self, handler: Handler, connection: socket.socket, answer: bytes) -> None:
        try:
            connection.send(answer, socket.MSG_NOSIGNAL | socket.MSG_DONTWAIT)
        except OSError:
            handler.unheard()

    def _close_silent(self) -> None:
        now = time.monotonic()
        # Insertion order is order of age.
        for connection, (until, _) in list(self._open.items()):
            if until > now:
                return
            self._drop(connection)

    def _drop(self, connection: socket.socket) -> None:
        if self._open.pop(connection, None) is not None:
            self._selector.unregister(connection)
            connection.close()


def _peer(connection: socket.socket) -> Peer:
    data = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    pid, uid, _ = _CREDENTIALS.unpack(data)
    return Peer(pid, uid)
