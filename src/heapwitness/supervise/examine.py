"""From one event of a waiting thread to findings, with everything read that is gone once the thread goes on."""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from heapwitness.errors import HeapwitnessError
from heapwitness.findings.model import Crash, Finding, Place
from heapwitness.layout.events import CrashWords, Event
from heapwitness.layout.reasons import detection_of, kind_of
from heapwitness.supervise.families import believable
from heapwitness.supervise.kept import with_doubt
from heapwitness.supervise.modules import is_python
from heapwitness.supervise.pointee import pointee
from heapwitness.supervise.python_stack import PythonFrame, PythonStacks
from heapwitness.symbols.compiled import CompiledCode
from heapwitness.symbols.maps import code_lines

if TYPE_CHECKING:
    from heapwitness.diagnose import Caught
    from heapwitness.memory import Memory, ProcessMemory

_MAPS_LIMIT = 8 << 20
CODE_LIMIT = 1 << 20
_ASKED_LIMIT = 64
"""Stores to watched bytes for which an interpreter is read, which takes a while."""
_TEXTS_LIMIT = 128 << 20
"""Bytes of mappings, of all findings together, that are kept until their stacks have names."""


@dataclass(frozen=True, slots=True)
class Examined:
    """Findings, or a crash, whose frames are bare addresses, and what names them: `maps` and the thread's `python`
    frames. Where it runs no Python, `beside` are those of the main thread.

    `program` tells apart the programs in which an address means different things.
    """

    findings: tuple[Finding, ...]
    maps: str
    program: str
    python: tuple[PythonFrame, ...] = ()
    beside: tuple[PythonFrame, ...] = ()
    crash: Crash | None = None


class Examiner:
    """Looks into processes; the Python frames' reader is kept between findings."""

    def __init__(self) -> None:
        self._stacks = PythonStacks()
        self._compiled = CompiledCode()
        self._maps = ""
        self._kept = 0
        self._asked = 0

    def examine(self, event: Event, pid: int) -> Examined | None:
        """Diagnose a finding's event while its thread waits.

        What cannot be diagnosed is a finding that says what is known, and why no more is.

        Args:
            event: of type finding.
            pid: its process as seen from here.

        Returns:
            None when the process may not be looked into.
        """
        memory = _open(pid)
        if memory is None:
            return None
        maps = self._code(pid)
        if event.pid == pid and is_python(maps):
            self._stacks.begin()
        with memory:
            found = diagnosed(
                event, memory, maps, lambda pointer: pointee(pointer, _all_maps(pid), pid, (event.tid, event.frame))
            )
            found = tuple(self._compiled.finding(finding, maps, memory) for finding in found)
            return Examined(found, maps, _program(pid))

    def crashed(self, event: Event, words: CrashWords, pid: int) -> Examined | None:
        """What a crash's event says, while its thread waits.

        Args:
            event: of type crash.
            words: its section.
            pid: its process as seen from here.

        Returns:
            None when the process may not be looked into.
        """
        memory = _open(pid)
        if memory is None:
            return None
        maps = self._code(pid)
        with memory:
            examined = crashed(event, words, memory, maps, _program(pid))
            crash = examined.crash and self._compiled.crash(examined.crash, maps, memory)
            found = tuple(self._compiled.finding(finding, maps, memory) for finding in examined.findings)
            return replace(examined, crash=crash, findings=found)

    def caught(self, event: Event, pid: int) -> "Caught | None":
        """The store to watched bytes that an event tells of, while its thread waits; None for one that changed nothing.

        Args:
            event: of type watched.
            pid: its process as seen from here.
        """
        from heapwitness.diagnose import caught
        from heapwitness.supervise.merge import behind

        memory = _open(pid)
        with memory or contextlib.nullcontext():
            store = caught(event, memory)
            if store is None or self._asked >= _ASKED_LIMIT:
                return store
            maps = code_of(pid)
            stack = self._compiled.access(store.store.stack, maps, memory) if memory else store.store.stack
        frames = self.python(event, pid, maps)
        self._asked += bool(frames)
        return store._replace(store=msgspec.structs.replace(store.store, stack=behind(stack, frames)))

    def with_lines(self, examined: Examined, event: Event, pid: int) -> Examined:
        """What was examined with the Python lines that its thread is in, or else the main thread, which waits for what
        it started, or goes on."""
        own = self.python(event, pid, examined.maps)
        elsewhere = not own and event.tid != event.pid and event.pid == pid and is_python(examined.maps)
        beside = self._stacks.frames(pid, pid) if elsewhere else ()
        return replace(examined, python=own, beside=beside)

    def python(self, event: Event, pid: int, maps: str) -> tuple[PythonFrame, ...]:
        """The waiting thread's Python frames; () when it runs no Python."""
        # In another pid namespace the thread's id means nothing here.
        return self._stacks.frames(pid, event.tid) if event.pid == pid and is_python(maps) else ()

    def _code(self, pid: int) -> str:
        """The mappings of code of a process: one text for as long as they stay the same, and none when a process
        changes them so often that they would fill the memory."""
        maps = code_of(pid)
        if maps != self._maps:
            self._kept += len(maps)
            self._maps = maps if self._kept <= _TEXTS_LIMIT else ""
        return self._maps

    def close(self) -> None:
        """Let go of the reader of Python frames."""
        self._stacks.close()


