"""What this process may use, which any program of the same user can lower (`prlimit`): put back, or told.

A lowered soft limit is put back, and a hard one where we may. Where we may not, what is needed may not be had from then
on: no descriptor, no memory that is not ours yet, no thread. Then whatever fails is told as that, in one sentence.
"""

import contextlib
import errno
import resource
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

from heapwitness.errors import HeapwitnessError

_Result = TypeVar("_Result")

_NAMES = {
    resource.RLIMIT_NOFILE: "open files (RLIMIT_NOFILE)",
    resource.RLIMIT_NPROC: "processes (RLIMIT_NPROC)",
    resource.RLIMIT_AS: "address space (RLIMIT_AS)",
    resource.RLIMIT_DATA: "data (RLIMIT_DATA)",
    resource.RLIMIT_STACK: "the stack (RLIMIT_STACK)",
    resource.RLIMIT_CPU: "processor time (RLIMIT_CPU)",
    resource.RLIMIT_FSIZE: "the size of files (RLIMIT_FSIZE)",
}
_WANTS = (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN)
_RESERVE = 32 << 20
"""Bytes of address space that are ours beforehand: the most that the C library's malloc takes from its heap."""


class OutOfMeans(HeapwitnessError):
    """This process's limits were lowered, and so it could not do its work; `kept` is a file that has what it missed."""

    def __init__(self, sentence: str, kept: Path | None = None) -> None:
        super().__init__(sentence)
        self.kept = kept


def is_kept(error: BaseException | None, directory: Path) -> bool:
    """Whether an error says that a file in the directory has what was missed."""
    return isinstance(error, OutOfMeans) and error.kept is not None and error.kept.parent == directory


def is_want(error: BaseException) -> bool:
    """Whether an error says that there are no descriptors, no memory or no threads left."""
    if isinstance(error, OSError):
        return error.errno in _WANTS
    return isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and "new thread" in str(error))


class OwnLimits:
    """The limits of this process as they are now, to be held."""

    def __init__(self) -> None:
        self._before = {which: resource.getrlimit(which) for which in _NAMES}
        self._lowest: dict[int, int] = {}
        _have_room()

    def put_back(self) -> None:
        """Undo what was lowered, as far as we may."""
        for which, before in self._before.items():
            now = resource.getrlimit(which)
            if now == before:
                continue
            if _least(now[0], before[0]) != before[0]:
                self._lowest[which] = _least(now[0], self._lowest.get(which, now[0]))
            for soft, hard in (before, (_least(before[0], now[1]), now[1])):
                with contextlib.suppress(OSError, ValueError):
                    resource.setrlimit(which, (soft, hard))
                    break

    def retried(self, work: Callable[[], _Result]) -> _Result:
        """What `work` gives, which fails only once for what can be put back."""
        try:
            return work()
        except (OSError, ImportError, MemoryError):
            self.put_back()
            return work()

    def out_of_means(self, error: Exception, kept: Path | None = None) -> OutOfMeans | None:
        """What to raise in the place of an error that comes of lowered or low limits; None if it does not.

        Args:
            kept: see `OutOfMeans`.
        """
        self.put_back()
        if isinstance(error, HeapwitnessError) or not (self._lowest or is_want(error)):
            return None
        why = str(error) or type(error).__name__
        lowered = " and ".join(f"{_NAMES[one]} was lowered to {least:,}" for one, least in self._lowest.items())
        how = f"heapwitness's own limit on {lowered} from outside" if lowered else "heapwitness lacked what it needs"
        where = f"; `heapwitness report {_quoted(str(kept))}` shows what is not shown here" if kept else ""
        return OutOfMeans(f"the findings of this run may not all be shown, since {how} ({why}){where}.", kept)

    @contextlib.contextmanager
    def telling(self) -> Iterator[None]:
        """Whatever fails while they are lowered is an `OutOfMeans`."""
        try:
            yield
        except Exception as error:
            told = self.out_of_means(error)
            if told is None:
                raise
            raise told from error


def _quoted(path: str) -> str:
    """A path as a shell takes it; nothing can be loaded for that any more."""
    return "'" + path.replace("'", "'\\''") + "'"


def _least(one: int, other: int) -> int:
    """The lower of two limits."""
    unlimited = resource.RLIM_INFINITY
    return other if one == unlimited else one if other == unlimited else min(one, other)


def _have_room() -> None:
    """Have the heap's free end grow by a stretch that costs no memory until it is used.

    A block that was mapped and is released makes malloc take blocks of its size from the heap from then on, and keep
    what is released at the heap's end; so the second one stays. Python's own allocator asks malloc when it may not map.
    """
    for size in (_RESERVE - (64 << 10), _RESERVE - (1 << 20)):
        bytes(size)
