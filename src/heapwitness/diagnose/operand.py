"""What an instruction of x86-64 takes for addresses, from its bytes and the registers.

A processor that is given an address which no memory can have does not say which one it was. The instruction
does: its memory operand names the registers that the address was made of.
"""

from collections.abc import Sequence
from typing import NamedTuple

_MASK = (1 << 64) - 1
_RSP, _RSI, _RDI = 7, 4, 5
# From the numbers in instructions to those of DWARF, which the registers come in.
_DWARF = (0, 2, 1, 3, 7, 6, 4, 5, 8, 9, 10, 11, 12, 13, 14, 15)

_PREFIXES = frozenset(b"\x66\xf2\xf3\x2e\x36\x3e\x26\xf0")
_SEGMENTS = frozenset(b"\x64\x65")
_SHORT_ADDRESSES = 0x67
_GATHERS = range(0x90, 0x94)
_STRINGS = {
    **dict.fromkeys((0xA4, 0xA5, 0xA6, 0xA7), (_RSI, _RDI)),
    **dict.fromkeys((0xAA, 0xAB, 0xAE, 0xAF), (_RDI,)),
    **dict.fromkeys((0xAC, 0xAD), (_RSI,)),
}
_MOVES = range(0xA0, 0xA4)
"""Of a register and memory whose whole address stands in the instruction."""
_RETURNS = (0xC2, 0xC3)
# Opcodes that have an operand byte; of the second table all but these have one.
_WITH_OPERAND = frozenset(
    (
        *(first + low for first in range(0, 0x40, 8) for low in range(4)),
        *(0x63, 0x69, 0x6B, *range(0x80, 0x90), 0xC0, 0xC1, 0xC6, 0xC7, *range(0xD0, 0xD4), *range(0xD8, 0xE0)),
        *(0xF6, 0xF7, 0xFE, 0xFF),
    )
)
_SECOND_WITHOUT = frozenset(
    (
        *(*range(0x05, 0x0A), 0x0B, *range(0x30, 0x38), 0x77, *range(0x80, 0x90)),
        *(0xA0, 0xA1, 0xA2, 0xA8, 0xA9, 0xAA, *range(0xC8, 0xD0)),
    )
)
_CALLS = (2, 3, 4, 5)


class Use(NamedTuple):
    """What an instruction accesses. `registers` are DWARF numbers.

    `addresses` are what it makes of them (a call through a register: where it leads). `target`: it goes on at what it
    loads from there.
    """

    registers: tuple[int, ...]
    addresses: tuple[int, ...]
    target: bool = False

    @property
    def returns(self) -> bool:
        """Whether it goes on at what stands at the stack pointer."""
        return self.target and self.registers == (_RSP,)


class _Opcode(NamedTuple):
    table: int
    byte: int
    rex: int
    end: int
    scaled: bool


def use_of(code: bytes, registers: Sequence[int]) -> Use | None:
    """What the instruction at the start of `code` takes for addresses; None where it takes none that is understood.

    Args:
        code: up to 15 bytes.
        registers: the sixteen general ones, by their DWARF numbers.
    """
    try:
        return _use(code, registers)
    except IndexError:  # the bytes end before the instruction does
        return None


def _use(code: bytes, registers: Sequence[int]) -> Use | None:
    at = 0
    while code[at] in _PREFIXES:
        at += 1
    if code[at] in _SEGMENTS or code[at] == _SHORT_ADDRESSES:
        return None
    opcode = _opcode(code, at)
    if opcode.table == 0 and opcode.byte in _STRINGS:
        used = _STRINGS[opcode.byte]
        return Use(used, tuple(registers[one] for one in used))
    if opcode.table == 0 and opcode.byte in _RETURNS:
        return Use((_RSP,), (registers[_RSP],), target=True)
    if opcode.table == 0 and opcode.byte in _MOVES:
        return Use((), (int.from_bytes(code[opcode.end : opcode.end + 8], "little"),))
    if opcode.table == 0 and opcode.byte not in _WITH_OPERAND:
        return None
    if opcode.table == 1 and opcode.byte in _SECOND_WITHOUT:
        return None
    return _operand(code, opcode, registers)


def _opcode(code: bytes, at: int) -> _Opcode:
    """The opcode behind the prefixes, old or new, and the bits that they add to register numbers."""
    first = code[at]
    if first == 0xC5:
        return _Opcode(1, code[at + 2], (~code[at + 1] >> 5) & 4, at + 3, False)
    if first == 0xC4:
        return _Opcode(code[at + 1] & 31, code[at + 3], ~code[at + 1] >> 5 & 7, at + 4, False)
    if first == 0x62:
        return _Opcode(code[at + 1] & 7, code[at + 4], ~code[at + 1] >> 5 & 7, at + 5, True)
    rex = 0
    if first & 0xF0 == 0x40:
        rex, at = first & 15, at + 1
    if code[at] != 0x0F:
        return _Opcode(0, code[at], rex, at + 1, False)
    if code[at + 1] in (0x38, 0x3A):
        return _Opcode(2 if code[at + 1] == 0x38 else 3, code[at + 2], rex, at + 3, False)
    return _Opcode(1, code[at + 1], rex, at + 2, False)


def _operand(code: bytes, opcode: _Opcode, registers: Sequence[int]) -> Use | None:
    byte = code[opcode.end]
    mode, middle, low = byte >> 6, byte >> 3 & 7, byte & 7
    goes = opcode.table == 0 and opcode.byte == 0xFF and middle in _CALLS
    if mode == 3:
        number = _DWARF[low | (opcode.rex & 1) << 3]
        return Use((number,), (registers[number],)) if goes else None
    at = opcode.end + 1
    parts: list[tuple[int, int]] = []
    base: int | None = low
    if low == 4:
        scale, index, base = code[at] >> 6, code[at] >> 3 & 7 | (opcode.rex & 2) << 2, code[at] & 7
        at += 1
        # Of a gather the index is a vector.
        if index != 4 and not (opcode.table == 2 and opcode.byte in _GATHERS):
            parts.append((_DWARF[index], 1 << scale))
    if base == 5 and mode == 0:
        if low == 5:
            return None  # relative to the instruction itself
        base, mode = None, 2
    if base is not None:
        parts.insert(0, (_DWARF[base | (opcode.rex & 1) << 3], 1))
    size = (0, 1, 4)[mode]
    shift = int.from_bytes(code[at : at + size], "little", signed=True)
    if len(code) < at + size:
        return None
    total = sum(registers[number] * factor for number, factor in parts)
    if opcode.scaled and size == 1:
        shift *= 16  # of a vector's size, one of which is as near as need be
    return Use(tuple(number for number, _ in parts), ((total + shift) & _MASK,), target=goes)
