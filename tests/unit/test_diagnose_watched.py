"""Stores to watched bytes: which instruction did it, and which damage is theirs."""

import struct
from collections.abc import Mapping

import pytest

from heapwitness.diagnose import Caught, caught, is_damage_of, with_store
from heapwitness.diagnose.instruction import instruction_before
from heapwitness.findings.model import Block, Damage, Detected, Finding, Reading
from heapwitness.layout.events import CrashState, CrashWords, Event, Machine, Type, WatchedStore
from heapwitness.memory import SegmentsMemory

PC, AT = 0x40_1000, 0x1000_0020
RAX, RDX, RCX, RDI = 0, 1, 2, 5


def words(registers: Mapping[int, int], pc: int = PC, machine: Machine = Machine.X86_64) -> CrashWords:
    """What the processor holds behind an instruction."""
    values = tuple(registers.get(number, 0) for number in range(16))
    return CrashWords(
        machine=machine,
        signal=5,
        code=6,
        address=0,
        sender=0,
        state=CrashState(0),
        nodes=0,
        pc=pc,
        sp=0,
        trap=1,
        error=0,
        registers=values,
    )


def code(before: str, behind: str = "90" * 16) -> SegmentsMemory:
    """Memory in which PC lies between two stretches of code."""
    start = bytes.fromhex(before)
    return SegmentsMemory(((PC - len(start), start + bytes.fromhex(behind)),))


@pytest.mark.parametrize(
    ("text", "before", "registers", "size"),
    [
        ("mov byte ptr [rax + 0x19], 0x78", "554889e5c6401978", {RAX: AT - 0x19}, 1),
        ("mov qword ptr [rax], rdx", "4801c8488910", {RAX: AT}, 8),
        ("mov dword ptr [rax], edx", "b948000000" + "8910", {RAX: AT}, 4),
        ("mov qword ptr [rdi + rcx*8], rdx", "90488914cf", {RDI: AT - 64, RCX: 8}, 8),
        ("vmovdqu ymmword ptr [rdi - 0x20], ymm1", "90c5fe7f4fe0", {RDI: AT + 16}, 32),
        ("lock xadd dword ptr [rax], edx", "90f00fc110", {RAX: AT}, 4),
    ],
)
def test_instruction_before_is_told_with_its_access(
    text: str, before: str, registers: Mapping[int, int], size: int
) -> None:
    found = instruction_before(words(registers), AT, code("9090904889e5" + before))

    assert found is not None
    start, instruction = found
    assert (instruction.text, instruction.size) == (text, size)
    assert instruction.start <= AT < instruction.start + size
    assert start < PC


def test_repeated_store_is_told_while_it_goes_on() -> None:
    found = instruction_before(words({RDI: AT + 1, RCX: 5}), AT, code("b905000000", "f3aa" + "90" * 14))

    assert found is not None and (found[0], found[1].text) == (PC, "rep stosb byte ptr [rdi], al")


def test_call_of_the_kernel_is_the_instruction_before() -> None:
    found = instruction_before(words({RAX: 14}), AT, code("b8000000000f05"))

    assert found is not None and (found[0], found[1].text, found[1].size) == (PC - 2, "syscall", 0)


@pytest.mark.parametrize(
    ("machine", "memory"), [(Machine.AARCH64, code("488910")), (Machine.X86_64, SegmentsMemory(()))]
)
def test_instruction_that_cannot_be_read_is_not_told(machine: Machine, memory: SegmentsMemory) -> None:
    assert instruction_before(words({RAX: AT}, machine=machine), AT, memory) is None


def event(before: bytes, after: bytes) -> Event:
    """A store of rdx to [rax], as the engine tells it."""
    memory = ((PC - 6, bytes.fromhex("909090488910")),)
    watched = WatchedStore(at=AT, before=before, after=after, block=AT + 32, size=40, site=1, number=58)
    stored = (AT - 64, bytes(64) + after + bytes(64 - len(after)))
    return Event(
        type=Type.WATCHED,
        frames=(PC, 0x40_2000),
        watched=watched,
        held=words({RAX: AT}),
        memory=memory,
        stored=stored,
    )


def store(before: int, after: int) -> Caught:
    found = caught(event(struct.pack("<Q", before), struct.pack("<Q", after)))
    assert found is not None
    return found


def finding(
    actual: bytes,
    address: int = AT,
    certain: bool = False,
    readings: tuple[Reading, ...] = (),
    shown: int | None = None,
) -> Finding:
    damage = Damage(
        address=address,
        length=len(actual),
        offset=2,
        expected="00" * len(actual),
        actual=actual.hex(),
        shown=len(actual) if shown is None else shown,
        copies=("header",),
    )
    return Finding(
        kind="heap-buffer-overflow",
        detected=Detected(when="free", thread=1),
        culprit=block(AT - 0x22),
        victim=block(AT + 32),
        damage=damage,
        certain=certain,
        readings=readings,
    )


def block(address: int) -> Block:
    return Block(address=address, size=32, state="used", origin="malloc")


def test_store_is_told_with_its_value_frames_and_first_changed_byte() -> None:
    told = store(0x01_00_00_00, 0x01_00_05_00).store

    assert (told.address, told.start, told.size) == (AT + 1, AT, 8)
    assert told.value == "0005000100000000"
    assert [frame.pc for frame in told.stack] == [PC - 3, 0x40_2000]
    assert told.registers == {"rax": AT}


def test_store_that_changed_nothing_is_none() -> None:
    assert caught(event(bytes(8), bytes(8))) is None


@pytest.mark.parametrize(
    ("address", "actual", "is_its"),
    [
        (AT, b"\5\0\0\0", True),
        (AT, b"\5\7\7\7", True),
        (AT, b"\6\0\0\0", False),
        (AT + 1, b"\0\0\0", False),
        (AT - 4, b"\0\0\0\0\5", True),
        (AT + 64, b"\5", False),
    ],
)
def test_damage_is_a_stores_where_bytes_are_as_it_left_them(address: int, actual: bytes, is_its: bool) -> None:
    assert is_damage_of(store(0, 5), finding(actual, address)) is is_its


def test_damage_that_is_not_shown_is_nobodys() -> None:
    assert not is_damage_of(store(0, 5), finding(b"\5\0", shown=0))


def test_certain_finding_keeps_its_culprit() -> None:
    told = with_store(finding(b"\5", certain=True), store(0, 5))

    assert (told.kind, told.certain, told.access) == ("heap-buffer-overflow", True, "write")
    assert told.culprit == block(AT - 0x22)


def test_doubtful_finding_is_the_one_whose_blocks_address_a_register_holds() -> None:
    readings = (
        Reading(kind="heap-buffer-overflow", culprit=block(AT - 0x22), offset=2),
        Reading(kind="heap-buffer-underflow", culprit=block(AT), offset=-32),
    )

    told = with_store(finding(b"\5", readings=readings), store(0, 5))

    assert (told.kind, told.certain, told.readings) == ("heap-buffer-underflow", True, ())
    assert told.culprit == block(AT)
    assert told.damage is not None and told.damage.offset == -32


def test_doubtful_finding_whose_pointer_is_not_known_blames_no_block() -> None:
    readings = (Reading(kind="heap-buffer-overflow", culprit=block(AT - 0x22), offset=2),)

    told = with_store(finding(b"\5", readings=readings), store(0, 5))

    assert (told.kind, told.certain, told.culprit) == ("header-overwrite", False, None)
    assert told.suspect == block(AT - 0x22)
