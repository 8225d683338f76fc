"""Findings with the frames of their link registers named."""

import re
from collections.abc import Callable, Iterable
from itertools import dropwhile

from heapwitness.findings.model import Frame
from heapwitness.findings.stacks import with_stacks
from heapwitness.liteos.diagnose.finding import LiteosFinding

StackOf = Callable[[int], tuple[Frame, ...]]
"""What a return address is: its function, after the functions that are inlined there."""

# With what the compiler appends to a part of a function that it made of its own.
_HEAP = re.compile(
    r"((LOS|Os)_?(Slab)?Mem[A-Z]\w{0,200}|LOS_RecordLR|(__wrap_|_)?(malloc|calloc|zalloc|realloc|memalign|free)(_r)?)(\.\w{1,64}){0,16}"
)


def bare(pc: int) -> tuple[Frame, ...]:
    """A return address of which nothing is known."""
    return (Frame(pc=pc),)


def stack_of(registers: Iterable[int], stack: StackOf) -> tuple[Frame, ...]:
    """The stack that link registers recorded, innermost first, from the caller of the kernel's heap on.

    The kernel records them inside of its own functions (LOS_MemAlloc), which say nothing about who
    called them; where nothing else was recorded, those are what is told.
    """
    frames = tuple(frame for register in registers if register for frame in stack(register))
    callers = tuple(dropwhile(_is_heap, frames))
    return callers or frames


def _is_heap(frame: Frame) -> bool:
    return frame.function is not None and _HEAP.fullmatch(frame.function) is not None


def named(finding: LiteosFinding, stack: StackOf) -> LiteosFinding:
    """The finding with every frame that is a bare address replaced by what `stack` says of it."""
    return with_stacks(finding, lambda _, registers: stack_of((frame.pc for frame in registers), stack))
