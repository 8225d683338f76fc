"""Files that the user names: read and written whatever they are, but a pipe that has nobody at its other end is not
waited for without end, and what the kernel makes up without knowing how long it is (`/proc/kmsg` never ends) is not
read."""

import errno
import os
import select
import stat
import time
from os import PathLike
from typing import BinaryIO

_PATIENCE = 10.0
"""Seconds in which somebody may come to a pipe's other end."""

_BETWEEN_TRIES = 0.05
_LONGEST = 1 << 46
"""Bytes: /proc/kcore is said to have twice as many."""


def _is_made_up(file: int, about: os.stat_result) -> bool:
    """Whether what is read is made up: then the kernel tells no length, or one that no disk has."""
    if not stat.S_ISREG(about.st_mode) or 0 < about.st_size < _LONGEST:
        return False
    from heapwitness.regular import is_made_up  # a run that reads none such goes without

    return is_made_up(file)


def reading(path: str | PathLike[str]) -> BinaryIO:
    """Open a file to be read.

    Raises:
        OSError: it cannot be opened, is a pipe to which nobody writes, or is made up by the kernel.
        ValueError: it is no name of a file.
    """
    file = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    try:
        about = os.fstat(file)
        kind = about.st_mode
        if stat.S_ISDIR(kind):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        if _is_made_up(file, about):
            raise OSError(errno.EINVAL, "the kernel makes it up while it is read; copy what matters into a file")
        if stat.S_ISFIFO(kind):
            there = select.poll()
            there.register(file, select.POLLIN)
            if not there.poll(_PATIENCE * 1000):
                raise OSError(errno.EAGAIN, "it is a pipe, and nobody writes to it")
        os.set_blocking(file, True)
        return open(file, "rb")
    except BaseException:
        os.close(file)
        raise


def writing(path: str | PathLike[str], more: int = 0) -> int:
    """Open a file to be written; gives its descriptor.

    Args:
        more: further flags of open(2).

    Raises:
        OSError: it cannot be opened, or is a pipe from which nobody reads.
    """
    until = time.monotonic() + _PATIENCE
    while True:
        try:
            file = os.open(path, os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC | more, 0o666)
        except OSError as error:
            if error.errno != errno.ENXIO or not stat.S_ISFIFO(os.stat(path).st_mode):
                raise
            if time.monotonic() > until:
                raise OSError(errno.ENXIO, "it is a pipe, and nobody reads from it") from error
            time.sleep(_BETWEEN_TRIES)
        else:
            os.set_blocking(file, True)
            return file
