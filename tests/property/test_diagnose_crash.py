"""A crash on any registers never accuses a heap, and never makes the examination fail."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import crashes
from support.heaps import Heap

from heapwitness.diagnose import examine_crash
from heapwitness.diagnose.operand import use_of
from heapwitness.layout.events import CrashState

WORD = st.one_of(
    st.integers(0, 2**64 - 1),
    st.integers(0, 2**20),
    # Half of what the heap writes: the parent of links, or the fixed bits of a pattern.
    st.integers(0, 2**32 - 1).map(lambda high: high << 32 | 0xFFFFFFFF),
    st.integers(0, 2**64 - 1).map(lambda bits: bits & 0x1E1E1E1E1E1E1E1E | 0x8181818181818181),
)
CODE = st.one_of(st.binary(max_size=15), st.sampled_from([crashes.LOAD, crashes.LOAD_FIELD, crashes.CALL_FIELD]))


@pytest.fixture(scope="module")
def heap() -> Heap:
    """Blocks of every state."""
    made = Heap(size=1 << 16)
    blocks = [made.allocate(20 + 9 * number) for number in range(40)]
    for number, node in enumerate(blocks):
        if number % 4 == 1:
            made.release(node)
        elif number % 4 == 2:
            made.cache(node, poison=number % 8 == 2)
    return made


@given(
    registers=st.dictionaries(st.integers(0, 15), WORD),
    code=CODE,
    address=WORD,
    trap=st.sampled_from([crashes.PROTECTION, crashes.PAGE_FAULT]),
    pc=st.one_of(WORD, st.just(crashes.CODE)),
)
def test_registers_that_hold_nothing_of_the_heap_make_no_finding(
    heap: Heap, registers: dict[int, int], code: bytes, address: int, trap: int, pc: int
) -> None:
    words = crashes.words(registers, trap=trap, address=address if trap == crashes.PAGE_FAULT else 0, pc=pc)

    crash, findings = examine_crash(crashes.event(words), words, crashes.memory(heap, code))

    assert findings == ()
    assert crash.heap == "whole"


@given(code=st.binary(max_size=15), registers=st.lists(WORD, min_size=16, max_size=16))
def test_any_bytes_are_read_as_an_instruction_or_as_none(code: bytes, registers: list[int]) -> None:
    use = use_of(code, registers)

    assert use is None or all(0 <= one < 2**64 for one in use.addresses)


@given(
    machine=st.integers(0, 2**64 - 1),
    signal=st.integers(0, 2**64 - 1),
    code=st.integers(-(2**63), 2**63 - 1),
    state=st.integers(0, 31),
    error=st.integers(0, 2**64 - 1),
)
def test_whatever_a_process_says_of_its_crash_can_be_told(
    machine: int, signal: int, code: int, state: int, error: int
) -> None:
    words = crashes.words({}, machine=machine, signal=signal, code=code, state=CrashState(state), error=error)

    crash, findings = examine_crash(crashes.event(words), words, crashes.memory(Heap()))

    assert crash.pid == 4242
    assert findings == ()
