"""Files of which processes run code, and those among them that bring a heap of their own.

A shared library that is an allocator gives way to the engine, as it gives way to any other that is preloaded. One that
is linked into a program or a library under names of its own does not, and what it hands out is not seen.
"""

import contextlib
import functools
import os
import re
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

from heapwitness.supervise.elf import DamagedElf, defines, mentions, read_head

if TYPE_CHECKING:
    from heapwitness.regular import Identity

FILES_LIMIT = 4096
SECONDS = 0.5
"""Time for looking into files, at the end of a run."""

_ANSWER_SECONDS = 2.0
"""Time for one of them, on a file system that may not answer."""

_SHEBANG = 256
_FILE_LIMIT = 2 << 30
_MAPS_LIMIT = 8 << 20
_PROCESSES_LIMIT = 1 << 12
_AT_ONCE = 8
_ENDS_LIMIT = 64
_SYSTEM = ("/lib", "/usr/lib", "[", "/memfd:", "/dev/")
# Each says this before its messages, in all builds and whatever its functions are called.
_MARKS = {"jemalloc": b"<jemalloc>: ", "mimalloc": b"mimalloc: ", "tcmalloc": b"tcmalloc: "}


def is_python(maps: str) -> bool:
    """Whether a process has a Python interpreter loaded, by the text of its /proc/PID/maps."""
    pattern = re.compile(r"/(lib)?python[23](\.\d{1,4}){0,4}[a-z]{0,8}(\.so[.\d]{0,16})?( \(deleted\))?$", re.MULTILINE)
    return pattern.search(maps) is not None


def is_there(file: str) -> bool:
    """Whether there is a program of that path, or name in PATH; no where its file system does not answer."""
    from heapwitness.regular import within

    return within(_ANSWER_SECONDS, functools.partial(shutil.which, file)) is not None


def is_python_program(file: str) -> bool:
    """Whether a file that is there is a Python interpreter, or a script for one; `file`: a path, or a name in PATH."""
    from heapwitness.regular import within

    path = file if "/" in file else shutil.which(file)
    try:
        return path is not None and bool(within(_ANSWER_SECONDS, functools.partial(_runs_python, path)))
    except OSError:
        return False


def is_static_program(file: str) -> bool:
    """Whether a file that is there is a program that needs no dynamic linker; `file`: a path, or a name in PATH."""
    from heapwitness.regular import within

    path = file if "/" in file else shutil.which(file)
    try:
        head = within(_ANSWER_SECONDS, functools.partial(read_head, path)) if path is not None else None
    except (DamagedElf, OSError):
        return False
    return head is not None and head.program and not head.interpreter


def _runs_python(path: str) -> bool:
    from heapwitness.regular import open_regular

    if os.path.isfile(path) and is_python(os.path.realpath(path)):
        return True
    with open(open_regular(path, _FILE_LIMIT), "rb") as stream:
        start = stream.read(_SHEBANG)
    return start.startswith(b"#!") and b"python" in start.splitlines()[0]


class LoadedFiles:
    """Collects the files while processes run: most processes are looked at soon, and then ever more seldom."""

    def __init__(self) -> None:
        # By what the kernel lists: the line of it.
        self._lines: dict[str, str] = {}
        # By pid: in how many turns, and how many were waited before.
        self._due: dict[int, tuple[int, int]] = {}
        self._ends = 0

    def look(self, running: Iterable[int]) -> None:
        """Note what some of these processes have mapped now."""
        looked = 0
        for pid in running:
            wait, before = self._due.get(pid, (0, 0))
            if wait > 0 or looked >= _AT_ONCE:
                self._due[pid] = (max(wait - 1, 0), before)
                continue
            if len(self._due) >= _PROCESSES_LIMIT:
                self._due.pop(next(iter(self._due)))
            self._due[pid] = (before * 2, max(before * 2, 1))
            looked += 1
            self._read(pid)

    def look_last(self, pid: int) -> None:
        """Note what a process has mapped that says that it ends, of the first ones; it may be gone by now."""
        if self._ends < _ENDS_LIMIT:
            self._ends += 1
            self._read(pid)

    def _read(self, pid: int) -> None:
        with contextlib.suppress(OSError), open(f"/proc/{pid:d}/maps", "rb") as stream:
            self.take(stream.read(_MAPS_LIMIT).decode("utf-8", "surrogateescape"))

    def take(self, maps: str) -> None:
        """Note what a text of mappings names."""
        for line in maps.split("\n"):
            fields = line.split(" ", 5)
            name = fields[5].lstrip(" ") if len(fields) == 6 and "x" in fields[1] else ""
            if name.startswith("/") and not name.startswith(_SYSTEM):
                if len(self._lines) >= FILES_LIMIT:
                    return
                self._lines[name] = line

    def files(self, but: str | None = None) -> "dict[str, Identity]":
        """What the files may be called, and what a file of that name must be; in order of their names.

        Args:
            but: one that is left out.
        """
        lines = [line for name, line in sorted(self._lines.items()) if name != but]
        if not lines:
            return {}
        from heapwitness.symbols.maps import parse_maps

        return {name: mapping.identity for line in lines for mapping in parse_maps(line) for name in mapping.names()}


def private_heaps(files: "Mapping[str, Identity | None]") -> Iterator[tuple[str, tuple[str, ...]]]:
    """Those of the files that have an allocator in them, with its names; as far as the time goes.

    CPython has one, too, which PYTHONMALLOC turns off.

    Args:
        files: what they are called, and what each must be where a process has mapped it.
    """
    until = time.monotonic() + SECONDS
    for file, identity in files.items():
        if time.monotonic() > until:
            return
        if os.path.basename(file).startswith(tuple(f"lib{name}" for name in _MARKS)):
            continue
        found = _heaps_in(functools.partial(str, file)) if identity is None else _mapped_heaps(file, identity)
        if found:
            yield file, tuple(sorted(found))


def _mapped_heaps(file: str, identity: "Identity") -> frozenset[str]:
    from heapwitness.regular import open_regular, within

    opening = functools.partial(open_regular, file, _FILE_LIMIT, identity)
    try:
        return within(_ANSWER_SECONDS, lambda: _heaps_in(opening)) or frozenset()
    except OSError:
        return frozenset()


def _heaps_in(opening: Callable[[], str | int]) -> frozenset[str]:
    found = mentions(opening(), _MARKS)
    return frozenset() if found == {"mimalloc"} and defines(opening(), ("Py_BytesMain",)) else found
