"""The memory of a running process, through /proc/PID/mem."""

import os
from types import TracebackType
from typing import Self

from heapwitness.errors import HeapwitnessError
from heapwitness.memory.protocol import READ_LIMIT, Unreadable

_CHUNK = 1 << 20


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
            self._file = os.open(f"/proc/{pid:d}/mem", os.O_RDONLY | os.O_CLOEXEC)
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
