"""The program itself: started, sent the signals that are meant for it, and waited for.

It stays in our process group, so that the terminal's keys reach it and it may read the terminal. We take
no notice of those keys: the report comes after the program's end, whatever ended it.
"""

import contextlib
import os
import signal
import threading
from collections.abc import Mapping

from heapwitness.errors import HeapwitnessError

_FORWARDED = frozenset({signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2})
# Python ignores these, and what is ignored stays so in a program that is started.
_RESTORED = (signal.SIGPIPE, signal.SIGXFSZ)
_FROM_KERNEL = 0x80


class RunningProgram:
    """A program that runs.

    Attributes:
        pid: its process id.
        finished: a file descriptor that can be read once it has ended.
    """

    def __init__(
        self,
        file: str,
        arguments: tuple[str, ...],
        environment: Mapping[str, str],
        signals: frozenset[signal.Signals] = frozenset(),
    ) -> None:
        """Start it.

        Args:
            file: the program's file.
            arguments: as the program gets them, its name first.
            environment: all of its environment.
            signals: are passed on to it in addition to the usual ones.

        Raises:
            HeapwitnessError: the system cannot start it.
        """
        self._forwarded = _FORWARDED | signals
        self._status: int | None = None
        self._ended_by: signal.Signals | None = None
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        self._mask = signal.pthread_sigmask(signal.SIG_BLOCK, self._forwarded | {signal.SIGCHLD})
        try:
            self.pid = os.posix_spawn(file, arguments, environment, setsigmask=self._mask, setsigdef=_RESTORED)
        except (OSError, ValueError) as error:
            self.release_signals()
            why = error.strerror if isinstance(error, OSError) else error
            raise HeapwitnessError(f"{file} cannot be started: {why}.") from error
        self.finished, self._end = os.pipe2(os.O_CLOEXEC)
        self._waiter = threading.Thread(target=self._wait, name="signals", daemon=True)
        self._waiter.start()

    @property
    def exit_status(self) -> int | None:
        """As a shell gives it, 128 + the signal that ended it; None while it runs."""
        return self._status

    @property
    def ended_by(self) -> signal.Signals | None:
        """The signal that ended it; None while it runs, and where none did."""
        return self._ended_by

    def release_signals(self) -> None:
        """Let signals do to us again what they did before the program was started; once it has ended."""
        signal.pthread_sigmask(signal.SIG_SETMASK, self._mask)

    def _wait(self) -> None:
        """Take every signal that is sent to us; this thread alone knows whether the pid is still the program's."""
        watched = self._forwarded | {signal.SIGCHLD}
        while True:
            taken = signal.sigwaitinfo(watched)
            if taken.si_signo == signal.SIGCHLD:
                pid, status = os.waitpid(self.pid, os.WNOHANG)
                if pid:
                    code = os.waitstatus_to_exitcode(status)
                    if code < 0:
                        # A real-time signal has a number and no name.
                        with contextlib.suppress(ValueError):
                            self._ended_by = signal.Signals(-code)
                    self._status = code if code >= 0 else 128 - code
                    os.close(self._end)
                    return
            elif taken.si_code != _FROM_KERNEL and taken.si_pid != self.pid:
                # The terminal's own signals go to the whole group: the program has had them. One that the
                # program sends to its parent is not for the program.
                os.kill(self.pid, taken.si_signo)
