"""How to see more of a finding than this run showed."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from heapwitness.findings.model import Crash, Finding
    from heapwitness.findings.stacks import Frames


@dataclass(frozen=True, slots=True, kw_only=True)
class Advice:
    """What may be asked for, in the words in which the user asks; "" for what was asked for already.

    `stacks` keeps whole stacks, `checks` checks the heap while the program runs, `poison` keeps released blocks from
    being used again, `full` shows all of a finding, `lines` has Numba tell lines.
    """

    stacks: str = ""
    checks: str = ""
    full: str = ""
    poison: str = ""
    lines: str = ""

    def on_crash(self, crash: "Crash") -> str:
        """One sentence for a crash of Python with a heap that nothing has overwritten, and that nothing else is said
        of; else ""."""
        python = any(frame.language == "python" for frame in crash.stack)
        if not (self.poison and python and crash.heap == "whole" and crash.code > 0 and not crash.notes):
            return ""
        return (
            f"{self.poison} keeps released objects from being used again: then one that was released once too often is "
            "named"
        )

    def on(self, finding: "Finding") -> str:
        """One sentence for a finding whose blocks' stacks are one frame, that was noticed at exit, or whose store
        has no line; else ""."""
        words: list[str] = []
        if self.stacks and any(_is_cut(stack) for stack in _block_stacks(finding)):
            words.append(f"{self.stacks} shows whole stacks")
        if self.checks and finding.detected.when == "exit":
            words.append(f"{self.checks} notices it sooner after the store")
        return "; ".join([*words, *self._lines_of(finding)])

    def briefly_on(self, finding: "Finding") -> str:
        """One sentence for a finding that is shown in short; "" where all of it was asked for."""
        words = [f"{self.full} shows bytes, addresses and all frames"] if self.full else []
        return "; ".join([*words, *self._lines_of(finding)])

    def _lines_of(self, finding: "Finding") -> list[str]:
        stack = finding.store.stack if finding.store is not None else ()
        if not self.lines or not stack or not stack[0].function or stack[0].module or stack[0].file:
            return []
        stacks = (stack, *_block_stacks(finding))
        python = any(frame.language == "python" for stack in stacks for frame in stack)
        return [f"{self.lines} tells lines in what Numba compiled"] if python else []


def _block_stacks(finding: "Finding") -> "list[Frames]":
    """The stacks of the blocks that a reader looks for the bug at."""
    from heapwitness.findings.stacks import sites

    blocks = (finding.culprit, finding.suspect) if finding.culprit or finding.suspect else (finding.victim,)
    return [site.stack for _, site in sites(*blocks)]


def _is_cut(stack: "Frames") -> bool:
    """Whether there is a single C call, and it is not where a program begins anyway."""
    calls = [frame for frame in stack if frame.language == "c"]
    return len({frame.pc for frame in calls}) == 1 and calls[-1].function != "main"
