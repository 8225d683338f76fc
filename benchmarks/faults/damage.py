"""Damage of every kind to a pool of the core, with the truth about it."""

import random
from collections.abc import Callable
from dataclasses import dataclass, field

from program import BASE, Program
from truth import NEAR, Truth

from heapwitness.findings.model import Kind
from heapwitness.layout import witness
from heapwitness.layout.witness import State

LONGEST = 4096


@dataclass(slots=True)
class Write:
    """Bytes to be written at offsets from the pool's start; `node` is the block whose fault it is, 0 for none."""

    parts: list[tuple[int, bytes]]
    node: int = 0
    size: int = 0


@dataclass(frozen=True, slots=True)
class Row:
    """A row of the table: how such damage is made, and which kinds are right for it."""

    name: str
    make: Callable[[random.Random, Program], Write | None]
    kinds: frozenset[Kind]
    linear: bool = field(default=False)


def inflict(choose: random.Random, program: Program, row: Row) -> Truth | None:
    """Damage the pool; None when the heap has no place for that, or no byte would change."""
    write = row.make(choose, program)
    if write is None:
        return None
    buffer = program.buffer
    changed = [
        at + number
        for at, data in write.parts
        for number, (new, old) in enumerate(zip(data, buffer[at : at + len(data)], strict=True))
        if new != old
    ]
    watched = _watched(program, changed)
    if not watched:
        return None
    start, stop = changed[0], changed[-1] + 1
    first, last = write.parts[0][0], write.parts[-1][0] + len(write.parts[-1][1])
    for at, data in write.parts:
        buffer[at : at + len(data)] = data
    gone = lost(program)
    # Bytes at its ends that were written with the value that they had may be counted or not.
    kinds = (
        row.kinds | _alike(program, row, watched[0], watched[-1] + 1, gone) | _alike(program, row, first, last, gone)
    )
    return Truth(
        row=row.name,
        kinds=kinds,
        block=BASE + program.start(write.node) if write.node else 0,
        size=0 if gone and row.kinds == _UNDERFLOW else write.size,
        start=BASE + start,
        stop=BASE + stop,
        wrote=(BASE + first, BASE + last),
        seen=(BASE + watched[0], BASE + watched[-1] + 1),
        linear=len(write.parts) == 1,
        terminated=write.parts[0][1][-2:].strip(b"\0") != b"" and write.parts[0][1][-1:] == b"\0",
        alike=kinds - row.kinds,
        measured=row.name not in _SEVERAL,
    )


def spots(program: Program) -> list[tuple[int, int]]:
    """Everything of the twin that something vouches for, in order of address: first byte, behind the last one."""
    twin = program.twin
    log2 = twin.granule_log2
    found = [(0, witness.CONTROL)]
    for node in program.nodes:
        at, behind = node.offset << log2, (node.offset + node.size) << log2
        found.append((at, at + witness.OVERHEAD))
        block = program.blocks.get(node.offset)
        if block is None or (block.state is State.CACHED and not block.poison):
            found.append((at + witness.OVERHEAD, at + witness.OVERHEAD + witness.HEADER))
        elif block.poison:
            found.append((at + witness.OVERHEAD, behind))
        elif node.slack:
            found.append((behind - node.slack, behind))
    found.append((twin.end << log2, twin.size))
    return found


def lost(program: Program) -> bool:
    """Whether something cannot be restored: a header lost both its copies, or a released block its links and all
    signs of its poison."""
    if any(_unpoisoned(program, node) for node, block in program.blocks.items() if block.poison):
        return True
    twin, log2 = program.twin, program.twin.granule_log2
    keeper = twin.end
    for node in [*(one.offset for one in program.nodes), twin.end]:
        own, kept = node << log2, (keeper << log2) + witness.KEPT
        if not (program.same(own, own + witness.HEADER) or program.same(kept, kept + witness.HEADER)):
            return True
        keeper = node
    return False


def _unpoisoned(program: Program, node: int) -> bool:
    start, found = program.start(node), program.twin.node(node)
    if found is None or program.same(start, start + witness.HEADER) or program.buffer[start] == 1:
        return False
    # The rest is slack, which holds the pattern whether there was poison or not.
    behind = start + found.requested // 8 * 8
    check = start + witness.HEADER - 4
    return not program.same(check, check + 4) and not any(
        program.same(at, at + 8) for at in range(start + witness.HEADER, behind, 8)
    )


def _watched(program: Program, changed: list[int]) -> list[int]:
    """Those of the bytes that something vouches for, or that lie behind the pool."""
    found: list[int] = []
    places = [*spots(program), (program.pool.size, len(program.buffer))]
    at = 0
    for byte in changed:
        while byte >= places[at][1]:
            at += 1
        if byte >= places[at][0]:
            found.append(byte)
    return found


