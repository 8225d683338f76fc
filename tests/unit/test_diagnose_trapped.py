"""Accesses that a trap let through, and damage of trapped blocks, from the bytes that the engine tells."""

import pytest
from support import crashes
from support.crashes import RAX, RDI

from heapwitness.diagnose import diagnose, with_stored
from heapwitness.diagnose.instruction import instruction_of
from heapwitness.findings.model import Finding
from heapwitness.layout.events import Access, Event, Reason, Released, Trap, TrapState, Type, Unpooled, When
from heapwitness.layout.witness import Origin
from heapwitness.memory import SegmentsMemory

PAGE = 4096
END = 0x7F00_0001_0000
SIZE = 25
START = END - 32
"""A block of 25 bytes, 7 before the end of its page."""

CODE = 0x40_1000
PATTERN = 0x8887_8685_8483_8281
NEAR = TrapState.GOES_ON | TrapState.IS_NEAR
MOV_DWORD = bytes.fromhex("c70003000000")  # mov dword ptr [rax], 3
MOV_INDEXED = bytes.fromhex("c6441ff878")  # mov byte ptr [rdi + rbx - 8], 0x78
MOVUPS = bytes.fromhex("0f1107")  # movups xmmword ptr [rdi], xmm0


def unpooled() -> Unpooled:
    return Unpooled(address=START, size=SIZE, site=0, origin=Origin.MALLOC, pattern=PATTERN, before=START % PAGE)


def page(changes: dict[int, int]) -> SegmentsMemory:
    """The block's page as the engine filled it, but for some bytes by their address."""
    data = bytearray((PATTERN >> (at - START) % 8 * 8) & 0xFF for at in range(END - PAGE, END))
    data[START % PAGE : START % PAGE + SIZE] = b"u" * SIZE
    for at, value in changes.items():
        data[at - END + PAGE] = value
    return SegmentsMemory([(END - PAGE, bytes(data))])


def access(
    address: int, how: Access = Access.WRITE, state: int = NEAR, code: bytes = MOV_DWORD, rax: int | None = None
) -> Finding:
    """The finding of one access to the block's guard."""
    words = crashes.words({RAX: address if rax is None else rax, RDI: address - 8}, pc=CODE)
    event = Event(
        type=Type.FINDING,
        when=When.TRAP,
        reason=Reason.GUARD,
        frames=(CODE, 0x5000),
        trap=Trap(address=address, pc=CODE, access=how, pool=0, state=state),
        unpooled=unpooled(),
        held=words,
    )
    (finding,) = diagnose(event, SegmentsMemory([(CODE, code + bytes(15))]))
    return finding


def test_store_behind_a_block_is_an_overflow_by_that_store() -> None:
    finding = access(END)

    assert (finding.kind, finding.access, finding.certain) == ("heap-buffer-overflow", "write", True)
    assert finding.culprit is not None and (finding.culprit.address, finding.culprit.size) == (START, SIZE)
    assert finding.store is not None and [frame.pc for frame in finding.store.stack] == [CODE, 0x5000]
    assert "7 bytes past the end of the block" in finding.detail and "went on after that" in finding.detail
    assert "wild pointer" not in finding.detail


def test_store_before_a_block_is_an_underflow() -> None:
    assert access(START - PAGE).kind == "heap-buffer-underflow"


def test_read_is_told_as_one() -> None:
    finding = access(END, Access.READ)

    assert (finding.kind, finding.access) == ("heap-buffer-overflow", "read")


def test_access_that_skips_bytes_may_be_a_wild_one() -> None:
    assert "an index too far, or a wild pointer" in access(END + 100).detail


def test_access_about_as_near_to_another_block_is_not_certain() -> None:
    finding = access(END + 9000, state=TrapState.GOES_ON)

    assert not finding.certain
    assert "about as near to another one" in finding.detail


def test_use_of_a_block_that_is_gone_is_told_with_its_offset() -> None:
    event = Event(
        type=Type.FINDING,
        when=When.TRAP,
        reason=Reason.GUARD,
        frames=(CODE,),
        trap=Trap(address=START + 5, pc=CODE, access=Access.WRITE, pool=0, state=NEAR),
        released=Released(address=START, size=SIZE, site=0, origin=Origin.NEW),
    )

    (finding,) = diagnose(event, SegmentsMemory(()))

    assert (finding.kind, finding.certain) == ("use-after-free-write", True)
    assert finding.culprit is not None and finding.culprit.state == "free"
    assert "went on after that" in finding.detail


