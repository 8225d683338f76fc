"""The private socket on which the engines of all processes are heard, and what is said back.

One connection carries one event. Nothing that a connection does, or fails to do, holds up another: reads
never wait, silent connections are closed, and a message is bounded before it is looked at.
"""

import contextlib
import errno
import os
import selectors
import socket
import struct
import time
from collections import deque
from types import TracebackType
from typing import NamedTuple, Protocol, Self

from heapwitness.errors import HeapwitnessError
from heapwitness.supervise import places
from heapwitness.supervise.limits import is_kept

MESSAGE_LIMIT = 256 << 10
QUESTION = b"HEAPWITNESS?"
"""What a message begins with by which a process asks something, and which is no event."""

CONNECTIONS_LIMIT = 512
SILENCE = 2.0
"""Seconds that a connection may stay without a message."""

_BACKLOG = 4096
_ACCEPTED_AT_ONCE = 64
_SILENT_LIMIT = 8
_ADDRESS_LIMIT = 107
_NO_ROOM = (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS)
_CREDENTIALS = struct.Struct("=iII")


class Peer(NamedTuple):
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

    A second one has the path for its name and lies in no directory: for processes that see other ones. It takes
    messages of this user's processes only.

    Attributes:
        directory: removed with everything in it at the end.
        path: of the socket.
        refused: messages that were cut off, and peers of other users where those are not root's programs.
        behind: more connections may wait than were taken last.
        starved: why no connection could be taken, though one waited and none was open; None when one could.

    Raises:
        HeapwitnessError: no socket can be made.
    """

    def __init__(self) -> None:
        self.refused = 0
        self.behind = False
        self.starved: OSError | None = None
        self._buffer = bytearray(MESSAGE_LIMIT)
        self._open: dict[socket.socket, tuple[float, Peer]] = {}
        # By pid: the last connections that had no message yet when they were taken.
        self._silent: dict[int, deque[socket.socket]] = {}
        self._place = places.make(longest=_ADDRESS_LIMIT - len("/socket"))
        self.directory = self._place.path
        self.path = self.directory / "socket"
        self._selector = selectors.DefaultSelector()
        self._listeners: dict[socket.socket, bool] = {}
        try:
            self._listen(os.fspath(self.path), anybody=True)
            # Systems without such names, and sandboxes that forbid them, do without.
            with contextlib.suppress(OSError):
                self._listen(b"\0" + os.fsencode(self.path), anybody=False)
        except OSError as error:
            self.close()
            raise HeapwitnessError(f"no socket can be made in {self.directory}: {error.strerror}.") from error

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
            if not isinstance(key.fileobj, socket.socket):
                continue
            if key.fileobj in self._listeners:
                busy |= self._accept(handler, key.fileobj)
            else:
                busy = True
                self._receive(handler, key.fileobj)
        if self._open:
            self._close_silent(handler)
        return busy

    def stop(self) -> None:
        """Stop listening: whoever has something to say from now on finds nobody."""
        for connection in list(self._open):
            self._drop(connection)
        for listener in self._listeners:
            self._selector.unregister(listener)
            listener.close()
        self._listeners.clear()

    def close(self) -> None:
        """Stop listening, and remove the directory."""
        self.stop()
        self._place.remove()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        if not is_kept(value, self.directory):
            self._place.remove()

    def _listen(self, address: str | bytes, *, anybody: bool) -> None:
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC)
        try:
            listener.bind(address)
            listener.listen(_BACKLOG)
            if anybody:
                # Its directory keeps others out, but a process of this user's that became another one's.
                os.chmod(address, 0o666)
        except OSError:
            listener.close()
            raise
        listener.setblocking(False)
        self._listeners[listener] = anybody
        self._selector.register(listener, selectors.EVENT_READ)

    def _accept(self, handler: Handler, listener: socket.socket) -> bool:
        for number in range(_ACCEPTED_AT_ONCE):
            if len(self._open) >= CONNECTIONS_LIMIT:
                self._let_go(handler, next(iter(self._open)))
            try:
                connection, _ = listener.accept()
            except BlockingIOError:
                return number > 0
            except OSError as error:
                # Out of descriptors, or the peer is gone already: make room and go on later.
                if self._open:
                    self._drop(next(iter(self._open)))
                elif error.errno in _NO_ROOM:
                    self.starved = error
                return number > 0
            self.starved = None
            peer = _peer(connection)
            # Programs that root started may have become somebody else's; a name without a directory has no such door.
            if peer.uid != os.geteuid() and not (self._listeners[listener] and os.geteuid() == 0):
                # Of root's programs there is nothing to tell: an engine that has become another user's looks who
                # listens, and then says nothing.
                self.refused += os.geteuid() != 0
                connection.close()
                continue
            connection.setblocking(False)
            self._open[connection] = (time.monotonic() + SILENCE, peer)
            # Most have sent their message already; the others are told by the selector.
            self._selector.register(connection, selectors.EVENT_READ)
            # A thread's messages are taken in the order in which it sent them: an earlier one is there by now.
            for earlier in tuple(self._silent.get(peer.pid, ())):
                self._receive(handler, earlier)
            self._receive(handler, connection)
            if connection in self._open:
                self._silent.setdefault(peer.pid, deque(maxlen=_SILENT_LIMIT)).append(connection)
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

    def _close_silent(self, handler: Handler) -> None:
        now = time.monotonic()
        # Insertion order is order of age.
        for connection, (until, _) in list(self._open.items()):
            if until > now:
                return
            self._let_go(handler, connection)

    def _let_go(self, handler: Handler, connection: socket.socket) -> None:
        """Close a connection that was silent, unless it has spoken while others were heard."""
        self._receive(handler, connection)
        self._drop(connection)

    def _drop(self, connection: socket.socket) -> None:
        known = self._open.pop(connection, None)
        if known is not None:
            silent = self._silent.get(known[1].pid)
            if silent is not None and connection in silent:
                silent.remove(connection)
                if not silent:
                    del self._silent[known[1].pid]
            self._selector.unregister(connection)
            connection.close()


def _peer(connection: socket.socket) -> Peer:
    data = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    pid, uid, _ = _CREDENTIALS.unpack(data)
    return Peer(pid, uid)
