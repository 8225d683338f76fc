"""Findings with the frames of their link registers named."""

import re
from collections.abc import Callable, Iterable
from itertools import dropwhile

import msgspec

from heapwitness.findings.model import Block, Frame, Site
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
    return msgspec.structs.replace(
        finding,
        culprit=_block(finding.culprit, stack),
        victim=_block(finding.victim, stack),
        previous=_block(finding.previous, stack),
        suspect=_block(finding.suspect, stack),
    )


def _block(block: Block | None, stack: StackOf) -> Block | None:
    if block is None:
        return None
    return msgspec.structs.replace(block, allocated=_site(block.allocated, stack), freed=_site(block.freed, stack))


def _site(site: Site | None, stack: StackOf) -> Site | None:
    if site is None:
        return None
    return msgspec.structs.replace(site, stack=stack_of((frame.pc for frame in site.stack), stack))
