"""When a mismatched release can be believed.

A module that was linked with a C++ runtime of its own (`-static-libstdc++`) has operators new and delete
that call malloc and free. Where it hands objects to others, a block made by one family is rightly released by
the other. Which call was such an operator cannot be seen in a stripped file, so with a module of that kind in
the process only new against new[] is told.
"""

import functools
import re
import struct
import time
from collections.abc import Iterable, Iterator

from heapwitness.findings.model import Finding
from heapwitness.layout.events import Event, Reason
from heapwitness.layout.witness import Domain, Origin
from heapwitness.memory import Memory, Unreadable
from heapwitness.regular import Identity, open_regular, within
from heapwitness.symbols.maps import Mapping, parse_maps

_FILE_LIMIT = 512 << 20
_MAPPED_LIMIT = 256 << 20
_FILES_LIMIT = 4096
_SECONDS = 3.0
_CHUNK = 4 << 20
_SEGMENTS_LIMIT = 64
_LOAD = 1
# Of a file's header its magic and class, and where the table of segments is; of a segment its type, place in the file,
# address, and bytes from the file.
_ELF = struct.Struct("<5s27xQ14xHH6x")
_SEGMENT = struct.Struct("<I4xQQ8xQ16x")
# The name of what operator new throws is in each file that defines it, and in no other of importance.
_NAMES = (b"St9bad_alloc\0", b"libstdc++.so.", b"libc++.so.")
_LONGEST = max(map(len, _NAMES))
_RUNTIMES = re.compile(rb"lib(std)?c\+\+")


def believable(finding: Finding, event: Event, maps: str, memory: Memory) -> bool:
    """Whether a finding stands, given what its process has mapped (text of /proc/PID/maps) and what lies there."""
    if event.reason is not Reason.MISMATCH or finding.culprit is None:
        return True
    if event.family in (Origin.NEW, Origin.NEW_ARRAY) and finding.culprit.origin in ("new", "new[]"):
        return True
    if event.domain is not Domain.NONE or finding.culprit.domain is not None:
        return True  # the allocator's own word
    until = time.monotonic() + _SECONDS
    mapped = [one for one in parse_maps(maps) if one.executable and one.path.startswith("/")]
    for path, identity in dict.fromkeys((one.path, one.identity) for one in mapped):
        left = until - time.monotonic()
        if left <= 0:
            return False  # what is not known in time is no proof; what was read is known the next time
        try:
            has_own = within(left, functools.partial(_has_own_runtime, path, identity))
        except OSError:
            # It is gone, or nobody may read it.
            has_own = _is_own_runtime(path, _read_loaded(memory, next(one for one in mapped if one.path == path)))
        if has_own is not False:
            return False
    return True


@functools.lru_cache(maxsize=_FILES_LIMIT)
def _has_own_runtime(path: str, identity: Identity) -> bool:
    """Whether a file defines operator new without being, or being linked with, the shared C++ library.

    Raises:
        OSError: it cannot be read.
    """
    # Not mapped: a file may be cut short meanwhile.
    with open(open_regular(path, _FILE_LIMIT, identity), "rb") as stream:
        return _is_own_runtime(path, iter(functools.partial(stream.read, _CHUNK), b""))


def _is_own_runtime(path: str, parts: Iterable[bytes]) -> bool:
    if _RUNTIMES.search(path.rsplit("/", 1)[-1].encode("utf-8", "surrogateescape")):
        return False
    names = [False, False, False]
    before = b""
    for part in parts:
        data = before + part
        names = [found or data.find(name) >= 0 for found, name in zip(names, _NAMES, strict=True)]
        before = part[-_LONGEST:]
    return names == [True, False, False]


def _read_loaded(memory: Memory, code: Mapping) -> Iterator[bytes]:
    """The segments of a 64-bit ELF file as they were loaded, found by the headers before its code."""
    left = _MAPPED_LIMIT
    try:
        base = code.start - code.offset
        magic, table, entry, count = _ELF.unpack(memory.read(base, _ELF.size))
        if magic != b"\x7fELF\2" or entry != _SEGMENT.size:
            return
        loads = [
            one
            for one in _SEGMENT.iter_unpack(memory.read(base + table, entry * min(count, _SEGMENTS_LIMIT)))
            if one[0] == 1
        ]
        shift = base - next((address for _, offset, address, _ in loads if offset == 0), 0)
        for _, _, address, size in loads:
            for at in range(0, size, _CHUNK):
                length = min(_CHUNK, size - at)
                left -= length
                if left < 0:
                    return
                yield memory.read(shift + address + at, length)
    except Unreadable:
        return
