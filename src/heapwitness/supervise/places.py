"""Directories of a run's own in the place for temporary files; those of runs that were killed are removed by the next.

A run that is killed removes nothing. So each directory holds a file that its run keeps locked: whose lock can be had
is nobody's any more. Directories of other users, or without such a file, are left alone, and so is what a program wrote
down of its findings after its run was killed, for a week.
"""

import contextlib
import errno
import fcntl
import os
import stat
import time
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from heapwitness.errors import HeapwitnessError
from heapwitness.layout.decode import has_findings

PREFIX = "heapwitness-"
LOOKED_AT_LIMIT = 10_000
"""Names in the place for temporary files that are looked at."""

_LOCK = "lock"
_VARIABLES = ("TMPDIR", "TEMP", "TMP")
_USUAL = ("/tmp", "/var/tmp")
"""The first of them is short."""

_TRIES = 16
_UNREAD_FOR = 7 * 24 * 3600
_FILES_LIMIT = 16


class LockedDirectory(NamedTuple):
    """A directory of mode 0700, and the descriptor that keeps it locked."""

    path: Path
    lock: int

    def remove(self) -> None:
        """Remove the directory with everything in it."""
        _remove(self.path)
        with contextlib.suppress(OSError):
            os.close(self.lock)


def make(prefix: str = PREFIX, longest: int = 4096) -> LockedDirectory:
    """A fresh directory; its path has at most `longest` bytes where that is possible.

    Raises:
        HeapwitnessError: none can be made.
    """
    try:
        for _ in range(_TRIES):
            path = _fresh(prefix, _temporary())
            if len(os.fsencode(path)) > longest:
                path.rmdir()
                path = _fresh(prefix, _USUAL[:1])
            lock = os.open(path / _LOCK, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o600)
            # Another run that sweeps may have been faster.
            with contextlib.suppress(OSError):
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if os.path.samestat(os.fstat(lock), os.stat(path / _LOCK)):
                    return LockedDirectory(path, lock)
            os.close(lock)
    except OSError as error:
        raise HeapwitnessError(f"no temporary directory can be made: {error.strerror}.") from error
    raise HeapwitnessError("no temporary directory can be made: others remove them.")


def sweep() -> int:
    """Remove the directories of this user's runs that were killed; how many there were."""
    swept = 0
    for directory in _temporary():
        with contextlib.suppress(OSError):
            with os.scandir(directory) as entries:
                few = zip(entries, range(LOOKED_AT_LIMIT), strict=False)
                names = [entry.path for entry, _ in few if _may_be_ours(entry)]
            for name in names:
                with contextlib.suppress(OSError):
                    swept += _swept(name)
    return swept


def _temporary() -> Iterable[str]:
    """The places for temporary files, the preferred first."""
    asked = (os.environ.get(name) for name in _VARIABLES)
    return dict.fromkeys([*(os.path.abspath(one) for one in asked if one), *_USUAL])


def _fresh(prefix: str, places: Iterable[str]) -> Path:
    """A new directory in the first of the places where there can be one.

    Raises:
        OSError: as the first place says, when there can be one in none.
    """
    refused: OSError | None = None
    for place in places:
        path = Path(place, f"{prefix}{os.urandom(6).hex()}")
        try:
            path.mkdir(0o700)
            return path
        except OSError as error:
            refused = refused or error
    raise refused or FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))


def _remove(directory: Path) -> None:
    """Remove a directory with everything in it, as far as that can be done."""
    try:
        for name in os.listdir(directory):
            os.unlink(directory / name)
        os.rmdir(directory)
    except OSError:  # one that has directories in it, as no run makes them
        # Without descriptors nothing of this can be done; it is left to the next run.
        with contextlib.suppress(OSError, ImportError):
            import shutil

            shutil.rmtree(directory, ignore_errors=True)


def _may_be_ours(entry: "os.DirEntry[str]") -> bool:
    return entry.name.startswith(PREFIX) and entry.is_dir(follow_symlinks=False)


def _swept(path: str) -> bool:
    directory = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        if os.fstat(directory).st_uid != os.geteuid():
            return False
        lock = os.open(_LOCK, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=directory)
        try:
            about = os.fstat(lock)
            if not stat.S_ISREG(about.st_mode) or about.st_uid != os.geteuid():
                return False
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if any(_is_unread(name, directory) for name in os.listdir(directory)[:_FILES_LIMIT]):
                return False
            _remove(Path(path))
            return True
        finally:
            os.close(lock)
    finally:
        os.close(directory)


def _is_unread(name: str, directory: int) -> bool:
    """Whether a file is a record with findings that a program added to it not long ago."""
    about = os.stat(name, dir_fd=directory, follow_symlinks=False)
    if not stat.S_ISREG(about.st_mode) or not about.st_size or time.time() - about.st_mtime > _UNREAD_FOR:
        return False
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    with open(os.open(name, flags, dir_fd=directory), "rb") as stream:
        return has_findings(stream)
