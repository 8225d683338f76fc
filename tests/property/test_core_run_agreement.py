"""The core's runs and their description in Python, written apart: the same bytes, and the same faults in them."""

import ctypes
import mmap
import random

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from heapwitness.heap import LostPool, WalkedRuns, check_run
from heapwitness.heap.run import open_run
from heapwitness.layout import runs
from heapwitness.layout.events import Outcome, Reason
from heapwitness.layout.runs import AsideWords, RunKey, RunWords
from heapwitness.layout.witness import State
from heapwitness.memory import SegmentsMemory
from heapwitness.native import library

KEY = RunKey(0xF1EA_5EED_0BAD_CAFF, 0x0DD_BA11_5EED_F00D)
SALT = 0x1122_3344_5566_7788
FAULTS = 4096


class CoreFault(ctypes.Structure):
    _fields_ = [(name, ctypes.c_uint32) for name in ("reason", "node", "low", "high")]


class CoreRun:
    """A run of the core library in this process's memory."""

    def __init__(self, run_class: int) -> None:
        self.core = ctypes.CDLL(str(library("core")))
        self.core.hw_run_repair.restype = ctypes.c_bool
        self.room = mmap.mmap(-1, 2 * runs.BYTES)
        start = ctypes.addressof(ctypes.c_char.from_buffer(self.room))
        self.skip = -start % runs.BYTES
        self.base = start + self.skip
        self.run = ctypes.create_string_buffer(runs.RUN_WORDS.size)
        self.aside = ctypes.create_string_buffer(runs.ASIDE_WORDS.size)
        self.key = (ctypes.c_uint64 * 2)(*KEY)
        base = ctypes.c_void_p(self.base)
        self.core.hw_run_init(self.run, self.aside, base, run_class, ctypes.c_uint64(SALT), self.key)

    def format(self, size: int) -> int:
        return int(self.core.hw_run_format(self.run, self.key, ctypes.c_size_t(size)))

    def take(self, size: int, site: int) -> int:
        return int(self.core.hw_run_take(self.run, self.key, ctypes.c_size_t(size), 0, site))

    def give(self, node: int, site: int) -> int:
        return int(self.core.hw_run_give(self.run, self.key, node, site))

    def hold(self, node: int, site: int) -> int:
        return int(self.core.hw_run_hold(self.run, self.key, node, site))

    def write(self, at: int, data: bytes) -> None:
        self.room[self.skip + at : self.skip + at + len(data)] = data

    def faults(self) -> list[tuple[int, int, int, int]]:
        found = (CoreFault * FAULTS)()
        count = self.core.hw_run_check(self.run, self.key, found, FAULTS)
        return [(one.reason, one.node, one.low, one.high) for one in found[:count]]

    def repair(self) -> bool:
        return bool(self.core.hw_run_repair(self.run, self.key, (ctypes.c_uint64 * len(Outcome._fields))()))

    def change(self, at: int, change: int) -> None:
        """Change a byte of what describes the run: of `hw_run`, behind it of the second copy."""
        where, at = (self.run, at) if at < runs.RUN_WORDS.size else (self.aside, at - runs.RUN_WORDS.size)
        where[at] = bytes([where.raw[at] ^ change])

    def view(self) -> WalkedRuns:
        described, aside = ctypes.addressof(self.run), ctypes.addressof(self.aside)
        memory = SegmentsMemory(
            [
                (self.base, self.room[self.skip : self.skip + runs.BYTES]),
                (described, self.run.raw),
                (aside, self.aside.raw),
            ]
        )
        return WalkedRuns(memory, (open_run(memory, self.base, described, KEY),), 0)

    def by_python(self) -> list[tuple[int, int, int, int]]:
        try:
            return [(one.reason, one.node, one.low, one.high) for one in check_run(self.view())]
        except LostPool:
            return [(Reason.CONTROL, 0, 0, 0)]


def crowded(run_class: int, seed: int, part: float = 1.0) -> tuple[CoreRun, dict[int, int]]:
    """A run after some operations, and its nodes in use by their requested sizes."""
    choose = random.Random(seed)
    run = CoreRun(run_class)
    payload = runs.payload_of(run_class)
    least = runs.payload_of(run_class - 1) + 1 if run_class else 1
    run.format(max(1, int(part * runs.BYTES)))
    used: dict[int, int] = {}
    while node := run.take(size := choose.randint(least, payload), choose.randrange(1, 9999)):
        used[node] = size
    for node in choose.sample(sorted(used), len(used) // 2):
        step = run.give if choose.randrange(3) else run.hold
        assert step(node, choose.randrange(1, 9999)) == 0
        del used[node]
    return run, used


@pytest.mark.parametrize("run_class", [0, 1, 5, 62, 63, 64, 65, 71, 72, 80, 87])
@pytest.mark.parametrize("part", [0.01, 0.5, 1.0])
def test_the_description_reads_what_the_core_writes(run_class: int, part: float) -> None:
    run, used = crowded(run_class, run_class, part)

    view = run.view()
    nodes = [one for one in view.walk() if not view.is_bound(one.offset)]

    assert check_run(view) == () and run.faults() == []
    assert all(one.intact for one in view.walk())
    told = {one.offset: view.requested(one.offset, one.header) for one in nodes if one.header.state is State.USED}
    assert told == used
    assert view.run.words == RunWords.unpack(run.run.raw) and view.run.aside == AsideWords.unpack(run.aside.raw)


def test_the_core_and_its_description_have_the_same_classes() -> None:
    core = ctypes.CDLL(str(library("core")))

    assert [core.hw_run_class(ctypes.c_size_t(size)) for size in range(1, runs.MOST + 1)] == [
        runs.class_of(size) for size in range(1, runs.MOST + 1)
    ]
    assert [core.hw_run_payload(one) for one in range(runs.CLASSES)] == [
        runs.payload_of(one) for one in range(runs.CLASSES)
    ]


@st.composite
def writes(draw: st.DrawFn) -> list[tuple[int, bytes]]:
    """Any bytes anywhere: fills and noise, from one byte to many nodes."""
    made = []
    for _ in range(draw(st.integers(0, 4))):
        begin = draw(st.one_of(st.integers(0, 60), st.integers(0, runs.BYTES - 1)))
        length = min(draw(st.one_of(st.integers(1, 24), st.integers(1, 900))), runs.BYTES - begin)
        fill = draw(st.one_of(st.none(), st.integers(0, 255)))
        noise = random.Random(draw(st.integers(0, 2**32 - 1)))
        made.append((begin, noise.randbytes(length) if fill is None else bytes([fill]) * length))
    return made


@settings(max_examples=25, deadline=None, derandomize=True)
@given(
    seed=st.integers(0, 99),
    run_class=st.sampled_from((0, 1, 6, 40, 63, 64, 70, 87)),
    part=st.sampled_from((0.1, 1.0)),
    damage=writes(),
    apart=st.lists(
        st.tuples(
            st.sampled_from((*range(8, 16), *range(24, 40), 64, 71, 72, 73, 74, 75, 79, 90)), st.integers(1, 255)
        ),
        max_size=2,
    ),
)
def test_the_core_and_the_python_walker_find_the_same_in_a_run(
    seed: int, run_class: int, part: float, damage: list[tuple[int, bytes]], apart: list[tuple[int, int]]
) -> None:
    run, _ = crowded(run_class, seed, part)
    for begin, data in damage:
        run.write(begin, data)
    for at, change in apart:
        run.change(at, change)

    assert run.by_python() == run.faults()

    if run.repair():
        assert run.by_python() == run.faults() == []
