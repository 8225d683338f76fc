"""The memory of a running process, through /proc/PID/mem."""

import contextlib
import errno
import itertools
import os
from collections.abc import Iterator
from types import TracebackType
from typing import Self

from heapwitness.errors import HeapwitnessError
from heapwitness.memory.protocol import READ_LIMIT, Unreadable

_CHUNK = 1 << 20
_THREADS_LIMIT = 1024


def threads(pid: int) -> Iterator[str]:
    """The directories in /proc of a process's threads.

    Where the first thread has ended (`pthread_exit` in `main`) that of the process says nothing of its memory, and
    theirs do.
    """
    with contextlib.suppress(OSError), os.scandir(f"/proc/{pid:d}/task") as entries:
        for entry in itertools.islice(entries, _THREADS_LIMIT):
            if entry.name.isdecimal():
                yield entry.path


def _opened(place: str) -> int:
    """The memory of a process or thread, by its directory in /proc; it runs.

    Raises:
        OSError: it cannot be opened, or the thread has ended.
    """
    file = os.open(f"{place}/mem", os.O_RDONLY | os.O_CLOEXEC)
    try:
        # Of a thread that has ended there are no bytes, and no error, unless the kernel has said so before.
        if os.pread(file, 1, 0):
            return file
    except OSError:
        return file
    os.close(file)
    raise ProcessLookupError(errno.ESRCH, os.strerror(errno.ESRCH))


def _of_a_thread(pid: int) -> int:
    """The same of the first thread that runs.

    Raises:
        ProcessLookupError: there is none.
    """
    for place in threads(pid):
        with contextlib.suppress(ProcessLookupError):
            return _opened(place)
    raise ProcessLookupError(errno.ESRCH, os.strerror(errno.ESRCH))


class ProcessMemory:
    """Memory of the process `pid`, read while it runs; close it, or use it in a `with`.

    Opening is one system call. When the process ends or executes another program, reads fail and
    never give the bytes of what came after it.

    Raises:
        HeapwitnessError: there is no such process, or it may not be read by this user.

    Source: /proc/PID/mem; what pools in it look like is in docs/format.md.
    """

    def __init__(self, pid: int) -> None:
        self._file = -1
        try:
            try:
                self._file = _opened(f"/proc/{pid:d}")
            except ProcessLookupError:
                self._file = _of_a_thread(pid)
        except PermissionError as error:
            raise HeapwitnessError(
                f"the memory of process {pid} may not be read; run as its owner or as root."
            ) from error
        except OSError as error:
            raise HeapwitnessError(f"the memory of process {pid} cannot be read: {error.strerror}.") from error

    def read(self, address: int, length: int) -> bytes:
        """`length` bytes from `address` on, all of them; else `Unreadable`. See `Memory.read`."""
        if address < 0 or length < 0 or length > READ_LIMIT or address + length > 1 << 63:
            raise Unreadable(address, length)
        parts: list[bytes] = []
        at, end = address, address + length
        while at < end:
            try:
                part = os.pread(self._file, min(end - at, _CHUNK), at)
            except OSError as error:
                raise Unreadable(address, length, os.strerror(error.errno or 0)) from error
            if not part:
                raise Unreadable(address, length, "the process has ended")
            parts.append(part)
            at += len(part)
        return b"".join(parts)

    def close(self) -> None:
        """Let go of the process; reads fail from now on."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __del__(self) -> None:
        self.close()
