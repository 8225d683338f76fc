"""What blocks of a Python program hold: the array whose data a block is, and the type of an object that lay in one.

CPython's and NumPy's objects are read as they lie in the process, where nothing vouches for them: each pointer that is
followed is checked for what it should lead to, and what makes no sense is told as nothing.
"""

import struct
import time
from collections.abc import Iterator, Sequence

import msgspec

from heapwitness.diagnose.one_element import as_element
from heapwitness.errors import HeapwitnessError
from heapwitness.findings.counted import HEADS, is_count
from heapwitness.findings.model import Array, Block, Finding
from heapwitness.layout.process import Region, RegionKind, read_process, read_regions
from heapwitness.memory import Memory, Unreadable

SECONDS, AT_MOST = 1.0, 4.0
BYTES_LIMIT = 1 << 30
"""Time of the processor, time, and memory for the search for the arrays of one finding; the process waits."""

_CHUNK = 4 << 20
_HITS_LIMIT = 64
_TYPE = struct.Struct("<24xQ224xQ")  # its name and the type that it is derived from
_SIZES = struct.Struct("<24xQqq120xQ")  # its name, bytes of one, and of each item of one; flags
_HEAP_TYPE = 1 << 9  # of a class: from 3.13 on attributes lie behind the object
_TYPE_OF_TYPE = struct.Struct("<8xQ")
_LIVING = struct.Struct("<QQ")  # an object's count of references, and its type
_NAME_LIMIT = 128
_BASES_LIMIT = 16
_ARRAY = struct.Struct("<qQQi4xQQQQi4x")  # count, type, data, dimensions: how many, which; strides, base, dtype, flags
_DATA = 16
_OWNS = 4
_DIMENSIONS_LIMIT = 64
_DTYPE = struct.Struct("<24xccc1xiII")  # kind, character, order, number; what follows is the size until NumPy 1
_LATER_SIZE = struct.Struct("<40xq")
_NAMES, _LATER_NAMES = struct.Struct("<56xQ"), struct.Struct("<104xQ")
"""Where a dtype has the names of its fields."""
_OBJECT = 16
"""Bytes of an object's head."""

_COUNTED = (
    "Python objects have their count of references there: it looks as if a reference to this one was released once too "
    "often, and it is still used."
)

_NUMBERS = (
    *("bool", "int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64", "int64", "uint64"),
    *("float32", "float64", "longdouble", "complex64", "complex128", "clongdouble", "object", "S", "U", "void"),
    *("datetime64", "timedelta64", "float16"),
)


def with_contents(finding: Finding, memory: Memory, process: int) -> Finding:
    """The finding with the arrays whose data its blocks hold, and the type of the object that lies or lay in the block
    that it is of.

    Args:
        memory: of the process that found it, at that moment.
        process: address of the engine's process block.
    """
    known = (finding.culprit, finding.victim, finding.suspect)
    blocks = [one for one in known if one is not None and _may_hold_data(one)]
    if finding.culprit is not None:
        of_type = with_type(_with_type_of_living(finding.culprit, memory), memory)
        finding = msgspec.structs.replace(finding, culprit=of_type)
        if is_count(finding):
            finding = msgspec.structs.replace(finding, detail=f"{finding.detail} {_COUNTED}".strip())
    if not blocks:
        return finding
    arrays = find_arrays(memory, _arenas(memory, process), blocks)

    def holding(block: Block | None) -> Block | None:
        array = arrays.get(block.address) if block is not None else None
        return msgspec.structs.replace(block, array=array) if block is not None and array is not None else block

    told = msgspec.structs.replace(
        finding,
        culprit=holding(finding.culprit),
        victim=holding(finding.victim),
        suspect=holding(finding.suspect),
    )
    told = as_element(told, memory)
    return msgspec.structs.replace(told, element=_element(told, told.culprit) if told.culprit is not None else None)


def _may_hold_data(block: Block) -> bool:
    """Whether a block that is in use was allocated by Python code, as far as that is known."""
    if block.state != "used" or block.freed is not None or block.size == 0:
        return False
    stack = block.allocated.stack if block.allocated is not None else ()
    return block.domain is not None or any(frame.language == "python" for frame in stack)


def _arenas(memory: Memory, process: int) -> tuple[Region, ...]:
    try:
        regions = read_regions(memory, read_process(memory, process))
    except HeapwitnessError:
        return ()
    return tuple(one for one in regions if one.kind in (RegionKind.ARENA, RegionKind.RUNS))


