"""Python frames put among the C frames of the same stack."""

import itertools
from collections.abc import Sequence

import msgspec

from heapwitness.findings.model import Block, Finding, Frame, Site
from heapwitness.supervise.python_stack import PythonFrame, is_python

_BLOCKS = ("culprit", "victim", "previous", "suspect")
_EVALUATORS = ("_PyEval_EvalFrameDefault", "PyEval_EvalFrameEx")


def with_python(stack: Sequence[Frame], frames: Sequence[PythonFrame]) -> tuple[Frame, ...]:
    """The stack with its interpreter frames replaced by the Python frames that they run.

    One C frame of the interpreter runs all Python frames up to the next that C code called. Where no such C frame has
    its name (since 3.14 an instruction may be a function, which a stripped interpreter does not name), all Python
    frames stand before the first frame of the interpreter without one. A stack that was cut short before the
    interpreter gets the Python frames at its end.

    Args:
        stack: C frames with names, innermost first.
        frames: of the same thread at the same moment, innermost first.
    """
    if not any(_evaluates(frame) for frame in stack):
        place = next((at for at, frame in enumerate(stack) if _is_nameless_python(frame)), len(stack))
        return (*stack[:place], *(_frame(one) for one in frames), *stack[place:])
    groups = _groups(frames)
    merged: list[Frame] = []
    for frame in stack:
        if groups and _evaluates(frame):
            merged.extend(_frame(one, frame) for one in groups.pop(0))
        else:
            merged.append(frame)
    merged.extend(_frame(one) for group in groups for one in group)
    return tuple(merged)


def in_places(finding: Finding) -> Finding:
    """The finding with the Python frames of its blocks' stacks among the C frames, which have names by now."""
    changes: dict[str, object] = {name: _block(getattr(finding, name)) for name in _BLOCKS}
    changes["readings"] = tuple(msgspec.structs.replace(one, culprit=_block(one.culprit)) for one in finding.readings)
    return msgspec.structs.replace(finding, **changes)


def _block(block: Block | None) -> Block | None:
    if block is None:
        return None
    return msgspec.structs.replace(block, allocated=_site(block.allocated), freed=_site(block.freed))


def _site(site: Site | None) -> Site | None:
    """As the diagnosis gives it, Python frames stand behind the C frames, and `pc` counts those that C code called."""
    python = [frame for frame in site.stack if frame.language == "python"] if site is not None else []
    if site is None or not python:
        return site
    ends = [one.pc != after.pc for one, after in itertools.pairwise(python)]
    frames = [
        PythonFrame(one.function or "", one.file or "", one.line or 0, entry)
        for one, entry in zip(python, [*ends, False], strict=True)
    ]
    native = [frame for frame in site.stack if frame.language != "python"]
    return msgspec.structs.replace(site, stack=with_python(native, frames))


def _evaluates(frame: Frame) -> bool:
    return frame.function is not None and frame.function.startswith(_EVALUATORS)


def _is_nameless_python(frame: Frame) -> bool:
    return frame.function is None and frame.module is not None and is_python(frame.module)


def _groups(frames: Sequence[PythonFrame]) -> list[list[PythonFrame]]:
    groups: list[list[PythonFrame]] = [[]]
    for frame in frames:
        groups[-1].append(frame)
        if frame.entry:
            groups.append([])
    return groups if groups[-1] else groups[:-1]


def _frame(python: PythonFrame, runs: Frame | None = None) -> Frame:
    """A Python frame; it lies where the C frame lies that runs it, as far as that is known."""
    line = python.line if python.line > 0 else None
    here = Frame(pc=0) if runs is None else runs
    return Frame(
        pc=here.pc,
        module=here.module,
        build_id=here.build_id,
        offset=here.offset,
        function=python.function,
        file=python.file,
        line=line,
        language="python",
    )
