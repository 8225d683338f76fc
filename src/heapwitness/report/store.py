"""Words for an access that a trap caught."""

from collections.abc import Iterator

from heapwitness.findings.model import Block, Store
from heapwitness.findings.words import count
from heapwitness.report import text
from heapwitness.report.frames import named

_TEXT_LIMIT = 16
_VALUE_LIMIT = 32


def lines(store: Store, block: Block | None) -> Iterator[str]:
    """What was accessed, by whom, and the instruction."""
    at = store.start if store.start is not None else store.address
    yield "  ".join(
        part for part in (f"{at:#x}", _size(store), _distance(at, store.size, block), _value(store)) if part
    )
    if where := text.place(store.stack):
        yield f"by {where}{_column(store)}{_through(store)}"
    if store.instruction:
        registers = "  ".join(f"{text.clean(name)} {value:#x}" for name, value in store.registers.items())
        yield f"{text.clean(store.instruction)}{'    ' if registers else ''}{registers}"


def _through(store: Store) -> str:
    """The function, of libc as a rule, that whoever is named called to do it."""
    frame = named(store.stack)
    at = next((number for number, one in enumerate(store.stack) if one is frame), 0)
    inner = store.stack[at - 1] if at else None
    return f", through {text.function(inner)}" if inner is not None and not inner.inlined else ""


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