def diagnosed(
    event: Event, memory: "Memory", maps: str, elsewhere: Callable[[int], Place] | None = None
) -> tuple[Finding, ...]:
    """The findings of an event: what cannot be diagnosed says what is known, and why no more is.

    None at all where the evidence is no proof (`families.believable`).

    Args:
        elsewhere: tells where a pointer leads that is in no heap.
    """
    from heapwitness.diagnose import diagnose

    try:
        found = diagnose(event, memory, elsewhere) or (
            undiagnosed(event, "the memory showed nothing wrong when it was read"),
        )
        told = (finding for finding in found if believable(finding, event, maps, memory))
        return tuple(with_doubt(finding, memory, maps) for finding in told)
    except HeapwitnessError as error:
        return (undiagnosed(event, str(error)),)
    except Exception as error:  # a forged heap may surprise the diagnosis; the finding must not be lost
        return (undiagnosed(event, f"{type(error).__name__}: {error}"),)


def crashed(event: Event, words: CrashWords, memory: "Memory", maps: str, program: str) -> Examined:
    """A crash, with a finding where it was a read of released memory."""
    from heapwitness.diagnose import examine_crash
    from heapwitness.memory import SegmentsMemory

    try:
        crash, findings = examine_crash(event, words, memory)
    except Exception:  # a forged heap may surprise the search; what the event says must not be lost
        crash, findings = examine_crash(event._replace(process=0), words, SegmentsMemory(()))
    return Examined(findings, maps, program, crash=crash)


def undiagnosed(event: Event, why: str) -> Finding:
    """What an event alone says, as a finding; `why` there is no more of it."""
    return Finding(
        kind=kind_of(event.reason),
        detected=detection_of(event),
        pointer=event.pointer or None,
        detail=f"This finding could not be diagnosed: {why.rstrip('.: ')}.",
    )


def _open(pid: int) -> "ProcessMemory | None":
    from heapwitness.memory import ProcessMemory

    try:
        return ProcessMemory(pid)
    except HeapwitnessError:
        return None


def code_of(pid: int) -> str:
    """The lines of a process's mappings that may be executed: all that names stacks."""
    return code_lines(_raw_maps(pid), CODE_LIMIT)


def _all_maps(pid: int) -> str:
    return _raw_maps(pid).decode("utf-8", "surrogateescape")


def _raw_maps(pid: int) -> bytes:
    return next(filter(None, map(_maps_in, _places(pid))), b"")


def _maps_in(place: str) -> bytes:
    """What a process or thread has mapped, by its directory in /proc; nothing where that is not known."""
    try:
        with open(f"{place}/maps", "rb") as stream:
            return stream.read(_MAPS_LIMIT)
    except OSError:
        return b""


def _program(pid: int) -> str:
    for place in _places(pid):
        with contextlib.suppress(OSError):
            return str(Path(f"{place}/exe").readlink())
    return ""


def _places(pid: int) -> Iterator[str]:
    from heapwitness.memory.live import threads

    yield f"/proc/{pid:d}"
    yield from threads(pid)
