"""The file for records when nobody answers: the user's, or one of our own that is read at the end."""

import errno
import os
import stat
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, NamedTuple, Self

from heapwitness.supervise import places
from heapwitness.supervise.limits import is_kept
from heapwitness.supervise.places import LockedDirectory


class Log(NamedTuple):
    """Where engines write records. A context manager: what is our own is removed.

    `start` is its length before the run; `kept`: the user asked for it.
    """

    path: Path
    start: int
    kept: bool
    own_directory: LockedDirectory | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.own_directory is not None and not is_kept(value, self.own_directory.path):
            self.own_directory.remove()


def open_log(asked: Path | None, directory: Path) -> Log:
    """The log of a run.

    Processes that give up root can enter no directory of root's. For them the file lies in one that can be
    passed through but not listed, under a name that only the run's processes are told.

    Args:
        asked: the user's file.
        directory: a private one that may hold the log.
    """
    if asked is not None:
        path = Path(os.path.realpath(asked))  # engines follow no link
        return Log(path, path.stat().st_size if path.exists() else 0, kept=True)
    if os.geteuid() != 0:
        return Log(directory / "log", 0, kept=False)
    passage = places.make(f"{places.PREFIX}log-")
    passage.path.chmod(0o711)
    path = passage.path / os.urandom(16).hex()
    path.touch()
    # Everybody of the run may add to it, nobody else read it.
    path.chmod(0o622)
    return Log(path, 0, kept=False, own_directory=passage)


def open_log_to_read(path: Path) -> BinaryIO:
    """Open a log as it is after a run: the program may have put anything in its place.

    Raises:
        OSError: it is no plain file, or cannot be opened.
    """
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
    # Nothing but a plain file is opened: that alone does something to a device.
    file = os.open(path, flags) if stat.S_ISREG(os.lstat(path).st_mode) else None
    if file is None or not stat.S_ISREG(os.fstat(file).st_mode):
        raise OSError(errno.EINVAL, "something that is no plain file stands in its place")
    return open(file, "rb")
