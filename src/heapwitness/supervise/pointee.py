"""Where a released pointer leads that is no block of this heap: a thread's stack, a file, memory of others.

Only what the waiting process alone can tell. Which variable of a module it is, is found out with the
symbols (`symbols`), when the process has gone on.
"""

import contextlib
import os
import re
from pathlib import Path
from typing import NamedTuple

from heapwitness.findings.model import Place
from heapwitness.symbols.maps import Mapping, parse_maps

_THREADS_LIMIT = 1024
_TEXT_LIMIT = 4096
_ALLOCATORS = re.compile(r"/lib(je|tc|mi|ts|scudo|rp|hoard|snmalloc|mimalloc|tcmalloc|jemalloc)[^/]{0,255}\.so")
_MAIN_STACK = "[stack]"
_BREAK = "[heap]"
_SHARED_MEMORY = "/dev/zero"
"""What shared memory without a file is listed as."""


class _StackOwner(NamedTuple):
    """A thread: its id as its own process knows it, its name, and its stack pointer, 0 where it runs just now."""

    tid: int
    name: str
    stack: int


def pointee(pointer: int, maps: str, pid: int = 0, teller: tuple[int, int] = (0, 0)) -> Place:
    """Where a pointer leads that is in no heap.

    Args:
        maps: text of the process's whole /proc/PID/maps.
        pid: of the process while it waits; 0 for one that is only known by its record.
        teller: the thread that waits, and an address in its stack: it may be on another one just now.
    """
    mappings = parse_maps(maps, unnamed=True)
    mapping = next((one for one in mappings if one.start <= pointer < one.end), None)
    if mapping is None:
        return Place(kind="unmapped")
    if mapping.path == _MAIN_STACK:
        main = _thread(pid, pid) if pid else None
        return Place(kind="stack", thread=main.tid if main else 0, thread_name=main.name if main else "")
    if mapping.path.startswith("/") and mapping.path != _SHARED_MEMORY:
        return Place(kind="file", module=mapping.path)
    owner = _owner(pointer, mapping, mappings, pid, teller)
    if owner is not None:
        return Place(kind="stack", thread=owner.tid, thread_name=owner.name)
    others = sorted({one.path for one in mappings if _ALLOCATORS.search(one.path)})
    return Place(kind="break" if mapping.path == _BREAK else "mapped", module=others[0] if len(others) == 1 else None)


def _owner(
    pointer: int, mapping: Mapping, mappings: tuple[Mapping, ...], pid: int, teller: tuple[int, int]
) -> _StackOwner | None:
    """The thread whose stack holds a pointer: it has its stack pointer in the same mapping, which has a guard below
    it and may have grown together with what was mapped above the stack."""
    guarded = any(one.end == mapping.start and not one.accessible for one in mappings)
    if not pid or not guarded or pointer >= mapping.start + _stack_limit(pid):
        return None
    tid, frame = teller
    threads = [one._replace(stack=frame) if frame and one.tid == tid else one for one in _threads(pid)]
    here = [one for one in threads if mapping.start <= one.stack < mapping.end]
    return min(here, key=lambda one: (one.stack > pointer, abs(one.stack - pointer)), default=None)


def _stack_limit(pid: int) -> int:
    """The size in bytes of a stack that a thread gets when it asks for none, 2 MiB where there is no limit."""
    match = re.search(r"^Max stack size +(\d+)", _text(f"/proc/{pid:d}/limits"), re.MULTILINE)
    return int(match[1]) if match else 2 << 20


def _threads(pid: int) -> list[_StackOwner]:
    found: list[_StackOwner] = []
    with contextlib.suppress(OSError), os.scandir(f"/proc/{pid:d}/task") as entries:
        for entry in entries:
            if entry.name.isdecimal() and (one := _thread(pid, int(entry.name))) is not None:
                found.append(one)
            if len(found) == _THREADS_LIMIT:
                break
    return found


def _thread(pid: int, tid: int) -> _StackOwner | None:
    task = f"/proc/{pid:d}/task/{tid:d}"
    inside = re.search(r"^NSpid:.*?(\d+)$", _text(f"{task}/status"), re.MULTILINE)
    if inside is None:
        return None
    # "NUMBER ARGUMENTS... STACK PC", "-1 STACK PC", or "running".
    words = _text(f"{task}/syscall").split()
    stack = int(words[-2], 16) if len(words) >= 3 else 0
    return _StackOwner(int(inside[1]), _text(f"{task}/comm").rstrip("\n"), stack)


def _text(path: str) -> str:
    try:
        with Path(path).open("rb") as stream:
            return stream.read(_TEXT_LIMIT).decode("utf-8", "replace")
    except OSError:
        return ""
