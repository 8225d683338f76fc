"""Faults to put into a simulation, and how a user writes them: KIND@OPERATION[:ARGUMENT[:ARGUMENT]].

A fault strikes right after the operation with that number (counted from 1, without `init`), at the
block which that operation allocated, resized or freed:

    overflow@7:16         16 bytes past the end of the block; overflow@7:16:0x5a with a fill byte
    underflow@7:4         4 bytes before its start
    bit@7:31              flips a bit of sizeAndFlag in its header
    header@7              fills its header; header@7:0xff with a fill byte
    backup@7              fills the backup of its header, in the node before
    both@7                fills both
    links@7               overwrites the list links in its header (of a block that was freed)
    prenode@7             makes preNode point nowhere
    gap@7                 overwrites the gap word in front of an aligned block
    write@7:ADDR:HEX      writes bytes anywhere
    wild-free@7:16        frees a pointer 16 bytes behind the block's start (which may be negative)
    double-free@7         frees the block once more than the trace does
"""

import re
from collections.abc import Callable
from typing import Final, Literal, get_args

import msgspec

from heapwitness.errors import HeapwitnessError
from heapwitness.liteos.heap.walk import WalkedNode
from heapwitness.liteos.layout.layout import Layout
from heapwitness.liteos.pool.pool import Pool

FaultKind = Literal[
    "overflow",
    "underflow",
    "bit",
    "header",
    "backup",
    "both",
    "links",
    "prenode",
    "gap",
    "write",
    "wild-free",
    "double-free",
]
_KINDS: Final[dict[str, FaultKind]] = {kind: kind for kind in get_args(FaultKind)}
_FAULT: Final = re.compile(
    r"(?P<kind>[a-z-]{1,32})@(?P<operation>\d{1,20})(?::(?P<first>[^:]{1,1024}))?(?::(?P<second>[^:]{1,1024}))?"
)
# Which arguments a kind takes: none, a number that must or may be there, and a second one that may.
_ARGUMENTS: Final[dict[str, tuple[int, int]]] = {
    "overflow": (1, 2),
    "underflow": (1, 2),
    "bit": (1, 1),
    "header": (0, 1),
    "backup": (0, 1),
    "both": (0, 1),
    "links": (0, 0),
    "prenode": (0, 1),
    "gap": (0, 1),
    "write": (2, 2),
    "wild-free": (0, 1),
    "double-free": (0, 0),
}
_LONGEST: Final = 1 << 20
_WILD: Final = 0xDEADDEAD


class BadFault(HeapwitnessError):
    """A fault that cannot be put into this trace."""


class InjectedFault(msgspec.Struct, frozen=True):
    """One fault; see the module's text. `arguments` are as they were written."""

    kind: FaultKind
    operation: int
    arguments: tuple[str, ...]
    text: str

    @property
    def is_release(self) -> bool:
        """Whether it is a call, and not a write."""
        return self.kind in ("wild-free", "double-free")


def parse(text: str) -> InjectedFault:
    """Read a fault as it is written.

    Raises:
        BadFault: it is none; the sentence says what is wrong.
    """
    match = _FAULT.fullmatch(text.strip())
    if match is None or match["kind"] not in _KINDS:
        raise BadFault(f"{text!r} is no fault: write one such as overflow@7:16; there are {', '.join(_KINDS)}.")
    arguments = tuple(one for one in (match["first"], match["second"]) if one is not None)
    least, most = _ARGUMENTS[match["kind"]]
    if not least <= len(arguments) <= most:
        raise BadFault(f"{text!r} has {len(arguments)} arguments, but {match['kind']} takes {least} to {most}.")
    fault = InjectedFault(_KINDS[match["kind"]], int(match["operation"]), arguments, text.strip())
    _check_arguments(fault)
    return fault


def _check_arguments(fault: InjectedFault) -> None:
    if fault.kind == "write":
        _number(fault, 0)
        _hexadecimal(fault)
        return
    for index in range(len(fault.arguments)):
        _number(fault, index)
    if fault.kind in ("overflow", "underflow") and not 0 < _number(fault, 0) <= _LONGEST:
        raise BadFault(f"{fault.text!r}: give 1 to {_LONGEST} bytes.")
    if fault.kind == "bit" and not 0 <= _number(fault, 0) < 32:
        raise BadFault(f"{fault.text!r}: sizeAndFlag has the bits 0 to 31.")


def _number(fault: InjectedFault, index: int, otherwise: int = 0) -> int:
    if index >= len(fault.arguments):
        return otherwise
    try:
        return int(fault.arguments[index], 0)
    except ValueError as error:
        raise BadFault(f"{fault.text!r}: {fault.arguments[index]!r} is no number.") from error


def _hexadecimal(fault: InjectedFault) -> bytes:
    try:
        return bytes.fromhex(fault.arguments[1])
    except ValueError as error:
        raise BadFault(f"{fault.text!r}: {fault.arguments[1]!r} are no hexadecimal digits.") from error


