"""Files that are written whole: they have either all of it or what they had before."""

import contextlib
import errno
import os
import stat
from pathlib import Path

from heapwitness.named import writing

_LINKS_LIMIT = 40


def write_whole(path: Path, data: bytes) -> None:
    """Write a file, beside its place and renamed; what a device or pipe is, is written as it is.

    A link is followed, but in a directory of everybody not one that somebody else laid. A file that is
    replaced keeps its mode, and its owner where that is allowed.

    Raises:
        OSError: it cannot be written; the file is as it was.
    """
    target = where(path)
    before = _status(target)
    if before is not None and not stat.S_ISREG(before.st_mode):
        with open(writing(target, os.O_CREAT | os.O_TRUNC), "wb") as stream:
            stream.write(data)
        return
    beside = target.with_name(f".{target.name[:64]}.{os.urandom(4).hex()}.part")
    try:
        with open(beside, "xb") as stream:
            stream.write(data)
            if before is not None:
                with contextlib.suppress(OSError):
                    os.fchown(stream.fileno(), before.st_uid, before.st_gid)
                os.fchmod(stream.fileno(), stat.S_IMODE(before.st_mode))
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(beside, target)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(beside)
        raise


def where(path: Path) -> Path:
    """Where a path leads in the end.

    Raises:
        OSError: in a directory of everybody it is a link that another user laid, or links go round in circles.
    """
    for _ in range(_LINKS_LIMIT):
        directory = Path(os.path.realpath(path.parent))
        place = directory / path.name
        try:
            path = directory / os.readlink(place)
        except OSError:  # no link: what comes to stand there from now on is replaced, not followed
            return place
        _refuse_link(place, directory)
    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))


def _refuse_link(link: Path, directory: Path) -> None:
    """As the kernel does with fs.protected_symlinks, whether that is set or not."""
    around, owner = os.stat(directory), os.lstat(link).st_uid
    for_everybody = around.st_mode & stat.S_ISVTX and around.st_mode & stat.S_IWOTH
    if for_everybody and owner not in (os.geteuid(), around.st_uid):
        raise PermissionError(errno.EACCES, "another user laid a link there, in a directory of everybody")


def _status(target: Path) -> os.stat_result | None:
    try:
        return os.lstat(target)
    except FileNotFoundError:
        return None
