"""When a mismatched release can be believed.

A module that was linked with a C++ runtime of its own (`-static-libstdc++`) has operators new and delete
that call malloc and free. Where it hands objects to others, a block made by one family is rightly released by
the other. Which call was such an operator cannot be seen in a stripped file, so with a module of that kind in
the process only new against new[] is told.
"""

import functools
import mmap
import re

from heapwitness.layout.events import Event, Reason
from heapwitness.layout.witness import Origin
from heapwitness.report.model import Finding

_FILE_LIMIT = 1 << 30
_FILES_LIMIT = 4096
_EXECUTABLE = re.compile(r"^\S+ ..x. .* (/.+)$", re.MULTILINE)
# The name of what operator new throws is in each file that defines it, and in no other of importance.
_THROWN = b"St9bad_alloc\0"
_RUNTIMES = re.compile(rb"lib(std)?c\+\+")


def believable(finding: Finding, event: Event, maps: str) -> bool:
    """Whether a finding stands, given what its process has mapped (text of /proc/PID/maps)."""
    if event.reason is not Reason.MISMATCH or finding.culprit is None:
        return True
    if event.family in (Origin.NEW, Origin.NEW_ARRAY) and finding.culprit.origin in ("new", "new[]"):
        return True
    paths = list(dict.fromkeys(_EXECUTABLE.findall(maps)))[:_FILES_LIMIT]
    return not any(_has_own_runtime(path) for path in paths)


@functools.lru_cache(maxsize=_FILES_LIMIT)
def _has_own_runtime(path: str) -> bool:
    """Whether a file defines operator new without being, or being linked with, the shared C++ library."""
    if _RUNTIMES.search(path.rsplit("/", 1)[-1].encode("utf-8", "surrogateescape")):
        return False
    try:
        with open(path, "rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as content:
            if len(content) > _FILE_LIMIT or content.find(_THROWN) < 0:
                return False
            return content.find(b"libstdc++.so.") < 0 and content.find(b"libc++.so.") < 0
    except (OSError, ValueError):
        return False
