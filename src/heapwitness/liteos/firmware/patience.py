"""Work on a firmware's file that is given up when it takes too long.

Debug information can be small and make its reader busy for hours. The reader is Python, so that it can be stopped
wherever it is.
"""

import ctypes
import threading
import time
from collections.abc import Callable
from typing import TypeVar

from heapwitness.errors import HeapwitnessError

_Result = TypeVar("_Result")

SECONDS = 20.0
"""Seconds of the processor's time for all work on one file."""

_LOOK = 0.05


class TooLong(HeapwitnessError):
    """There was more work than there was time."""


class _Stop(BaseException):
    """Raised where the work is, from outside."""


class Patience:
    """Time that is spent on one piece of work after the other.

    Args:
        seconds: of the processor's time.
    """

    def __init__(self, seconds: float | None = None) -> None:
        self._left = SECONDS if seconds is None else seconds

    def spend(self, work: Callable[[], _Result]) -> _Result:
        """What `work` gives.

        Raises:
            TooLong: it did not end in the time that was left; it has been stopped.
            Exception: what `work` raises.
        """
        if self._left <= 0:
            raise TooLong("there is no time left.")
        given: list[_Result] = []
        raised: list[BaseException] = []

        def run() -> None:
            try:
                given.append(work())
            except BaseException as error:  # raised again where it was asked for
                raised.append(error)

        started = time.process_time()
        thread = threading.Thread(target=run, name="firmware", daemon=True)
        thread.start()
        while thread.is_alive():
            thread.join(_LOOK)
            if thread.ident is not None and time.process_time() - started > self._left:
                ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread.ident), ctypes.py_object(_Stop))
        self._left -= time.process_time() - started
        if given:
            return given[0]
        if isinstance(raised[0], _Stop):
            raise TooLong("it took too long.")
        raise raised[0]
