"""What Cython made of a module's source: which line of the .pyx a line of the C file came from.

With `emit_linenums` the debugging information names the .pyx itself. Without, the C file says it in a comment before
each statement, and only where that file is still there.
"""

import bisect
import functools
import os
import re

from heapwitness.regular import open_regular

_LIMIT = 64 << 20
_COMMENT = re.compile(rb'^ {0,256}[/]\* "([^"\n]{1,1024})":(\d{1,9})$', re.MULTILINE)


def source_place(file: str, line: int) -> tuple[str, int] | None:
    """The file and line that a line of a C file came from; None where the file does not say so."""
    places = _places(file)
    at = bisect.bisect_right(places, line, key=lambda place: place[0]) - 1
    return (places[at][1], places[at][2]) if at >= 0 else None


@functools.lru_cache(maxsize=16)
def _places(file: str) -> list[tuple[int, str, int]]:
    """Lines of a C file with such a comment: the line, and which one of which file it names."""
    try:
        with os.fdopen(open_regular(file, _LIMIT), "rb") as opened:
            text = opened.read(_LIMIT)
    except OSError:
        return []
    found, line, before = [], 1, 0
    for comment in _COMMENT.finditer(text):
        line += text.count(b"\n", before, comment.start())
        before = comment.start()
        named = comment[1].decode(errors="replace")
        beside = os.path.join(os.path.dirname(file), os.path.basename(named))
        found.append((line, beside if os.path.isfile(beside) else named, int(comment[2])))
    return found
