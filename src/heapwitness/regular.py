"""Files that somebody else names: only what is surely a plain file on a disk is opened, and never waited for.

A program chooses what it maps and what its debugging information names. A pipe would be waited for, a device may do
something when it is opened, and files of /proc and /sys are as long as one reads, or read this very process.
"""

import ctypes
import os
import stat
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from heapwitness.workers import NoWorker, Worker

_Result = TypeVar("_Result")

# File systems (statfs(2)) whose files the kernel makes up while they are read.
_MADE_UP = frozenset(
    {
        0x9FA0,  # proc
        0x62656572,  # sysfs
        0x62656570,  # configfs
        0x64626720,  # debugfs
        0x74726163,  # tracefs
        0x73636673,  # securityfs
        0xF97CFF8C,  # selinuxfs
        0x43415D53,  # smackfs
        0x5A3C69F0,  # apparmorfs
        0x0027E0EB,  # cgroup
        0x63677270,  # cgroup 2
        0x7655821,  # resctrl
        0xCAFE4A11,  # bpf
        0x42494E4D,  # binfmt_misc
        0x6165676C,  # pstore
        0xDE5E81E4,  # efivarfs
        0x65735543,  # fusectl
        0x6E736673,  # nsfs
        0x50494446,  # pidfs
        0x19800202,  # mqueue
        0x1CD1,  # devpts
        0x187,  # autofs
    }
)
# File systems whose files may be listed in mappings with another device and inode than stat gives them.
_OF_OTHERS = frozenset(
    {
        0x794C7630,  # overlayfs
        0x9123683E,  # btrfs
        0x2FC12FC1,  # zfs
        0xCA451A4E,  # bcachefs
        0x65735546,  # fuse
        0x61756673,  # aufs
        0xF15F,  # ecryptfs
        0x6969,  # nfs
        0xFE534D42,  # smb
        0xFF534D42,  # cifs
        0x01021997,  # 9p
    }
)
_STATFS_BYTES = 256


class NotRegular(OSError):
    """There is no plain file of that name, it is too large, or it is not the one that was mapped."""


@dataclass(frozen=True, slots=True)
class Identity:
    """A file as the kernel lists it in a mapping: device (major, minor) and inode."""

    device: tuple[int, int]
    inode: int


def open_regular(path: str, limit: int, mapped: Identity | None = None) -> int:
    """Open a plain file for reading; gives its descriptor.

    Args:
        path: from outside, absolute or not.
        limit: the most bytes that it may have.
        mapped: what the file must be.

    Raises:
        NotRegular: it is no plain file, a file that the kernel makes up, too large, or another than `mapped`.
        OSError: it cannot be opened.
    """
    try:
        # Without opening it: that alone does something to a device.
        place = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except ValueError as error:
        raise NotRegular(str(error)) from error
    try:
        about = os.fstat(place)
        kind = _file_system(place)
        if not stat.S_ISREG(about.st_mode) or kind in _MADE_UP or about.st_size > limit:
            raise NotRegular(f"{path!r} is no plain file of up to {limit} bytes")
        if mapped is not None and not _is(about, kind, mapped):
            raise NotRegular(f"{path!r} is not what was mapped")
        # The very file that was looked at. Who holds a lease on it is not waited for.
        return os.open(f"/proc/self/fd/{place}", os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    finally:
        os.close(place)


def is_made_up(file: int) -> bool:
    """Whether an open file is one that the kernel makes up while it is read."""
    return _file_system(file) in _MADE_UP


def is_plain(path: str | os.PathLike[str]) -> bool:
    """Whether a file that is there is a plain one, on a disk; it is not opened for that.

    Raises:
        OSError: it cannot be looked at.
    """
    place = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        return stat.S_ISREG(os.fstat(place).st_mode) and not is_made_up(place)
    finally:
        os.close(place)


def within(seconds: float, work: Callable[[], _Result]) -> _Result | None:
    """What `work` gives; None when it takes longer, as with a file system whose server does not answer, or when there
    can be no thread for it.

    What takes longer is left behind in its thread, and nothing else is begun until that thread has ended.

    Raises:
        Exception: what `work` raises.
    """
    global _left_behind
    if _left_behind is not None and not _left_behind.join(0):
        return None
    given: list[_Result] = []
    raised: list[Exception] = []

    def run() -> None:
        try:
            given.append(work())
        except Exception as error:  # raised again where it was asked for
            raised.append(error)

    try:
        worker = Worker(run)
    except NoWorker:
        return None
    if not worker.join(seconds):
        _left_behind = worker
        return None
    if raised:
        raise raised[0]
    return given[0] if given else None


_left_behind: Worker | None = None


def _is(about: os.stat_result, file_system: int, mapped: Identity) -> bool:
    if mapped.device == (os.major(about.st_dev), os.minor(about.st_dev)):
        return mapped.inode == about.st_ino
    return file_system in _OF_OTHERS


def _file_system(file: int) -> int:
    """The kind of file system on which an open file lies; -1 when the kernel does not say."""
    about = (ctypes.c_ulong * (_STATFS_BYTES // ctypes.sizeof(ctypes.c_ulong)))()
    if ctypes.CDLL(None).fstatfs(file, about) != 0:
        return -1
    return int(about[0]) & 0xFFFFFFFF
