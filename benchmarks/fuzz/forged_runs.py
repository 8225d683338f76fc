"""Runs of small blocks, forged by somebody who knows the key: what inputs.py shows to the diagnosis.

A run is laid out as an engine would, then changed where the input says: bytes anywhere, headers and links with checks
that hold, and what describes the run and the second copy of that.
"""

import struct
from dataclasses import dataclass, field
from typing import Protocol

from heapwitness.layout import process, runs
from heapwitness.layout.events import Event, Reason, Type, Window
from heapwitness.layout.process import RegionKind
from heapwitness.layout.runs import AsideWords, RunKey, RunShape, RunWords
from heapwitness.layout.witness import Origin, State, meta, pattern_at
from heapwitness.memory import SegmentsMemory

BASE, PROCESS, TABLE, HANDED = 0x7F00_0000_0000, 0x5500_0000_0000, 0x5600_0000_0000, 0x5700_0000_0000
ASIDE = TABLE + runs.RUN_WORDS.size
KEY = RunKey(0x9E3779B97F4A7C15, 0xD1B54A32D192ED03)
_NODES, _CHANGES = 24, 24
"""Nodes that are laid out, so that an input costs little, and changes, at most."""


class Input(Protocol):
    """The bytes that a fuzzer made, as numbers and bytes (atheris.FuzzedDataProvider)."""

    def ConsumeIntInRange(self, least: int, most: int) -> int: ...

    def ConsumeBytes(self, count: int) -> bytes: ...


@dataclass
class ForgedRun:
    """The second of two runs of a region, whose first is empty."""

    shape: RunShape
    room: bytearray = field(default_factory=lambda: bytearray(2 * runs.BYTES))

    @classmethod
    def of(cls, chosen: Input) -> "ForgedRun":
        """Laid out with blocks of all states, and changed."""
        shape = RunShape(0x1234_5678_EDCB_A987, chosen.ConsumeIntInRange(0, runs.CLASSES - 1), 0)
        run = cls(shape._replace(formatted=min(shape.capacity, chosen.ConsumeIntInRange(0, _NODES))))
        run._lay_out(chosen)
        for _ in range(chosen.ConsumeIntInRange(0, _CHANGES)):
            run._change(chosen)
        return run

    def _lay_out(self, chosen: Input) -> None:
        shape = self.shape
        self.put(0, runs.END_META)
        for node in range(runs.FIRST, shape.end, shape.granules):
            state = State(chosen.ConsumeIntInRange(0, 2))
            self.put(node, meta(0, state, Origin.MALLOC, 0))
            if state is State.FREE:
                self.link(node, 0)
            elif state is State.CACHED:
                start = self.at(node) + runs.OVERHEAD
                links = runs.held_links(KEY, self.place(node)).pack()
                rest = shape.stride - runs.OVERHEAD - len(links)
                poison = pattern_at(runs.pattern(self.place(node)), len(links), rest)
                self.room[start : start + len(links) + rest] = links + poison
        self.put(shape.end, runs.END_META)

    def _change(self, chosen: Input) -> None:
        granule = chosen.ConsumeIntInRange(0, runs.GRANULES - 2)
        node = min(runs.FIRST + granule % (self.shape.formatted + 1) * self.shape.granules, self.shape.end)
        kind = chosen.ConsumeIntInRange(0, 3)
        if kind == 0:
            self.put(node, chosen.ConsumeIntInRange(0, 0xFFFFFFFF))
        elif kind == 1:
            self.link(node, chosen.ConsumeIntInRange(0, 0xFFFF))
        else:
            at = self.at(granule if kind == 2 else node) + chosen.ConsumeIntInRange(0, 31)
            written = chosen.ConsumeBytes(chosen.ConsumeIntInRange(0, 64))[: len(self.room) - at]
            self.room[at : at + len(written)] = written

    def at(self, node: int) -> int:
        """Where in `room` a node begins."""
        return runs.BYTES + (node << runs.GRANULE_LOG2)

    def place(self, node: int) -> int:
        return runs.place_of(KEY, self.shape.salt, BASE + self.at(node))

    def put(self, node: int, meta_word: int) -> None:
        """Write both copies of a header, with a check that holds."""
        shape = self.shape
        keeper = shape.end if node == 0 else 0 if node == runs.FIRST else node - shape.granules
        header = runs.pack_header(runs.sealed(KEY, self.place(node), meta_word))
        for at in (self.at(node), self.at(keeper) + runs.KEPT):
            self.room[at : at + len(header)] = header

    def link(self, node: int, following: int) -> None:
        """Write the links of a free node, which hold."""
        if node != self.shape.end:
            start = self.at(node) + runs.OVERHEAD
            self.room[start : start + runs.LINKS] = runs.free_links(KEY, self.place(node), following).pack()

    def memory(self, chosen: Input) -> SegmentsMemory:
        """The process's memory; of what describes the runs, what the input says instead."""
        tables = [self._table(number, shape) for number, shape in enumerate((RunShape(~0, 0, 0), self.shape))]
        for _ in range(chosen.ConsumeIntInRange(0, 4)):
            at = chosen.ConsumeIntInRange(0, len(tables[1]) - 8)
            tables[1][at : at + 8] = struct.pack("<Q", chosen.ConsumeIntInRange(0, 0xFFFF_FFFF_FFFF_FFFF))
        region = process.REGION_WORDS.pack(BASE, len(self.room), RegionKind.RUNS, 1, TABLE, HANDED)
        block = process.PROCESS_WORDS.pack(process.MAGIC, process.VERSION, BASE, 4096, PROCESS + 72, 1, *KEY, 0)
        handed = bytearray(2 * runs.HANDED_BYTES)
        handed[runs.HANDED_BYTES : runs.HANDED_BYTES + 4] = struct.pack("<I", chosen.ConsumeIntInRange(0, 0xFFFFFFFF))
        places = ((BASE, self.room), (PROCESS, block), (PROCESS + 72, region), (HANDED, handed))
        books = ((TABLE + number * runs.BOOK, table) for number, table in enumerate(tables))
        return SegmentsMemory([(start, bytes(data)) for start, data in (*places, *books)])

    def _table(self, number: int, shape: RunShape) -> bytearray:
        base, aside = BASE + number * runs.BYTES, ASIDE + number * runs.BOOK
        size, where = (shape.stride, shape.capacity), runs.where_of(base, aside)
        salt = shape.salt & 0xFFFF_FFFF_FFFF_FFFF
        words = RunWords(
            base, salt, aside, size[0], 0, 0, shape.formatted, size[1], shape.run_class, 0, where, *[0] * 5
        )
        second = AsideWords(salt, shape.formatted, shape.run_class, bytes(5), (0,) * runs.MIDS)
        return bytearray((words.pack() + second.pack()).ljust(runs.BOOK, b"\0"))

    def event(self, chosen: Input) -> Event:
        """A finding of any reason, anywhere."""
        reason = Reason(chosen.ConsumeIntInRange(1, len(Reason) - 1))
        node, low, high = (chosen.ConsumeIntInRange(0, runs.GRANULES + 600) for _ in range(3))
        return Event(
            type=Type.FINDING,
            reason=reason,
            process=PROCESS,
            pool=BASE + runs.BYTES,
            pool_bytes=runs.BYTES,
            run=TABLE + runs.BOOK,
            pointer=BASE + chosen.ConsumeIntInRange(0, len(self.room) + 64),
            node=node,
            windows=(Window(low, high),) if reason is Reason.DAMAGE else (),
        )
