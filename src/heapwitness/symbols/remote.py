"""Names for addresses as a `Resolver` gives them, found in a process of its own that can be given up."""

import contextlib
import os
import selectors
import subprocess
import time
from collections.abc import Callable
from typing import TypeVar

import msgspec

from heapwitness.findings.model import Crash, Finding, HeapMap
from heapwitness.symbols import helper
from heapwitness.symbols.apart import command

SILENCE = 20.0
"""Seconds for the work on one file."""

SECONDS_LIMIT = 300.0
"""Seconds for everything that is named."""

FAILURES_LIMIT = 5
"""Files that are given up, before names are."""

_PARTS = 1 << 16
# The reader of debugging information would start a thread for each processor, and each takes address space.
_ENVIRONMENT = {"OMP_NUM_THREADS": "2", "MALLOC_ARENA_MAX": "2"}


_Document = TypeVar("_Document", Finding, Crash, HeapMap)


class _GivenUp(Exception):
    """The process has ended, is silent, or makes no sense."""


class Remote:
    """Asks the helper, which is started when first needed.

    Args:
        say: is told in a sentence when the names of a file, or all, are given up.
        until: see `Resolver`.
    """

    def __init__(self, say: Callable[[str], None], until: float | None = None) -> None:
        self._say = say
        self._until = until
        self._helper: subprocess.Popen[bytes] | None = None
        self._refused: list[str] = []
        self._failures = 0
        self._left = SECONDS_LIMIT
        self._maps: str | None = None
        self._given_up = ""

    def finding(self, finding: Finding, maps: str) -> Finding:
        """A finding with every stack in it named, as far as that can be had; see `Resolver.finding`."""
        return self._ask(b"finding", finding, maps)

    def crash(self, crash: Crash, maps: str) -> Crash:
        """The same of a crash."""
        return self._ask(b"crash", crash, maps)

    def heap_map(self, taken: HeapMap, maps: str) -> HeapMap:
        """The same of a heap's map, of which only the sites have names."""
        named = self._ask(b"map", HeapMap(taken=taken.taken, sites=taken.sites), maps)
        return msgspec.structs.replace(taken, sites=named.sites)

    def give_up(self, why: str) -> None:
        """Name nothing more, and leave what is being named; from another thread."""
        self._given_up = why
        running = self._helper
        if running is not None:
            running.kill()

    def close(self) -> None:
        """End the helper."""
        running, self._helper, self._maps = self._helper, None, None
        if running is None:
            return
        running.kill()
        for pipe in (running.stdin, running.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()
        running.wait()

    def _ask(self, kind: bytes, document: _Document, maps: str) -> _Document:
        try:
            encoded = msgspec.msgpack.encode(document)
        except UnicodeEncodeError:
            return document
        while self._failures < FAILURES_LIMIT and self._left > 0:
            if self._given_up:
                self._fail(None, self._given_up)
                break
            started = time.monotonic()
            working_on: list[str] = []
            try:
                reply = self._answer(kind, encoded, maps, working_on)
                return document if reply is None else msgspec.msgpack.decode(reply, type=type(document))
            except (_GivenUp, OSError, ValueError, msgspec.DecodeError) as error:
                self.close()
                if self._given_up:
                    continue
                self._fail(working_on[-1] if working_on else None, str(error))
            finally:
                self._left -= time.monotonic() - started
                if self._left <= 0:
                    self._say("names took too long to look up; addresses have none from now on.")
        return document

    def _fail(self, path: str | None, why: str) -> None:
        """Give up a file, or everything when it is not known which it was or they are too many."""
        if path is not None and path not in self._refused:
            self._failures += 1
            self._refused.append(path)
            self._say(f"{path} could not be read for names ({why}); its addresses have none.")
        else:
            self._failures = FAILURES_LIMIT
        if self._failures >= FAILURES_LIMIT:
            self._say(f"names could not be looked up ({why}); addresses have none from now on.")

    def _answer(self, kind: bytes, encoded: bytes, maps: str, working_on: list[str]) -> memoryview | None:
        if self._helper is None:
            self._helper = self._start()
        assert self._helper.stdin is not None
        text = b"" if maps == self._maps else maps.encode("utf-8", "surrogateescape") or b"\n"
        for part in (kind, text, encoded):
            helper.send(self._helper.stdin.write, part)
        self._helper.stdin.flush()
        self._maps = maps
        while True:
            until = time.monotonic() + min(SILENCE, self._left)
            reply = helper.receive(lambda length, until=until: self._read(length, until))  # type: ignore[misc]
            if reply[:1] == helper.OPENING:
                working_on.append(os.fsdecode(reply[1:]))
            elif reply[:1] == helper.ANSWER:
                return memoryview(reply)[1:]
            else:
                return None

    def _read(self, length: int, until: float) -> bytes:
        """Exactly so many bytes of the helper."""
        assert self._helper is not None and self._helper.stdout is not None
        file = self._helper.stdout.fileno()
        data = bytearray()
        with selectors.DefaultSelector() as selector:
            selector.register(file, selectors.EVENT_READ)
            while len(data) < length:
                if not selector.select(max(0.0, until - time.monotonic())):
                    raise _GivenUp("it takes too long")
                part = os.read(file, min(_PARTS, length - len(data)))
                if not part:
                    raise _GivenUp("its reader crashed, or had no memory left")
                data += part
        return bytes(data)

    def _start(self) -> "subprocess.Popen[bytes]":
        return subprocess.Popen(
            command(f"helper.serve({self._until!r}, {self._refused!r})"),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, **_ENVIRONMENT},
        )
