"""Words for an access that a trap caught."""

import itertools
import os
from collections.abc import Iterator

from heapwitness.findings.model import Block, Frame, Store
from heapwitness.findings.words import count
from heapwitness.report import text
from heapwitness.report.frames import named

# The engine's functions stand for those that they wrap.
_LIBC = ("libc.so", "libc-", "libheapwitness_preload.so")
_TEXT_LIMIT = 16
# After so many accesses the engine lets the page open and counts no more.
_COUNTED = 512
_VALUE_LIMIT = 32


def lines(store: Store, block: Block | None) -> Iterator[str]:
    """What was accessed, by whom, and the instruction."""
    at = store.start if store.start is not None else store.address
    yield "  ".join(
        part for part in (f"{at:#x}", _size(store), _distance(at, store.size, block), _value(store)) if part
    )
    if store.last is not None and store.last != store.address:
        least = " at least" if store.times > _COUNTED else ""
        yield f"to {store.last:#x}  {_distance(store.last, 1, block)}, {count(store.times, 'time')}{least}"
    if where := text.place(store.stack):
        yield f"by {where}{_column(store)}{_through(store)}"
    if store.instruction:
        registers = "  ".join(f"{text.clean(name)} {value:#x}" for name, value in store.registers.items())
        yield f"{text.clean(store.instruction)}{'    ' if registers else ''}{registers}"


def _through(store: Store) -> str:
    """The function of the C library that was called to do it; of what Python called, where the instruction is."""
    frame = named(store.stack)
    if frame is not None and frame.language == "python":
        return f", in {text.function(store.stack[0])}"
    inside = list(itertools.takewhile(_is_libc, store.stack))
    return f", through {text.function(inside[-1])}" if inside and len(inside) < len(store.stack) else ""


def _is_libc(frame: Frame) -> bool:
    return os.path.basename(frame.module or "").startswith(_LIBC)


def _column(store: Store) -> str:
    frame = named(store.stack)
    return f":{frame.column}" if frame is not None and frame.line is not None and frame.column else ""


def _size(store: Store) -> str:
    return count(store.size, "byte") if store.size else ""


def _distance(at: int, size: int, block: Block | None) -> str:
    """Where the access lies, from the block's nearest side."""
    if block is None:
        return ""
    past, left = at - block.address - block.size, at - block.address
    if text.is_released(block):
        return f"at offset {left:,}"
    if past >= 0:
        return f"{count(past, 'byte')} past the end" if past else "right behind the end"
    if left < 0:
        return f"{count(-left, 'byte')} before the start"
    return f"at offset {left:,} of {block.size:,}, over the end" if size else f"at offset {left:,}"


def _value(store: Store) -> str:
    if not store.value or len(store.value) > 2 * _VALUE_LIMIT:
        return ""
    try:
        data = bytes.fromhex(store.value)
    except ValueError:  # a document may say anything
        return ""
    words = "".join(chr(one) if 32 <= one < 127 else "." for one in data[:_TEXT_LIMIT])
    return f"{data.hex(' ')}  {words}"
