"""Source lines around a named line, where the source is there to be read."""

from collections.abc import Iterator

from heapwitness.findings.model import Frame
from heapwitness.regular import open_regular, within
from heapwitness.report.text import clean

AROUND = 2

_FILE_LIMIT = 4 << 20
_LINE_LIMIT = 200
_SECONDS = 2.0


def lines(frame: Frame) -> tuple[tuple[int, str], ...]:
    """The line that a frame names and AROUND more on either side, with their numbers.

    () when the file is not there, is no plain file, is very large, does not answer, or does not have the line.
    """
    path, line = frame.file, frame.line
    if path is None or line is None or line < 1:
        return ()
    try:
        found = within(_SECONDS, lambda: tuple(_read(path, line - AROUND, line + AROUND))) or ()
    except OSError:
        return ()
    return found if any(number == frame.line for number, _ in found) else ()


def _read(path: str, first: int, last: int) -> Iterator[tuple[int, str]]:
    with open(open_regular(path, _FILE_LIMIT), "rb") as stream:
        for number, raw in enumerate(stream, 1):
            if number > last:
                return
            if number >= first:
                text = raw[: 4 * _LINE_LIMIT].decode("utf-8", "replace").rstrip("\r\n").expandtabs(4)
                yield number, clean(text)[:_LINE_LIMIT]
