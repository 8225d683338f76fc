"""What an instruction that a trap caught accesses: where, how much, and in words."""

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from heapwitness.layout.events import CrashWords, Machine
from heapwitness.memory import Memory, Unreadable

LONGEST = 15
_SWEPT = 64
"""Bytes before an instruction's end from which the code is decoded up to there: wherever one begins, it soon meets the
instructions as they are."""
_REPEATED = 64
"""A repeated store may be told of so many bytes later."""
_PAGE = 4096
_MASK = (1 << 64) - 1
_NAMES = (
    *("rax", "rdx", "rcx", "rbx", "rsi", "rdi", "rbp", "rsp"),
    *(f"r{number}" for number in range(8, 16)),
)


class Instruction(NamedTuple):
    """`start` and `size` (bytes) of the access, 0 where they are not known; `registers` are those that its address was
    made of."""

    text: str
    start: int
    size: int
    registers: dict[str, int]


def code_at(memory: Memory, pc: int) -> bytes:
    """The bytes of an instruction and what follows; b"" where they cannot be read."""
    # The instruction may be the last before memory that is not there.
    for length in (LONGEST, _PAGE - pc % _PAGE):
        try:
            return memory.read(pc, min(length, LONGEST))
        except Unreadable:
            continue
    return b""


def instruction_of(words: CrashWords, address: int, memory: Memory) -> Instruction | None:
    """The instruction at which a thread was stopped that accessed `address`; None where it is not understood."""
    if words.machine != Machine.X86_64:
        return None
    try:
        import capstone
    except (ImportError, OSError):
        return None
    decoder = capstone.Cs(capstone.CS_ARCH_X86, capstone.CS_MODE_64)
    decoder.detail = True
    decoded = next(decoder.disasm(code_at(memory, words.pc), words.pc, 1), None)
    if decoded is None:
        return None
    text = f"{decoded.mnemonic} {decoded.op_str}".strip()
    values = dict(zip(_NAMES, words.registers, strict=False))
    for operand in decoded.operands:
        if operand.type != capstone.x86.X86_OP_MEM or operand.mem.segment:
            continue
        parts = [
            (decoded.reg_name(number) or "", factor)
            for number, factor in ((operand.mem.base, 1), (operand.mem.index, operand.mem.scale))
            if number
        ]
        start = _address(parts, operand.mem.disp, decoded.address + decoded.size, values)
        if start is not None and start <= address < start + operand.size:
            registers = {name: values[name] for name, _ in parts if name in values}
            return Instruction(text, start, operand.size, registers)
    return Instruction(text, 0, 0, {})


def instruction_before(words: CrashWords, address: int, memory: Memory) -> tuple[int, Instruction] | None:
    """The instruction that a thread has just done, which stored at `address`, and where it begins.

    x86 has no mark where instructions begin, so it is the one that accesses the address by what the registers hold now,
    of those the one that most ways of decoding the code before lead to; else the one that most lead to, without its
    access. None where the code cannot be read, or is another machine's.
    """
    if words.machine != Machine.X86_64:
        return None
    likely: tuple[int, Instruction] | None = None
    for start in _beginnings(words.pc, memory):
        instruction = instruction_of(words._replace(pc=start), address, memory)
        if instruction is None:
            continue
        if instruction.size:
            return start, instruction
        likely = likely or (start, instruction)
    return _repeated(words, address, memory) or likely


def _beginnings(pc: int, memory: Memory) -> Iterator[int]:
    """Where an instruction may begin that ends at `pc`, the likeliest first."""
    try:
        import capstone
    except (ImportError, OSError):
        return
    decoder = capstone.Cs(capstone.CS_ARCH_X86, capstone.CS_MODE_64)
    votes: Counter[int] = Counter()
    for length in range(1, _SWEPT + 1):
        try:
            code = memory.read(pc - length, length)
        except Unreadable:
            break
        last = None
        for at, size, _, _ in decoder.disasm_lite(code, pc - length):
            last = at if at + size == pc else None
        if last is not None and pc - last <= LONGEST:
            votes[last] += 1
    yield from (start for start, _ in votes.most_common())


def _repeated(words: CrashWords, address: int, memory: Memory) -> tuple[int, Instruction] | None:
    """A repeated store (`rep stosb`) that goes on: the thread is still at it, and just behind the address."""
    instruction = instruction_of(words, address, memory)
    if instruction is None or not instruction.text.startswith(("rep stos", "rep movs")):
        return None
    behind = words.registers[_NAMES.index("rdi")] - address
    return (words.pc, instruction) if 0 < behind <= _REPEATED else None


def _address(parts: Sequence[tuple[str, int]], shift: int, following: int, values: dict[str, int]) -> int | None:
    total = shift
    for name, factor in parts:
        value = following if name == "rip" else values.get(name)
        if value is None:  # half a register, or a vector of them
            return None
        total += value * factor
    return total & _MASK
