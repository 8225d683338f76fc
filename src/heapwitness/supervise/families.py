"""When a mismatched release can be believed.

A module that was linked with a C++ runtime of its own (`-static-libstdc++`) has operators new and delete
that call malloc and free. Where it hands objects to others, a block made by one family is rightly released by
the other. Which call was such an operator cannot be seen in a stripped file, so with a module of that kind in
the process only new against new[] is told.
"""

import functools
import re
import time

from heapwitness.findings.model import Finding
from heapwitness.layout.events import Event, Reason
from heapwitness.layout.witness import Domain, Origin
from heapwitness.regular import Identity, open_regular, within
from heapwitness.symbols.maps import parse_maps

_FILE_LIMIT = 512 << 20
_FILES_LIMIT = 4096
_SECONDS = 3.0
_CHUNK = 4 << 20
# The name of what operator new throws is in each file that defines it, and in no other of importance.
_NAMES = (b"St9bad_alloc\0", b"libstdc++.so.", b"libc++.so.")
_LONGEST = max(map(len, _NAMES))
_RUNTIMES = re.compile(rb"lib(std)?c\+\+")


def believable(finding: Finding, event: Event, maps: str) -> bool:
    """Whether a finding stands, given what its process has mapped (text of /proc/PID/maps)."""
    if event.reason is not Reason.MISMATCH or finding.culprit is None:
        return True
    if event.family in (Origin.NEW, Origin.NEW_ARRAY) and finding.culprit.origin in ("new", "new[]"):
        return True
    if event.domain is not Domain.NONE or finding.culprit.domain is not None:
        return True  # the allocator's own word
    until = time.monotonic() + _SECONDS
    files = [(one.path, one.identity) for one in parse_maps(maps) if one.executable and one.path.startswith("/")]
    for path, identity in dict.fromkeys(files):
        left = until - time.monotonic()
        # What is not known in time is no proof; what was read is known the next time.
        if left <= 0 or within(left, functools.partial(_has_own_runtime, path, identity)) is not False:
            return False
    return True


@functools.lru_cache(maxsize=_FILES_LIMIT)
def _has_own_runtime(path: str, identity: Identity) -> bool:
    """Whether a file defines operator new without being, or being linked with, the shared C++ library."""
    if _RUNTIMES.search(path.rsplit("/", 1)[-1].encode("utf-8", "surrogateescape")):
        return False
    names = [False, False, False]
    try:
        # Not mapped: a file may be cut short meanwhile.
        with open(open_regular(path, _FILE_LIMIT, identity), "rb") as stream:
            before = b""
            while part := stream.read(_CHUNK):
                data = before + part
                names = [found or data.find(name) >= 0 for found, name in zip(names, _NAMES, strict=True)]
                before = part[-_LONGEST:]
    except OSError:
        return False
    return names == [True, False, False]