def find_arrays(memory: Memory, arenas: Sequence[Region], blocks: Sequence[Block]) -> dict[int, Array]:
    """The arrays whose data begin where these blocks do, by address: the one that owns it, or the only one."""
    found: dict[int, list[tuple[bool, Array]]] = {}
    needles = {block.address.to_bytes(8, "little"): block for block in blocks}
    for place, needle in _places(memory, arenas, tuple(needles)):
        block = needles[needle]
        known = found.setdefault(block.address, [])
        array = _array_at(memory, place - _DATA, block) if len(known) < _HITS_LIMIT else None
        if array is not None:
            known.append(array)
    told: dict[int, Array] = {}
    for address, candidates in found.items():
        owners = [array for owns, array in candidates if owns]
        others = [array for owns, array in candidates if not owns]
        if len(owners) == 1 or (not owners and len(others) == 1):
            told[address] = (owners or others)[0]
    return told


def _places(memory: Memory, arenas: Sequence[Region], needles: Sequence[bytes]) -> Iterator[tuple[int, bytes]]:
    """Where one of some words stands in pools, as far as there is time."""
    until, spent, left = time.monotonic() + AT_MOST, time.thread_time() + SECONDS, BYTES_LIMIT
    for region in arenas:
        for start in range(0, region.size, _CHUNK):
            left -= _CHUNK
            if left < 0 or time.monotonic() > until or time.thread_time() > spent:
                return
            try:
                data = memory.read(region.base + start, min(_CHUNK, region.size - start))
            except Unreadable:
                break
            for needle in needles:
                place = data.find(needle)
                while place >= 0:
                    if place % 8 == 0:
                        yield region.base + start + place, needle
                    place = data.find(needle, place + 1)


def _array_at(memory: Memory, address: int, block: Block) -> tuple[bool, Array] | None:
    """The array whose object lies at an address and has its data in a block, and whether it owns that."""
    try:
        words = _ARRAY.unpack(memory.read(address, _ARRAY.size))
        count, kind, data, dimensions, shape_at, strides_at, _, dtype_at, flags = words
        # It is 0 while the array is released.
        if count < 0 or data != block.address or not 0 <= dimensions <= _DIMENSIONS_LIMIT:
            return None
        if "numpy.ndarray" not in type_names(memory, kind):
            return None
        form = struct.Struct(f"<{dimensions}q")
        shape = form.unpack(memory.read(shape_at, form.size)) if dimensions else ()
        strides = form.unpack(memory.read(strides_at, form.size)) if dimensions else ()
        dtype, itemsize = _dtype_at(memory, dtype_at)
    except (Unreadable, ValueError):
        return None
    size = itemsize
    for length in shape:
        size *= length
    if any(length < 0 for length in shape) or itemsize <= 0 or not block.size - 16 <= max(size, 1) <= block.size:
        return None
    return bool(flags & _OWNS), Array(dtype=dtype, itemsize=itemsize, shape=shape, strides=strides)


def _dtype_at(memory: Memory, address: int) -> tuple[str, int]:
    """A dtype's name and size.

    Raises:
        Unreadable, ValueError: there is none.
    """
    kind, character, order, number, size, alignment = _DTYPE.unpack(memory.read(address, _DTYPE.size))
    names_at = _NAMES
    if alignment == 0:
        names_at = _LATER_NAMES
        (size,) = _LATER_SIZE.unpack(memory.read(address, _LATER_SIZE.size))
    letter = kind.decode("ascii") + character.decode("ascii")
    if not letter.isprintable() or not 0 < size < 1 << 32:
        raise ValueError("no dtype")
    if not 0 <= number < len(_NUMBERS):
        return "user-defined", size
    name = _NUMBERS[number]
    if name == "void" and any(names_at.unpack(memory.read(address, names_at.size))):
        name = "structured"
    if name in ("S", "U"):
        name = f"{name}{size // (4 if name == 'U' else 1)}"
    return (f"big-endian {name}" if order == b">" else name), size


