"""Blocks that CPython may have used again by itself, so that another line than the one that allocated them is meant."""

import contextlib
import struct

import msgspec

from heapwitness.diagnose.python_objects import type_names
from heapwitness.findings.counted import HEADS
from heapwitness.findings.model import Block, Finding
from heapwitness.memory import Memory, Unreadable
from heapwitness.symbols.maps import parse_maps

_KEPT = {"dict": HEADS, "float": (0,), "list": HEADS, "tuple": HEADS}
"""Of which types it keeps released objects, and how many bytes of a block lie before one."""

_TUPLE_LIMIT = 16 + 24 + 8 * 20
"""Bytes of the largest tuple that is kept, with its head."""

_OF_OBJECT, _RELEASE, _ORDER, _FIRST = (struct.Struct(f"<{at}xQ") for at in (8, 48, 344, 24))
_ENGINE = "/libheapwitness_preload.so"


def with_doubt(finding: Finding, memory: Memory, maps: str) -> Finding:
    """The finding, which says so where its block may have been kept since the line that it is told with.

    Args:
        maps: of its process, by which is told whether the engine has such objects released: then none is kept.
    """
    kept = _kept(finding.culprit, memory, maps) if finding.culprit is not None else None
    if kept is None:
        return finding
    doubt = (
        f"The block holds a {kept}. Of those that were released CPython keeps some for later ones: another line than "
        "the one that allocated the block may have made this one. With --poison it keeps none."
    )
    return msgspec.structs.replace(finding, detail=f"{finding.detail} {doubt}".strip())


def _kept(block: Block, memory: Memory, maps: str) -> str | None:
    name = block.type
    if block.state != "used" or block.freed is not None or name is None:
        return None
    if name == "tuple" and block.size > _TUPLE_LIMIT:
        return None
    for head in _KEPT.get(name, ()):
        with contextlib.suppress(Unreadable):
            kind = _read(_OF_OBJECT, block.address + head, memory)
            if name in type_names(memory, kind)[:1]:
                # The engine may have given it a copy of its type, which has that itself as the first of its order.
                own = _read(_FIRST, _read(_ORDER, kind, memory), memory)
                return None if _is_in_engine(_read(_RELEASE, own, memory), maps) else name
    return None


def _read(form: struct.Struct, address: int, memory: Memory) -> int:
    word: int
    (word,) = form.unpack(memory.read(address, form.size))
    return word


def _is_in_engine(address: int, maps: str) -> bool:
    return any(one.start <= address < one.end and one.path.endswith(_ENGINE) for one in parse_maps(maps))
