"""The program itself: started, sent the signals that are meant for it, and waited for.

It stays in our process group, so that the terminal's keys reach it and it may read the terminal. We take
no notice of those keys: the report comes after the program's end, whatever ended it.
"""

import _thread
import contextlib
import os
import signal
import time
from collections.abc import Collection, Mapping
from types import TracebackType
from typing import Self

from heapwitness.errors import HeapwitnessError

_FORWARDED = frozenset({signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2})
_ENDING = frozenset({signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT})
# Python ignores these, and what is ignored stays so in a program that is started.
_RESTORED = (signal.SIGPIPE, signal.SIGXFSZ)
_FROM_KERNEL = 0x80
_BETWEEN_LOOKS = 0.02


class HeldSignals:
    """Signals that would end us, held back until what a program's run found is told; a context manager.

    What came meanwhile, and was not the program's, does behind it what it always does.
    """

    def __init__(self, more: frozenset[signal.Signals] = frozenset()) -> None:
        self._held = _FORWARDED | more
        self.before: set[int] = set()

    def __enter__(self) -> Self:
        self.before = {int(one) for one in signal.pthread_sigmask(signal.SIG_BLOCK, self._held)}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        signal.pthread_sigmask(signal.SIG_SETMASK, self.before)


def asked_to_end() -> bool:
    """Whether a signal is held back that is to end us."""
    return any(signal.getsignal(one) != signal.SIG_IGN for one in _ENDING & signal.sigpending())


class RunningProgram:
    """A program that runs.

    Attributes:
        pid: its process id.
        finished: a file descriptor that can be read once it has ended, or `look` is to be called for that.
    """

    def __init__(
        self,
        file: str,
        arguments: tuple[str, ...],
        environment: Mapping[str, str],
        signals: frozenset[signal.Signals] = frozenset(),
        mask: Collection[int] | None = None,
    ) -> None:
        """Start it.

        Args:
            file: the program's file.
            arguments: as the program gets them, its name first.
            environment: all of its environment.
            signals: are passed on to it in addition to the usual ones.
            mask: the signals that are blocked in it, unless those that are now.

        Raises:
            HeapwitnessError: the system cannot start it.
        """
        self._forwarded = _FORWARDED | signals
        self._watched = self._forwarded | {signal.SIGCHLD}
        self._is_gone = False
        self._status: int | None = None
        self._ended_by: signal.Signals | None = None
        self.finished, self._end = os.pipe2(os.O_CLOEXEC)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        self._mask = signal.pthread_sigmask(signal.SIG_BLOCK, self._watched)
        try:
            mask = self._mask if mask is None else mask
            self.pid = os.posix_spawn(file, arguments, environment, setsigmask=mask, setsigdef=_RESTORED)
        except (OSError, ValueError) as error:
            self.release_signals()
            why = error.strerror if isinstance(error, OSError) else error
            raise HeapwitnessError(f"{file} cannot be started: {why}.") from error
        # Where there can be no thread, `look` does its work.
        # (`threading.Thread` waits for its thread's first words, for ever if there is no memory for them.)
        with contextlib.suppress(RuntimeError, MemoryError):
            _thread.start_new_thread(self._wait, ())

    @property
    def exit_status(self) -> int | None:
        """As a shell gives it, 128 + the signal that ended it; None while it runs."""
        return self._status

    @property
    def ended_by(self) -> signal.Signals | None:
        """The signal that ended it; None while it runs, and where none did."""
        return self._ended_by

    def look(self) -> None:
        """Notice the program's end though the thread that waits for it does not; to be called a few times a second."""
        if self._status is not None:
            return
        with contextlib.suppress(ChildProcessError):
            if os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
                return
        # The thread has until the next time, and may be just about it then.
        if self._is_gone:
            self._reap()
        self._is_gone = True

    def wait(self) -> None:
        """Wait for the program's end, whatever has become of the thread."""
        while self._status is None:
            self.look()
            time.sleep(_BETWEEN_LOOKS)

    def release_signals(self) -> None:
        """Let signals do to us again what they did before the program was started; once it has ended."""
        signal.pthread_sigmask(signal.SIG_SETMASK, self._mask)

    def _wait(self) -> None:
        """Take every signal that is sent to us; `look` reaps only what this thread has left for a while."""
        try:
            while self._status is None:
                self._take(signal.sigwaitinfo(self._watched))
        except MemoryError:
            pass  # see `look`
        finally:
            os.close(self._end)

    def _take(self, taken: signal.struct_siginfo) -> None:
        if taken.si_signo == signal.SIGCHLD:
            self._reap()
        elif taken.si_code != _FROM_KERNEL and taken.si_pid != self.pid:
            # The terminal's own signals go to the whole group: the program has had them. One that the
            # program sends to its parent is not for the program.
            os.kill(self.pid, taken.si_signo)

    def _reap(self) -> None:
        # `look` and the thread may both try: one of them has it. It is noted before the program is gone for good: where
        # memory ran out between the two, nobody could ask again.
        with contextlib.suppress(ChildProcessError):
            ended = os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            if ended is None:
                return
            if ended.si_code == os.CLD_EXITED:
                self._status = ended.si_status
            else:
                # A real-time signal has a number and no name.
                with contextlib.suppress(ValueError):
                    self._ended_by = signal.Signals(ended.si_status)
                self._status = 128 + ended.si_status
            os.waitpid(self.pid, os.WNOHANG)


def passed_on(file: str, arguments: tuple[str, ...], held: HeldSignals) -> int:
    """Run a command to its end, which a signal that is to end us ends, too; gives its status, negative for a signal.

    Raises:
        OSError: the system cannot start it.
    """
    pid = os.posix_spawn(file, arguments, os.environ, setsigmask=held.before, setsigdef=_RESTORED)
    told = False
    while True:
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        if asked_to_end() and not told:
            os.kill(pid, signal.SIGTERM)
            told = True
        time.sleep(_BETWEEN_LOOKS)
