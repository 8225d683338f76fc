"""Stacks for a page: others' frames folded, the source around the frame that says most."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from heapwitness.findings.model import Frame
from heapwitness.report import source, text
from heapwitness.report.frames import is_of_others, named

FRAMES_LIMIT = 64
SOURCES_LIMIT = 2000
"""Places whose source is read for one page."""

Lines = tuple[tuple[int, str], ...]


@dataclass(frozen=True, slots=True)
class ShownFrame:
    """A frame in words, and the lines around it where the source is there."""

    number: int
    function: str
    where: str
    language: str
    inlined: bool
    line: int | None
    source: Lines


@dataclass(frozen=True, slots=True)
class Group:
    """Frames in a row. `folded` ones are others' code."""

    folded: bool
    frames: tuple[ShownFrame, ...]


class Sources:
    """The source around lines, each read once, and only so many."""

    def __init__(self, read: Callable[[Frame], Lines] = source.lines) -> None:
        self._read = read
        self._known: dict[tuple[str | None, int | None], Lines] = {}

    def lines(self, frame: Frame) -> Lines:
        """The lines around a frame's; () where they cannot be had."""
        key = (frame.file, frame.line)
        if key not in self._known:
            self._known[key] = self._read(frame) if len(self._known) < SOURCES_LIMIT else ()
        return self._known[key]


def groups(stack: Sequence[Frame], sources: Sources) -> tuple[Group, ...]:
    """A stack, innermost first, in groups of own and of others' frames; a single one of others' is not folded."""
    shown = stack[:FRAMES_LIMIT]
    best = named(shown)
    python = next((frame for frame in shown if frame.language == "python"), None)
    runs: list[tuple[bool, list[ShownFrame]]] = []
    for number, frame in enumerate(shown):
        told = frame is best or frame is python
        own = told or not is_of_others(frame)
        one = _shown(number, frame, sources.lines(frame) if told else ())
        if runs and runs[-1][0] is own:
            runs[-1][1].append(one)
        else:
            runs.append((own, [one]))
    return tuple(_merged((not own and len(frames) > 1, tuple(frames)) for own, frames in runs))


def _merged(runs: Iterator[tuple[bool, tuple[ShownFrame, ...]]]) -> Iterator[Group]:
    """Groups that are not folded follow each other as one."""
    waiting: tuple[ShownFrame, ...] = ()
    for folded, frames in runs:
        if not folded:
            waiting += frames
            continue
        if waiting:
            yield Group(False, waiting)
        waiting = ()
        yield Group(True, frames)
    if waiting:
        yield Group(False, waiting)


def _shown(number: int, frame: Frame, lines: Lines) -> ShownFrame:
    where = text.line(frame, whole_path=True)
    if not where and frame.module:
        where = text.clean(frame.module)
    return ShownFrame(number, text.function(frame), where, frame.language, frame.inlined, frame.line, lines)
