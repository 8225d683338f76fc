"""Python frames put among the C frames of the same stack."""

from collections.abc import Sequence

from heapwitness.findings.model import Frame
from heapwitness.supervise.python_stack import PythonFrame, is_python

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
        return (*stack[:place], *(_frame(one, 0) for one in frames), *stack[place:])
    groups = _groups(frames)
    merged: list[Frame] = []
    for frame in stack:
        if groups and _evaluates(frame):
            merged.extend(_frame(one, frame.pc) for one in groups.pop(0))
        else:
            merged.append(frame)
    merged.extend(_frame(one, 0) for group in groups for one in group)
    return tuple(merged)


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


def _frame(python: PythonFrame, pc: int) -> Frame:
    line = python.line if python.line > 0 else None
    return Frame(pc=pc, function=python.function, file=python.file, line=line, language="python")
