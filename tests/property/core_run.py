"""A run of `native/core`, by ctypes, on memory of its own, and what of it something vouches for (docs/format.md)."""

import ctypes
import functools
import random
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

from heapwitness.heap.check import Fault
from heapwitness.layout.events import Outcome, Reason
from heapwitness.layout.witness import Origin, State
from heapwitness.native import library

BYTES = 1 << 16
GRANULE = 16
FIRST = 1
OVERHEAD = 16
BACKUP = 8
SMALL = 64
MOST = 8192
MIDS = 56
SITE_QUARANTINE = 0xFFFFFF
U64 = (1 << 64) - 1

PAYLOADS = [*range(16, 1025, 16), *(low + step * low // 8 for low in (1024, 2048, 4096) for step in range(1, 9))]
"""The bytes of each class's payload."""


class Status(IntEnum):
    OK = 0
    NOMEM = 1
    DAMAGED = 2
    REFUSED = 3


class Key(ctypes.Structure):
    _fields_ = (("place", ctypes.c_uint64), ("meta", ctypes.c_uint64))


class Aside(ctypes.Structure):
    _fields_ = (
        ("salt", ctypes.c_uint64),
        ("formatted", ctypes.c_uint16),
        ("run_class", ctypes.c_uint8),
        ("zero", ctypes.c_uint8 * 5),
        ("slack", ctypes.c_uint8 * 3 * MIDS),
    )


class Words(ctypes.Structure):
    _fields_ = (
        ("base", ctypes.c_uint64),
        ("salt", ctypes.c_uint64),
        ("aside", ctypes.c_uint64),
        ("stride", ctypes.c_uint32),
        ("head", ctypes.c_uint16),
        ("used", ctypes.c_uint16),
        ("formatted", ctypes.c_uint16),
        ("capacity", ctypes.c_uint16),
        ("run_class", ctypes.c_uint8),
        ("listed", ctypes.c_uint8),
        ("where", ctypes.c_uint16),
        ("waiting", ctypes.c_uint64),
        ("lists", ctypes.c_uint32 * 4),
    )


class _Fault(ctypes.Structure):
    _fields_ = tuple((name, ctypes.c_uint32) for name in ("reason", "node", "low", "high"))


class _Outcome(ctypes.Structure):
    _fields_ = tuple((name, ctypes.c_uint64) for name in Outcome._fields)


@functools.cache
def core() -> ctypes.CDLL:
    """The library, with the types of its calls on runs."""
    loaded = ctypes.CDLL(str(library("core")))
    run, key, size, u32, status = (
        ctypes.POINTER(Words),
        ctypes.POINTER(Key),
        ctypes.c_size_t,
        ctypes.c_uint32,
        ctypes.c_int,
    )
    number = ctypes.POINTER(u32)
    signatures: dict[str, tuple[Any, tuple[Any, ...]]] = {
        "class": (ctypes.c_uint, (size,)),
        "payload": (u32, (ctypes.c_uint,)),
        "init": (None, (run, ctypes.POINTER(Aside), ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint64, key)),
        "bind": (None, (run, ctypes.POINTER(Aside), ctypes.c_void_p)),
        "format": (status, (run, key, size)),
        "take": (u32, (run, key, size, ctypes.c_uint, u32)),
        "give": (status, (run, key, u32, u32)),
        "hold": (status, (run, key, u32, u32)),
        "resize": (status, (run, key, u32, size, u32)),
        "verify": (status, (run, key, u32)),
        "meta": (ctypes.c_bool, (run, key, u32, number)),
        "requested": (size, (run, key, u32, u32)),
        "locate": (u32, (run, size)),
        "check": (ctypes.c_uint, (run, key, ctypes.POINTER(_Fault), ctypes.c_uint)),
        "sound": (ctypes.c_bool, (run, key)),
        "repair": (ctypes.c_bool, (run, key, ctypes.POINTER(_Outcome))),
    }
    for name, (result, arguments) in signatures.items():
        function = getattr(loaded, f"hw_run_{name}")
        function.restype, function.argtypes = result, arguments
    return loaded


@dataclass(frozen=True, slots=True)
class Spot:
    """Some bytes of a run that something vouches for; `begin` and `length` in bytes from the run's start."""

    what: str
    node: int
    begin: int
    length: int


class Run:
    """A run of one class. Offsets of nodes are in granules of 16 bytes."""

    def __init__(self, run_class: int, seed: int = 1) -> None:
        choose = random.Random(seed)
        self.key = Key(choose.getrandbits(64) | 1, choose.getrandbits(64) | 1)
        self.words, self.second = Words(), Aside()
        self._room = ctypes.create_string_buffer(2 * BYTES)
        start = -ctypes.addressof(self._room) % BYTES
        self.base = ctypes.addressof(self._room) + start
        self.memory = memoryview(self._room).cast("B")[start : start + BYTES]
        self._bytes = (ctypes.c_char * BYTES).from_buffer(self._room, start)
        core().hw_run_init(self.words, self.second, self.base, run_class, choose.getrandbits(64), self.key)
        self.run_class = run_class
        self.payload_bytes = PAYLOADS[run_class]
        self.stride = self.payload_bytes + OVERHEAD
        self.granules = self.stride // GRANULE
        self.capacity = (BYTES - 2 * OVERHEAD) // self.stride

    # --- operations

    def format(self, size: int) -> Status:
        return Status(core().hw_run_format(self.words, self.key, size))

    def take(self, size: int, origin: Origin = Origin.MALLOC, site: int = 1) -> int:
        return int(core().hw_run_take(self.words, self.key, size, origin, site))

    def give(self, node: int, site: int = 2) -> Status:
        return Status(core().hw_run_give(self.words, self.key, node, site))

    def hold(self, node: int, site: int = 3) -> Status:
        return Status(core().hw_run_hold(self.words, self.key, node, site))

    def resize(self, node: int, size: int, site: int = 4) -> Status:
        return Status(core().hw_run_resize(self.words, self.key, node, size, site))

    def verify(self, node: int) -> Status:
        return Status(core().hw_run_verify(self.words, self.key, node))

    def meta(self, node: int) -> int | None:
        found = ctypes.c_uint32()
        return found.value if core().hw_run_meta(self.words, self.key, node, found) else None

    def requested(self, node: int) -> int:
        meta = self.meta(node)
        assert meta is not None
        return int(core().hw_run_requested(self.words, self.key, node, meta))

    def locate(self, offset: int) -> int:
        return int(core().hw_run_locate(self.words, offset))

    def check(self, most: int = 4200) -> list[Fault]:
        faults = (_Fault * most)()
        count = core().hw_run_check(self.words, self.key, faults, most)
        return [Fault(Reason(one.reason), one.node, one.low, one.high) for one in faults[:count]]

    def sound(self) -> bool:
        return bool(core().hw_run_sound(self.words, self.key))

    def repair(self) -> Outcome | None:
        """None where it cannot be done."""
        outcome = _Outcome()
        if not core().hw_run_repair(self.words, self.key, outcome):
            return None
        return Outcome(**{name: getattr(outcome, name) for name in Outcome._fields})

    def bind(self) -> None:
        core().hw_run_bind(self.words, self.second, self.base)

    # --- what is there

    @property
    def formatted(self) -> int:
        return int(self.words.formatted)

    @property
    def end(self) -> int:
        return int(FIRST + self.formatted * self.granules)

    @property
    def nodes(self) -> list[int]:
        return [FIRST + number * self.granules for number in range(self.formatted)]

    def state(self, node: int) -> State:
        meta = self.meta(node)
        assert meta is not None
        return State(meta >> 4 & 3)

    def payload(self, node: int) -> memoryview:
        """All bytes of it, slack included."""
        at = node * GRANULE
        return self.memory[at + OVERHEAD : at + self.stride]

    def place(self, node: int) -> int:
        return int((self.base + node * GRANULE) * self.key.place + self.words.salt & U64)

    def pattern(self, node: int) -> bytes:
        x = self.place(node)
        return ((x ^ x >> 32) & 0x1E1E1E1E1E1E1E1E | 0x8181818181818181).to_bytes(8, "little")

    def header(self, node: int, meta: int) -> bytes:
        """What its two copies hold, with this `meta`."""
        check = int(self.place(node) + meta * self.key.meta & U64) >> 32
        return (check << 32 | meta).to_bytes(8, "little")

    def save(self) -> tuple[bytes, bytes, bytes]:
        return bytes(self._bytes.raw), bytes(self.words), bytes(self.second)

    def restore(self, saved: tuple[bytes, bytes, bytes]) -> None:
        ctypes.memmove(self.base, saved[0], BYTES)
        ctypes.memmove(ctypes.addressof(self.words), saved[1], len(saved[1]))
        ctypes.memmove(ctypes.addressof(self.second), saved[2], len(saved[2]))

    def spots(self) -> Iterator[Spot]:
        """Every copy of a header, all slack, links and poison, and the tail; of a run without damage."""
        end = self.end
        for node in (0, *self.nodes, end):
            what = {0: "sentinel", end: "end"}.get(node, "header")
            yield Spot(what, node, node * GRANULE, BACKUP)
            yield Spot("backup", node, node * GRANULE + BACKUP, BACKUP)
        for node in self.nodes:
            at, behind = node * GRANULE, node * GRANULE + self.stride
            state = self.state(node)
            if state is State.USED and (slack := self.payload_bytes - self.requested(node)):
                yield Spot("slack", node, behind - slack, slack)
            if state is not State.USED:
                yield Spot("links", node, at + OVERHEAD, 16)
            if state is State.CACHED and self.payload_bytes > 16:
                yield Spot("poison", node, at + OVERHEAD + 16, self.payload_bytes - 16)
        tail = end * GRANULE + OVERHEAD
        if self.formatted == self.capacity and tail < BYTES:
            yield Spot("tail", end, tail, BYTES - tail)


def mixed(run_class: int, seed: int = 1, count: int = 9) -> Run:
    """A run with up to `count` nodes of all states, in no order, whose used blocks are full of their own bytes."""
    choose = random.Random(seed)
    run = Run(run_class, seed)
    assert run.format(count * run.stride) is Status.OK
    nodes = []
    least = PAYLOADS[run_class - 1] + 1 if run_class else 1
    while run.words.head:
        size = choose.randint(least, run.payload_bytes)
        nodes.append(run.take(size, choose.choice(list(Origin)), choose.randrange(1, SITE_QUARANTINE)))
        run.payload(nodes[-1])[:size] = bytes(choose.choices(range(33, 127), k=size))
    for number, node in enumerate(choose.sample(nodes, len(nodes) * 2 // 3)):
        assert (run.hold(node) if number % 2 else run.give(node)) is Status.OK
    return run
