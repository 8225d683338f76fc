"""Python frames put among the C frames of the same stack."""

import itertools
from collections.abc import Sequence

from heapwitness.findings.model import Crash, Finding, Frame
from heapwitness.findings.stacks import Act, Frames, crash_with_stacks, with_stacks
from heapwitness.supervise.modules import is_python
from heapwitness.supervise.python_stack import PythonFrame

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
    whole: list[Frame] = []
    for frame in stack:
        if groups and _evaluates(frame):
            whole.extend(_frame(one, frame) for one in groups.pop(0))
        else:
            whole.append(frame)
    whole.extend(_frame(one) for group in groups for one in group)
    return tuple(whole)


def merged(finding: Finding, frames: Sequence[PythonFrame]) -> Finding:
    """The finding with all Python frames among the C frames, which have names by now.

    Args:
        frames: all those that its thread was in at the detection; the access that was trapped there is the same
            moment's. Where there are none, those that the engine saw, the innermost ones, stand in their place.
    """
    trapped = finding.detected.when == "trap"

    def change(act: Act, stack: Frames) -> Frames:
        if act in ("allocated", "released") or (act == "accessed" and _has_python(stack)):
            return _in_place(stack)
        return _whole(stack, frames) if trapped or act == "detected" else stack

    return with_stacks(finding, change)


def behind(stack: Frames, frames: Sequence[PythonFrame]) -> Frames:
    """A stack of C frames that have no names yet, with Python frames as `_in_place` takes them."""
    entered = 0
    whole = list(stack)
    for one in frames:
        line = one.line if one.line > 0 else None
        whole.append(Frame(pc=entered, function=one.function, file=one.file, line=line, language="python"))
        entered += one.entry
    return tuple(whole)


def merged_crash(crash: Crash, frames: Sequence[PythonFrame]) -> Crash:
    """A crash with all Python frames among the C frames, which have names by now; `frames` as of `merged`."""
    return crash_with_stacks(crash, lambda act, stack: _whole(stack, frames) if act == "detected" else _in_place(stack))


def _has_python(stack: Frames) -> bool:
    return any(frame.language == "python" for frame in stack)


def _whole(stack: Frames, frames: Sequence[PythonFrame]) -> Frames:
    return with_python(_in_c(stack), frames) if frames else _in_place(stack)


def _in_c(stack: Frames) -> Frames:
    return tuple(frame for frame in stack if frame.language != "python")


def _in_place(stack: Frames) -> Frames:
    """As the diagnosis gives it, Python frames stand behind the C frames, and `pc` counts those that C code called."""
    python = [frame for frame in stack if frame.language == "python"]
    if not python:
        return stack
    ends = [one.pc != after.pc for one, after in itertools.pairwise(python)]
    frames = [
        PythonFrame(one.function or "", one.file or "", one.line or 0, entry)
        for one, entry in zip(python, [*ends, False], strict=True)
    ]
    return with_python(_in_c(stack), frames)


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
