"""Findings, crashes and maps with names: the symbols of their frames, and the Python frames in their places."""

from collections.abc import Callable
from typing import NamedTuple

import msgspec

from heapwitness.diagnose.smashed import with_check
from heapwitness.findings.model import Crash, Finding, HeapMap
from heapwitness.findings.stacks import stacks
from heapwitness.findings.words import with_main
from heapwitness.report.text import place
from heapwitness.supervise.examine import Examined
from heapwitness.supervise.merge import merged, merged_crash, with_python
from heapwitness.symbols.remote import Remote

NAMES_LIMIT = 128 << 20
"""Characters of names in all findings; frames beyond have none."""


class Named(NamedTuple):
    """A finding, and how many characters its names have."""

    finding: Finding
    characters: int


class Namer:
    """Names what was examined.

    Args:
        say: is told in a sentence when names are given up.
        until: see `symbols.Resolver`.
    """

    def __init__(self, say: Callable[[str], None], until: float | None = None) -> None:
        self._names = Remote(say, until)
        self._characters = 0

    def finding(self, finding: Finding, examined: Examined) -> Named:
        """A finding with names, or as it is when there is no room for them beside those that are kept."""
        named = _with_main(merged(self._names.finding(finding, examined.maps), examined.python), examined)
        characters = _characters(named)
        full = self._characters + characters > NAMES_LIMIT
        return Named(finding, 0) if full else Named(named, characters)

    def keep(self, named: Named) -> None:
        """Take the room of a finding's names."""
        self._characters += named.characters

    def crash(self, crash: Crash, examined: Examined) -> Crash:
        """A crash with names."""
        crash = with_check(self._names.crash(crash, examined.maps))
        return merged_crash(crash, examined.python)

    def heap_map(self, taken: HeapMap, code: str) -> HeapMap:
        """A heap's map with names for its sites; `code` are the mappings of its process."""
        return self._names.heap_map(taken, code)

    def give_up(self, why: str) -> None:
        """Look for no more names; from another thread."""
        self._names.give_up(why)

    def close(self) -> None:
        """End what looks names up."""
        self._names.close()


def _with_main(finding: Finding, examined: Examined) -> Finding:
    """A finding of a thread without Python lines with that of the main thread: pools of threads work for it."""
    line = place(with_python((), examined.beside))
    if not line:
        return finding
    return msgspec.structs.replace(finding, detail=with_main(finding.detail, line))


def _characters(finding: Finding) -> int:
    """How much text a finding's frames hold."""
    frames = (frame for stack in stacks(finding) for frame in stack)
    return sum(len(text) for one in frames for text in (one.module, one.function, one.file) if text)