def released_pointer(fault: InjectedFault, block: int) -> int:
    """What a wrong release passes, for a block at an address."""
    return block + (_number(fault, 0, 16) if fault.kind == "wild-free" else 0)


def strike(fault: InjectedFault, pool: Pool, block: int) -> None:
    """Write a fault into a pool, at the block with an address.

    Raises:
        BadFault: the block is not what the kind needs, or the bytes lie outside of the pool's.
    """
    if fault.kind == "write":
        _write(fault, pool, _number(fault, 0), _hexadecimal(fault))
        return
    nodes = {node.address: node for node in pool.nodes()}
    node = next((one for one in nodes.values() if one.address <= block < one.address + one.size), None)
    if node is None:
        raise BadFault(f"{fault.text!r}: there is no block at {block:#x} in this pool.")
    _STRIKES[fault.kind](fault, pool, node, block)


def _overflow(fault: InjectedFault, pool: Pool, node: WalkedNode, block: int) -> None:
    length = _number(fault, 0)
    _write(fault, pool, node.address + node.size, _text(fault, b"OVERFLOW", length))


def _underflow(fault: InjectedFault, pool: Pool, node: WalkedNode, block: int) -> None:
    length = _number(fault, 0)
    _write(fault, pool, block - length, _text(fault, b"UNDERR!!", length))


def _text(fault: InjectedFault, pattern: bytes, length: int) -> bytes:
    if len(fault.arguments) > 1:
        return bytes([_number(fault, 1) & 0xFF]) * length
    return (pattern * (length // len(pattern) + 1))[:length]


def _bit(fault: InjectedFault, pool: Pool, node: WalkedNode, block: int) -> None:
    at = _own(pool.layout, node) + pool.layout.control.size_and_flag.offset
    bit = _number(fault, 0)
    byte = pool.buffer[at - pool.address + bit // 8] ^ 1 << bit % 8
    _write(fault, pool, at + bit // 8, bytes([byte]))


def _header(fault: InjectedFault, pool: Pool, node: WalkedNode, block: int) -> None:
    _write(fault, pool, _own(pool.layout, node), bytes([_number(fault, 0, 0xA5) & 0xFF]) * pool.layout.control.size)


def _backup(fault: InjectedFault, pool: Pool, node: WalkedNode, block: int) -> None:
    if pool.layout.backup_offset is None or node.previous is None:
        raise BadFault(f"{fault.text!r}: without LOSCFG_MEM_HEAD_BACKUP there is no backup.")
    fill = bytes([_number(fault, 0, 0x5A) & 0xFF]) * pool.layout.control.size
    _write(fault, pool, node.previous + pool.layout.backup_offset, fill)


def _both(fault: InjectedFault, pool: Pool, node: WalkedNode, block: int) -> None:
    _header(fault, pool, node, block)
    _backup(fault, pool, node, block)


def _links(fault: InjectedFault, pool: Pool, node: WalkedNode, block: int) -> None:
    if node.used:
        raise BadFault(f"{fault.text!r}: only a free block has list links; name an operation that frees.")
    word = _WILD.to_bytes(pool.layout.pointer, "little")
    _write(fault, pool, _own(pool.layout, node) + pool.layout.control.prev.offset, 2 * word)


def _prenode(fault: InjectedFault, pool: Pool, node: WalkedNode, block: int) -> None:
    value = _number(fault, 0, 0x41414141) & pool.layout.pointer_mask
    at = _own(pool.layout, node) + pool.layout.control.pre_node.offset
    _write(fault, pool, at, value.to_bytes(pool.layout.pointer, "little"))


def _gap(fault: InjectedFault, pool: Pool, node: WalkedNode, block: int) -> None:
    if node.header is None or not node.header.aligned:
        raise BadFault(f"{fault.text!r}: the block is not aligned, so it has no gap word.")
    _write(fault, pool, block - 4, (_number(fault, 0, 0x40001000) & 0xFFFFFFFF).to_bytes(4, "little"))


def _own(layout: Layout, node: WalkedNode) -> int:
    return node.address + layout.header_offset


def _write(fault: InjectedFault, pool: Pool, address: int, data: bytes) -> None:
    at = address - pool.address
    if not 0 <= at <= len(pool.buffer) - len(data):
        raise BadFault(f"{fault.text!r}: its bytes at {address:#x} lie outside of the pool.")
    pool.buffer[at : at + len(data)] = data


_STRIKES: Final[dict[FaultKind, Callable[[InjectedFault, Pool, WalkedNode, int], None]]] = {
    "overflow": _overflow,
    "underflow": _underflow,
    "bit": _bit,
    "header": _header,
    "backup": _backup,
    "both": _both,
    "links": _links,
    "prenode": _prenode,
    "gap": _gap,
}