def _alike(program: Program, row: Row, start: int, stop: int, gone: bool) -> set[Kind]:
    """The kinds by which a write of another block would look the same.

    A wild write that touches a block's edge looks like a write across that edge, and one that fills all between two
    blocks may have come from either. With a header `gone` it is not known which blocks are live.
    """
    alike: set[Kind] = set()
    if not row.kinds & {"header-overwrite", "heap-buffer-overflow", "heap-buffer-underflow"}:
        return alike
    log2 = program.pool.granule_log2
    for node in program.nodes:
        at, behind = node.offset << log2, (node.offset + node.size) << log2
        block = program.blocks.get(node.offset)
        live = block is not None and block.state is State.USED
        end = behind - node.slack if live else behind
        if end <= start <= behind:
            alike.add("heap-buffer-overflow")
        elif behind < start < end + NEAR:
            alike.add("header-overwrite")
        if stop == at + witness.OVERHEAD and (live or gone):
            alike.add("heap-buffer-underflow")
        if start == at + witness.OVERHEAD and not live:
            alike.add("use-after-free-write")
    return alike


# --- what is written ----------------------------------------------------------------------------


def _content(choose: random.Random, length: int, what: str) -> bytes:
    if what == "fill":
        return bytes([choose.choice((0, 0xFF, 0x41, 0x20, choose.randrange(256)))]) * length
    if what == "text":
        return bytes(choose.choice(b"abcdefghij klmnop,=") for _ in range(length - 1)) + b"\0"
    match choose.randrange(4):
        case 0:
            word = choose.randbytes(choose.choice((2, 4, 8)))
            return (word * length)[:length]
        case 1:
            first, width = choose.randrange(1000), choose.choice((4, 8))
            return b"".join((first + one).to_bytes(width, "little") for one in range(length))[:length]
        case 2:
            first = 0x5555_0000_1000 + 16 * choose.randrange(1000)
            return b"".join((first + 48 * one).to_bytes(8, "little") for one in range(length // 8 + 1))[:length]
        case _:
            return choose.randbytes(length)


def _length(choose: random.Random, most: int = LONGEST) -> int:
    """Every length, short ones more often."""
    match choose.randrange(3):
        case 0:
            return choose.randrange(1, most + 1)
        case 1:
            return min(most, int(2 ** choose.uniform(0, 12)))
        case _:
            return choose.randrange(1, min(most, 49))


def _used(choose: random.Random, program: Program) -> int:
    used = [node for node, block in program.blocks.items() if block.state is State.USED]
    return choose.choice(used) if used else 0


def _overflow(what: str) -> Callable[[random.Random, Program], Write | None]:
    def make(choose: random.Random, program: Program) -> Write | None:
        node = _used(choose, program)
        if not node:
            return None
        end = program.end(node)
        return Write([(end, _content(choose, _length(choose), what))], node, program.blocks[node].size)

    return make


def _skipping(choose: random.Random, program: Program) -> Write | None:
    """As of an array of structs whose padding, or of which only some members, are written; or of a wrong index."""
    node = _used(choose, program)
    if not node:
        return None
    start, end = program.start(node), program.end(node)
    size = program.blocks[node].size
    if choose.random() < 0.5:
        gap = choose.randrange(1, NEAR)
        return Write([(end + gap, _content(choose, choose.choice((1, 2, 4, 8, 16, 32)), "words"))], node, size)
    stride, width = choose.choice(((8, 4), (16, 8), (24, 16), (12, 4)))
    first = start + (size + stride - 1) // stride * stride
    if first - end >= NEAR:
        return None
    parts = [(first + number * stride, _content(choose, width, "words")) for number in range(choose.randrange(1, 8))]
    return Write(parts, node, size)


def _underflow(choose: random.Random, program: Program) -> Write | None:
    node = _used(choose, program)
    if not node:
        return None
    start = program.start(node)
    length = min(start, _length(choose, choose.choice((8, 32, 64, 512))))
    what = choose.choice(("fill", "words"))
    return Write([(start - length, _content(choose, length, what))], node, program.blocks[node].size)


def _node(choose: random.Random, program: Program) -> int:
    nodes = [one.offset for one in program.nodes]
    return choose.choice([*nodes, program.pool.end])


def _copy(choose: random.Random, program: Program) -> int:
    """Where one of the two copies of a header lies: its own, or the backup of the next."""
    return (_node(choose, program) << program.pool.granule_log2) + choose.choice((0, witness.KEPT))


def _bit(choose: random.Random, program: Program) -> Write | None:
    at = _copy(choose, program) + choose.randrange(witness.HEADER)
    return Write([(at, bytes([program.buffer[at] ^ 1 << choose.randrange(8)]))])


def _word(choose: random.Random, program: Program) -> Write | None:
    width = choose.choice((1, 2, 4, 8))
    at = _copy(choose, program) + choose.randrange(0, witness.HEADER, width)
    return Write([(at, _content(choose, width, choose.choice(("fill", "words"))))])


def _header(choose: random.Random, program: Program) -> Write | None:
    at = _node(choose, program) << program.pool.granule_log2
    return Write([(at, _content(choose, witness.HEADER, choose.choice(("fill", "words"))))])


def _backup(choose: random.Random, program: Program) -> Write | None:
    at = (_node(choose, program) << program.pool.granule_log2) + witness.KEPT
    return Write([(at, _content(choose, witness.HEADER, choose.choice(("fill", "words"))))])


def _both(choose: random.Random, program: Program) -> Write | None:
    """Both copies of one header, by two writes."""
    pool = program.pool
    nodes = [*(one.offset for one in program.nodes), pool.end]
    place = choose.randrange(len(nodes))
    keeper = nodes[place - 1]
    parts = [
        ((node << pool.granule_log2) + inner, _content(choose, witness.HEADER, choose.choice(("fill", "words"))))
        for node, inner in ((keeper, witness.KEPT), (nodes[place], 0))
    ]
    return Write(sorted(parts))


def _links(choose: random.Random, program: Program) -> Write | None:
    """A write through a pointer that was released: into the first 16 bytes, or from there on."""
    nodes = [one for one in program.nodes if one.state in (State.FREE, State.CACHED)]
    if not nodes:
        return None
    node = choose.choice(nodes)
    begin = choose.randrange(witness.HEADER)
    most = node.requested - begin
    if most < 1:
        return None
    data = _content(choose, min(most, _length(choose, 64)), choose.choice(("fill", "words", "text")))
    return Write([(program.start(node.offset) + begin, data)], node.offset)


def _poison(choose: random.Random, program: Program) -> Write | None:
    nodes = [node for node, block in program.blocks.items() if block.poison]
    if not nodes:
        return None
    node = choose.choice(nodes)
    size = program.blocks[node].size
    begin = choose.randrange(size)
    data = _content(choose, min(size - begin, _length(choose, 256)), choose.choice(("fill", "words", "text")))
    return Write([(program.start(node) + begin, data)], node, size)


def _slack(choose: random.Random, program: Program) -> Write | None:
    """One byte of slack: an overflow that skipped what lies before it, if it is not the first."""
    nodes = [one for one in program.nodes if one.state is State.USED and one.slack]
    if not nodes:
        return None
    node = choose.choice(nodes)
    at = program.end(node.offset) + choose.randrange(node.slack)
    return Write([(at, choose.randbytes(1))], node.offset, node.requested)


def _control(start: int, stop: int) -> Callable[[random.Random, Program], Write | None]:
    """A write into a part of the control block, or, with negative numbers, of the pool's end."""

    def make(choose: random.Random, program: Program) -> Write | None:
        first, behind = (start, stop) if start >= 0 else (program.pool.size + start, program.pool.size + stop)
        length = choose.choice((1, 4, 8, behind - first))
        at = first if length == behind - first else first + choose.randrange(0, behind - first, length)
        return Write([(at, _content(choose, length, choose.choice(("fill", "words"))))])

    return make


_OVERFLOW: frozenset[Kind] = frozenset({"heap-buffer-overflow"})
_UNDERFLOW: frozenset[Kind] = frozenset({"heap-buffer-underflow"})
_WILD: frozenset[Kind] = frozenset({"header-overwrite"})
_AFTER_FREE: frozenset[Kind] = frozenset({"use-after-free-write"})

_SEVERAL = frozenset({"header and its backup"})

ROWS = (
    Row("overflow: a fill (memset)", _overflow("fill"), _OVERFLOW, linear=True),
    Row("overflow: text (strcpy)", _overflow("text"), _OVERFLOW, linear=True),
    Row("overflow: words (structs, arrays)", _overflow("words"), _OVERFLOW, linear=True),
    Row("overflow that leaves bytes out", _skipping, _OVERFLOW),
    Row("slack, one byte", _slack, _OVERFLOW),
    Row("underflow", _underflow, _UNDERFLOW),
    Row("header or backup, one bit", _bit, _WILD),
    Row("header or backup, 1 to 8 bytes", _word, _WILD),
    Row("header, whole", _header, _WILD),
    Row("backup, whole", _backup, _WILD),
    Row("header and its backup", _both, _WILD | _OVERFLOW | _UNDERFLOW),
    Row("use after free: links", _links, _AFTER_FREE),
    Row("use after free: poison", _poison, _AFTER_FREE),
    Row("control block, fixed part", _control(0, witness.WITNESSED), _WILD),
    Row("control block, derived part", _control(witness.WITNESSED, witness.CONTROL), _WILD),
    Row("control block, its copy", _control(-witness.WITNESSED, 0), _WILD),
)
