"""Threads that are begun without waiting for ever, as `threading.Thread` does for one that has no memory to begin."""

import _thread
from collections.abc import Callable

_ROOM = 80 << 20
"""Bytes of address space that must be left: more than malloc has already, so that the system is asked."""

_BEGUN_WITHIN = 20.0


class NoWorker(Exception):
    """There can be no more threads, or there is no memory for them."""


class Worker:
    """A thread that does one piece of work, and that nobody waits for at the end of the process.

    Args:
        work: raises nothing.

    Raises:
        NoWorker: it cannot be begun.
    """

    def __init__(self, work: Callable[[], None]) -> None:
        self._work = work
        self._begun, self._done = _thread.allocate_lock(), _thread.allocate_lock()
        self._begun.acquire()
        self._done.acquire()
        try:
            bytes(_ROOM)
            _thread.start_new_thread(self._run, ())
        except (RuntimeError, MemoryError) as error:
            raise NoWorker("no thread can be started") from error
        if not self._begun.acquire(timeout=_BEGUN_WITHIN):
            raise NoWorker("a thread that was started does not begin")

    def join(self, seconds: float = -1) -> bool:
        """Wait for its end, at most so long where that is said; whether it has ended."""
        has_ended = self._done.acquire(timeout=seconds)
        if has_ended:
            self._done.release()
        return has_ended

    def _run(self) -> None:
        try:
            self._begun.release()
            self._work()
        finally:
            self._done.release()
