"""The Python lines of a thread that waits, read from outside by pystack in a process of its own.

In a process of its own, because the interpreter that is read may be damaged anywhere: what makes the
reader loop, crash or eat memory must not touch the supervisor. The program's other threads go on; the
waiting one does not move, so nothing has to be stopped.

The helper is this module, started with `python -m`: a line "PID TID" in, a line of JSON out.
"""

import contextlib
import importlib
import json
import os
import resource
import selectors
import subprocess
import sys
from dataclasses import dataclass

WAIT = 6.0
"""Seconds for one stack, on a machine that may be busy."""

_FRAMES_LIMIT = 200
_TEXT_LIMIT = 512
_REPLY_LIMIT = 1 << 20
_MEMORY_LIMIT = 2 << 30
_FAILURES_LIMIT = 3


@dataclass(frozen=True, slots=True)
class PythonFrame:
    """One Python frame. `entry`: C code called into the interpreter here, so a C frame stands for it."""

    function: str
    file: str
    line: int
    entry: bool


class PythonStacks:
    """Asks the helper, which is started when first needed and given up after a few failures."""

    def __init__(self) -> None:
        self._helper: subprocess.Popen[bytes] | None = None
        self._failures = 0

    def begin(self) -> None:
        """Start the helper: it takes a while to be ready, in which something else can be done."""
        if self._helper is None and self._failures < _FAILURES_LIMIT:
            with contextlib.suppress(OSError):
                self._start()

    def frames(self, pid: int, tid: int) -> tuple[PythonFrame, ...]:
        """The thread's Python frames, innermost first; () when they cannot be had within WAIT seconds."""
        if self._failures >= _FAILURES_LIMIT:
            return ()
        try:
            return self._ask(pid, tid)
        except (OSError, ValueError, KeyError, TypeError):
            self._failures += 1
            self.close()
            return ()

    def close(self) -> None:
        """End the helper."""
        helper, self._helper = self._helper, None
        if helper is None:
            return
        helper.kill()
        for pipe in (helper.stdin, helper.stdout):
            if pipe is not None:
                pipe.close()
        helper.wait()

    def _ask(self, pid: int, tid: int) -> tuple[PythonFrame, ...]:
        helper = self._helper or self._start()
        assert helper.stdin is not None and helper.stdout is not None
        helper.stdin.write(b"%d %d\n" % (pid, tid))
        return _parse(_line(helper.stdout.fileno()))

    def _start(self) -> "subprocess.Popen[bytes]":
        self._helper = subprocess.Popen(
            # -P: nothing is imported from the directory in which the user happens to be.
            [sys.executable, "-P", "-m", __name__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=0,
        )
        return self._helper


def _line(file: int) -> bytes:
    with selectors.DefaultSelector() as selector:
        selector.register(file, selectors.EVENT_READ)
        reply = b""
        while not reply.endswith(b"\n"):
            if len(reply) > _REPLY_LIMIT or not selector.select(WAIT):
                raise ValueError("no reply")
            part = os.read(file, 1 << 16)
            if not part:
                raise ValueError("the helper has ended")
            reply += part
        return reply


def _parse(reply: bytes) -> tuple[PythonFrame, ...]:
    return tuple(
        PythonFrame(str(function)[:_TEXT_LIMIT], str(file)[:_TEXT_LIMIT], int(line), bool(entry))
        for function, file, line, entry in json.loads(reply)[:_FRAMES_LIMIT]
    )


def _read(pid: int, tid: int) -> list[tuple[str, str, int, bool]]:
    from pystack.engine import NativeReportingMode, get_process_threads

    threads = get_process_threads(pid, stop_process=False, native_mode=NativeReportingMode.OFF)
    for thread in threads:
        if thread.tid == tid:
            frames = [
                (one.code.scope, one.code.filename, one.code.location.lineno, one.is_entry)
                for one in thread.frames
                if not _is_shim(one.code.scope, one.code.filename, one.code.location.lineno)
            ]
            return frames[::-1][:_FRAMES_LIMIT]
    return []


def _is_shim(function: str, file: str, line: int) -> bool:
    """Whether it is the frame without code of anybody's that CPython 3.13 puts between a class and its `__init__`."""
    return function == file == "__init__" and line <= 0


def _serve() -> None:
    # What takes longest, before there is anything to do.
    with contextlib.suppress(ImportError):
        importlib.import_module("pystack.engine")
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY_LIMIT, _MEMORY_LIMIT))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    for line in sys.stdin.buffer:
        pid, tid = map(int, line.split())
        try:
            reply = _read(pid, tid)
        except Exception:  # whatever pystack meets in a damaged process: no Python lines is an answer
            reply = []
        sys.stdout.buffer.write(json.dumps(reply).encode() + b"\n")
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    _serve()
