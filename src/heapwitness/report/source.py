"""Source lines around a named line, where the source is there to be read."""

import os
import stat
from collections.abc import Iterator

from heapwitness.report.model import Frame
from heapwitness.report.text import clean

AROUND = 2

_FILE_LIMIT = 4 << 20
_LINE_LIMIT = 200


def lines(frame: Frame) -> tuple[tuple[int, str], ...]:
    """The line that a frame names and AROUND more on either side, with their numbers.

    () when the file is not there, is no regular file, is very large, or does not have the line.
    """
    if frame.file is None or frame.line is None or frame.line < 1:
        return ()
    try:
        found = tuple(_read(frame.file, frame.line - AROUND, frame.line + AROUND))
    except (OSError, ValueError):
        return ()
    return found if any(number == frame.line for number, _ in found) else ()


def _read(path: str, first: int, last: int) -> Iterator[tuple[int, str]]:
    # Not to wait for a pipe that happens to have that name.
    file = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with open(file, "rb") as stream:
        about = os.fstat(file)
        if not stat.S_ISREG(about.st_mode) or about.st_size > _FILE_LIMIT:
            return
        for number, raw in enumerate(stream, 1):
            if number > last:
                return
            if number >= first:
                text = raw[: 4 * _LINE_LIMIT].decode("utf-8", "replace").rstrip("\r\n").expandtabs(4)
                yield number, clean(text)[:_LINE_LIMIT]