def type_names(memory: Memory, address: int) -> tuple[str, ...]:
    """The name of the type that lies at an address, and those of what it is derived from; () for none."""
    names: list[str] = []
    try:
        (meta,) = _TYPE_OF_TYPE.unpack(memory.read(address, _TYPE_OF_TYPE.size))
        if not _is_metatype(memory, meta):
            return ()
        while address and len(names) < _BASES_LIMIT:
            name_at, address = _TYPE.unpack(memory.read(address, _TYPE.size))
            name = memory.read(name_at, _NAME_LIMIT).split(b"\0", 1)[0].decode("utf-8")
            if not name or not name.isprintable():
                return ()
            names.append(name)
    except (Unreadable, UnicodeDecodeError):
        return ()
    return tuple(names)


def _is_metatype(memory: Memory, address: int) -> bool:
    """Whether what lies there is a type of types: `type` itself is its own."""
    for _ in range(_BASES_LIMIT):
        (above,) = _TYPE_OF_TYPE.unpack(memory.read(address, _TYPE_OF_TYPE.size))
        if above == address:
            name_at, _ = _TYPE.unpack(memory.read(address, _TYPE.size))
            return memory.read(name_at, 5) == b"type\0"
        address = above
    return False


def has_size(memory: Memory, address: int, size: int) -> bool:
    """Whether an object of the type at an address may be of so many bytes."""
    try:
        name_at, basic, each, flags = _SIZES.unpack(memory.read(address, _SIZES.size))
        if memory.read(name_at, 4) == b"str\0":
            return True
    except Unreadable:
        return False
    return size >= basic and (each != 0 or size == basic or bool(flags & _HEAP_TYPE))


def type_at(memory: Memory, address: int) -> str | None:
    """The name of the type of the object that lies or lay at an address; None where nothing looks like one."""
    try:
        (kind,) = _TYPE_OF_TYPE.unpack(memory.read(address, _TYPE_OF_TYPE.size))
    except Unreadable:
        return None
    return next(iter(type_names(memory, kind)), None)


def with_type(block: Block, memory: Memory) -> Block:
    """A released block with the type of the object that lay in it: its head was before it, where the heap's links are
    now, as that of what the collector knows is."""
    if block.domain != "PyObject_Malloc" or (block.state == "used" and block.freed is None):
        return block
    kinds = (type_at(memory, block.address + head) for head in HEADS if block.size >= head + _OBJECT)
    return msgspec.structs.replace(block, type=next(filter(None, kinds), None))


def _with_type_of_living(block: Block, memory: Memory) -> Block:
    """A block in use with the type of the object in it, where only one can be: what has a count, a type, and the size
    of such objects."""
    if block.domain != "PyObject_Malloc" or block.state != "used" or block.freed is not None:
        return block
    names: set[str] = set()
    for head in (0, *HEADS):
        try:
            count, kind = _LIVING.unpack(memory.read(block.address + head, _LIVING.size))
        except Unreadable:
            continue
        # No count is like an address, though from 3.14 on flags stand in its uppermost bits; at its release it is 0.
        if not count >> 32 & 0xFFFF and has_size(memory, kind, block.size - head):
            names.update(type_names(memory, kind)[:1])
    return msgspec.structs.replace(block, type=names.pop()) if len(names) == 1 else block


def _element(finding: Finding, block: Block) -> tuple[int, ...] | None:
    """The index that the element of the first byte beyond the block would have had."""
    array, damage, store = block.array, finding.damage, finding.store
    if array is None:
        return None
    if store is not None:
        byte = store.address - block.address
    elif damage is not None and damage.offset is not None:
        byte = damage.offset if damage.offset < 0 else block.size + damage.offset
    else:
        return None
    return element_at(array, byte)


def element_at(array: Array, byte: int) -> tuple[int, ...] | None:
    """The index of the element that holds a byte of an array's data, counted from its start: one out of bounds, where
    the byte is, in the outermost dimension alone; None where elements do not lie one behind the other."""
    axes = range(len(array.shape))
    # Along a dimension of one element nothing lies.
    long = [axis for axis in axes if array.shape[axis] != 1] or list(axes[-1:])
    order = sorted(long, key=lambda axis: -array.strides[axis])
    strides = [array.itemsize] * len(order)
    for number in range(len(order) - 1, 0, -1):
        strides[number - 1] = strides[number] * array.shape[order[number]]
    if not order or any(array.strides[axis] != stride for axis, stride in zip(order, strides, strict=True)):
        return None
    index, rest = [0] * len(axes), byte
    for axis, stride in zip(order, strides, strict=True):
        index[axis], rest = divmod(rest, stride)
    return tuple(index)