@pytest.mark.parametrize(
    ("changes", "kind", "offset", "length"),
    [
        ({START + SIZE: 0}, "heap-buffer-overflow", 0, 1),
        ({END - 1: 0}, "heap-buffer-overflow", 6, 1),
        ({START - 1: 0}, "heap-buffer-underflow", -1, 1),
        ({START - 9: 0, START - 3: 0}, "heap-buffer-underflow", -9, 7),
    ],
)
def test_damage_on_either_side_of_a_trapped_block_is_told_to_the_byte(
    changes: dict[int, int], kind: str, offset: int, length: int
) -> None:
    event = Event(type=Type.FINDING, reason=Reason.SLACK, unpooled=unpooled())

    (finding,) = diagnose(event, page(changes))

    assert finding.kind == kind and finding.damage is not None
    assert (finding.damage.offset, finding.damage.length, finding.damage.copies) == (offset, length, ("slack",))
    assert finding.damage.address == min(changes)


@pytest.mark.parametrize(("text", "exact"), [(b"over", False), (b"ov", False), (b"ove\0", True), (b"o", True)])
def test_end_of_such_damage_is_told_as_one_where_its_form_says_so(text: bytes, exact: bool) -> None:
    event = Event(type=Type.FINDING, reason=Reason.SLACK, unpooled=unpooled())

    (finding,) = diagnose(event, page({START + SIZE + number: byte for number, byte in enumerate(text)}))

    assert finding.damage is not None
    assert (finding.damage.length, finding.damage.exact) == (len(text), exact)


@pytest.mark.parametrize(("reason", "kind"), [(Reason.INVALID, "invalid-free"), (Reason.MISMATCH, "mismatched-free")])
def test_wrong_release_of_a_trapped_block_names_the_block(reason: Reason, kind: str) -> None:
    event = Event(type=Type.FINDING, reason=reason, pointer=START + 4, family=Origin.NEW, unpooled=unpooled())

    (finding,) = diagnose(event, SegmentsMemory(()))

    assert finding.kind == kind
    assert finding.culprit is not None and finding.culprit.address == START
    assert {"invalid-free": "4 bytes past its start and 21 bytes before its end"}.get(
        kind, "by delete"
    ) in finding.detail


@pytest.mark.parametrize(
    ("code", "address", "start", "size", "text", "registers"),
    [
        (MOV_DWORD, 0x9000, 0x9000, 4, "mov dword ptr [rax], 3", ["rax"]),
        (MOVUPS, 0x9007, 0x9000, 16, "movups xmmword ptr [rdi], xmm0", ["rdi"]),
        (MOV_INDEXED, 0x9000, 0x9000, 1, "mov byte ptr [rdi + rbx - 8], 0x78", ["rdi", "rbx"]),
        (MOV_DWORD, 0x5, 0, 0, "mov dword ptr [rax], 3", []),
        (b"\x90", 0x9000, 0, 0, "nop", []),
    ],
)
def test_instruction_tells_where_and_how_much_it_accesses(
    code: bytes, address: int, start: int, size: int, text: str, registers: list[str]
) -> None:
    words = crashes.words({RAX: 0x9000, RDI: 0x9000 if code == MOVUPS else 0x8000, 3: 0x1008}, pc=CODE)

    found = instruction_of(words, address, SegmentsMemory([(CODE, code + bytes(15))]))

    assert found is not None
    assert (found.start, found.size, found.text, list(found.registers)) == (start, size, text, registers)


def test_instruction_that_cannot_be_read_is_not_known() -> None:
    assert instruction_of(crashes.words({}, pc=CODE), 0x9000, SegmentsMemory(())) is None


def test_value_is_what_lies_there_after_the_store() -> None:
    finding = access(END)

    told = with_stored(finding, (END - 64, bytes(64) + b"\3\0\0\0" + b"x" * 60))

    assert told.store is not None and (told.store.size, told.store.value) == (4, "03000000")
    assert told.store.instruction == "mov dword ptr [rax], 3"


@pytest.mark.parametrize("stored", [None, (END + 1, b"x" * 64), (END - 64, bytes(66))])
def test_value_that_was_not_told_whole_is_not_known(stored: tuple[int, bytes] | None) -> None:
    told = with_stored(access(END), stored)

    assert told.store is not None and told.store.value is None
