"""What an instruction takes for addresses; the bytes are those that an assembler made."""

import pytest

from heapwitness.diagnose.operand import Use, use_of

RAX, RCX, RBX, RSI, RDI, RBP, RSP = 0, 2, 3, 4, 5, 6, 7
REGISTERS = tuple(0x1000_0000 * (number + 1) for number in range(16))


@pytest.mark.parametrize(
    ("text", "code", "registers", "shift"),
    [
        ("mov (%rax),%rbx", "488b18", {RAX: 1}, 0),
        ("mov 0x18(%rdi),%rax", "488b4718", {RDI: 1}, 0x18),
        ("mov %eax,0x7f(%r13,%r12,8)", "438944e57f", {13: 1, 12: 8}, 0x7F),
        ("mov -0x80(%rsp),%rcx", "488b4c2480", {RSP: 1}, -0x80),
        ("movzbl (%r9),%eax", "410fb601", {9: 1}, 0),
        ("mov 0x12345(%rbx,%rsi,4),%edx", "8b94b345230100", {RBX: 1, RSI: 4}, 0x12345),
        ("mov 0x1000(,%rax,8),%rax", "488b04c500100000", {RAX: 8}, 0x1000),
        ("vmovdqu (%rsi),%ymm1", "c5fe6f0e", {RSI: 1}, 0),
        ("vpcmpeqb (%rdi,%rax),%ymm0,%ymm1", "c5fd740c07", {RDI: 1, RAX: 1}, 0),
        ("vmovdqu8 -0x20(%r14),%zmm1", "62d17f486f8ee0ffffff", {14: 1}, -0x20),
        ("lock cmpxchg %rcx,(%r15)", "f0490fb10f", {15: 1}, 0),
        ("movups 0x8(%rbp),%xmm3", "0f105d08", {RBP: 1}, 8),
        ("pcmpistri $0x1a,(%r10,%rcx),%xmm1", "66410f3a630c0a1a", {10: 1, RCX: 1}, 0),
        ("vpgatherdd %ymm2,(%rax,%ymm1,4),%ymm0", "c4e26d900488", {RAX: 1}, 0),
    ],
)
def test_a_memory_operand_names_its_registers_and_its_address(
    text: str, code: str, registers: dict[int, int], shift: int
) -> None:
    use = use_of(bytes.fromhex(code) + b"\x90" * 4, REGISTERS)

    address = sum(REGISTERS[number] * factor for number, factor in registers.items()) + shift
    assert use == Use(tuple(registers), (address,)), text


@pytest.mark.parametrize(
    ("text", "code", "expected"),
    [
        ("call *%rdx", "ffd2", Use((1,), (REGISTERS[1],))),
        ("jmp *%r11", "41ffe3", Use((11,), (REGISTERS[11],))),
        ("call *0x10(%rdi)", "ff5710", Use((RDI,), (REGISTERS[RDI] + 16,), target=True)),
        ("ret", "c3", Use((RSP,), (REGISTERS[RSP],), target=True)),
        ("rep movsb", "f3a4", Use((RSI, RDI), (REGISTERS[RSI], REGISTERS[RDI]))),
        ("rep stosq", "f348ab", Use((RDI,), (REGISTERS[RDI],))),
        ("movabs 0x1234567812345678,%rax", "48a17856341278563412", Use((), (0x1234567812345678,))),
    ],
)
def test_jumps_and_strings_say_where_they_go(text: str, code: str, expected: Use) -> None:
    assert use_of(bytes.fromhex(code) + b"\x90" * 4, REGISTERS) == expected, text


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("mov $5,%eax", "b805000000"),
        ("mov %rbx,%rax", "4889d8"),
        ("mov 0x10(%rip),%rax", "488b0510000000"),
        ("mov %fs:0x28,%rax", "64488b042528000000"),
        ("nop", "90"),
        ("syscall", "0f05"),
        ("nothing", ""),
        ("mov (%rax... cut short", "488b"),
        ("mov 0x12345(... cut short", "8b94b34523"),
    ],
)
def test_what_takes_no_address_from_a_register_gives_none(text: str, code: str) -> None:
    assert use_of(bytes.fromhex(code), REGISTERS) is None, text
