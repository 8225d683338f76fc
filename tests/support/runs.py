"""Runs as an engine would have them in a process, seen from outside; every byte is written as docs/format.md says."""

import struct
from dataclasses import dataclass, field

from heapwitness.diagnose import diagnose
from heapwitness.findings.model import Finding
from heapwitness.heap import Fault, WalkedRuns, check_run
from heapwitness.layout import process, runs
from heapwitness.layout.events import Event, Reason, Type, When, Window
from heapwitness.layout.process import RegionKind, read_process
from heapwitness.layout.runs import AsideWords, RunKey, RunShape, RunWords
from heapwitness.layout.witness import SITE_QUARANTINE, Origin, State, meta, pattern_at, poison
from heapwitness.memory import SegmentsMemory

BASE = 0x7E5A_0000_0000
PROCESS = 0x5555_0000_0000
SITES = 0x5566_0000_0000
TABLE = 0x5577_0000_0000
HANDED = 0x5599_0000_0000
KEY = RunKey(0x9E3779B97F4A7C15, 0xD1B54A32D192ED03)
OLD = b"\x5a"
"""What lies in memory that was another's before."""

ASIDE = TABLE + runs.RUN_WORDS.size


@dataclass
class BuiltRun:
    """One run: its shape, and which node is free to be taken next."""

    base: int
    shape: RunShape
    head: int = 0
    used: int = 0
    slack: list[int] = field(default_factory=lambda: [0] * runs.MIDS)


class RunHeap:
    """Runs of the sizes that are asked for, one behind the other in one region.

    Every allocation and release gets a site of its own, whose only frame has the pc that it was given. A node is named
    by its run's number and its offset in granules there; a place in `room` counts from the region's start.
    """

    def __init__(self, *sizes: int, formatted: int | None = None) -> None:
        """Runs for blocks of such sizes, with so many nodes (all that there can be)."""
        self.room = bytearray(OLD * (runs.BYTES * len(sizes)))
        self.sites: dict[int, tuple[int, int]] = {}
        self.handed = bytearray(runs.HANDED_BYTES * len(sizes))
        self._site_of: dict[tuple[int, int], int] = {}
        self.runs: list[BuiltRun] = []
        for number, size in enumerate(sizes):
            shape = RunShape(0x1234_5678_9ABC_DEF0 + 977 * number, runs.class_of(size), 0)
            nodes = shape.capacity if formatted is None else formatted
            run = BuiltRun(BASE + number * runs.BYTES, shape._replace(formatted=nodes))
            self.runs.append(run)
            self._lay_out(number)

    # --- what the engine does

    def _lay_out(self, number: int) -> None:
        run = self.runs[number]
        nodes = range(runs.FIRST, run.shape.end, run.shape.granules)
        self._put(number, 0, runs.END_META)
        for node in nodes:
            self._put(number, node, meta(0, State.FREE, Origin.MALLOC, 0))
        self._put(number, run.shape.end, runs.END_META)
        for node, following in zip(nodes, (*nodes[1:], 0), strict=True):
            self._link(number, node, following)
        run.head = nodes[0] if nodes else 0
        end = self.start((number, run.shape.end))
        if run.shape.formatted == run.shape.capacity:
            stop = (number + 1) * runs.BYTES
            self.room[end:stop] = pattern_at(runs.pattern(self.place((number, run.shape.end))), 0, stop - end)

    def allocate(
        self, number: int = 0, size: int = 24, pc: int = 0x1000, origin: Origin = Origin.MALLOC
    ) -> tuple[int, int]:
        """The node of a block whose requested bytes are filled with what no pattern is."""
        run = self.runs[number]
        assert runs.class_of(size) == run.shape.run_class and run.head
        node, site = run.head, self.site(pc)
        start = self.start((number, node))
        run.head = runs.RunLinks.unpack(self.room[start : start + 16]).next
        run.used += 1
        slack = run.shape.stride - runs.OVERHEAD - size
        place = self.place((number, node))
        end = start + size + slack
        self.room[start:end] = bytes((byte * byte * 31 + 7 * node + 3) & 0xFF for byte in range(size)) + pattern_at(
            runs.pattern(place), size, slack
        )
        if run.shape.run_class >= runs.SMALL:
            run.slack[run.shape.number(node)] = runs.slack_entry(place, slack)
            slack &= 15
        self._put(number, node, meta(slack, State.USED, origin, site))
        self._site_of[number, node] = site
        return number, node

    def fill(
        self, number: int = 0, size: int = 24, count: int | None = None, pc: int = 0x1000
    ) -> list[tuple[int, int]]:
        """So many blocks (all that there is room for), each with its own pc."""
        room = self.runs[number].shape.formatted - self.runs[number].used
        return [self.allocate(number, size, pc + at) for at in range(room if count is None else count)]

    def release(self, block: tuple[int, int], pc: int = 0x2000) -> None:
        number, node = block
        self._restate(block, State.FREE, pc)
        self._link(number, node, self.runs[number].head)
        self.runs[number].head = node
        self.runs[number].used -= 1

    def hold(self, block: tuple[int, int], pc: int = 0x2000) -> None:
        start, place = self.start(block), self.place(block)
        stop = start + self.runs[block[0]].shape.stride - runs.OVERHEAD
        self.room[start:stop] = runs.held_links(KEY, place).pack() + pattern_at(
            poison(runs.pattern(place)), 16, stop - start - 16
        )
        self._restate(block, State.CACHED, pc)

    def hand(self, block: tuple[int, int], pc: int = 0x3000) -> None:
        """What another thread's release does."""
        number, node = block
        site = self.site(pc, self._site_of[block])
        at = number * runs.HANDED_BYTES + 4 * self.runs[number].shape.number(node)
        self.handed[at : at + 4] = struct.pack("<I", 1 << 31 | site)

    def quarantine(self, block: tuple[int, int]) -> None:
        number, node = block
        self._put(number, node, meta(0, State.USED, Origin.MALLOC, SITE_QUARANTINE))

    def _restate(self, block: tuple[int, int], state: State, pc: int) -> None:
        number, node = block
        old = struct.unpack_from("<I", self.room, self.at(block))[0]
        site = self.site(pc, self._site_of[block])
        self._put(number, node, old & 0xCF | state << 4 | site << 8)

    def _link(self, number: int, node: int, following: int) -> None:
        start = self.start((number, node))
        self.room[start : start + 16] = runs.free_links(KEY, self.place((number, node)), following).pack()

    def _put(self, number: int, node: int, meta_word: int) -> None:
        shape = self.runs[number].shape
        header = runs.pack_header(runs.sealed(KEY, self.place((number, node)), meta_word))
        keeper = shape.end if node == 0 else 0 if node == runs.FIRST else node - shape.granules
        for at in (self.at((number, node)), self.at((number, keeper)) + runs.KEPT):
            self.room[at : at + 8] = header

    # --- where things lie

    def site(self, pc: int, prior: int = 0) -> int:
        number = 1 + 2 * len(self.sites)
        self.sites[number] = (pc, prior)
        return number

    def place(self, block: tuple[int, int]) -> int:
        return runs.place_of(KEY, self.runs[block[0]].shape.salt, BASE + self.at(block))

    def at(self, block: tuple[int, int]) -> int:
        """Where in `room` a node begins."""
        return block[0] * runs.BYTES + 16 * block[1]

    def start(self, block: tuple[int, int]) -> int:
        """Where in `room` its payload begins."""
        return self.at(block) + runs.OVERHEAD

    def stop(self, block: tuple[int, int]) -> int:
        """Where in `room` its node ends."""
        return self.at(block) + self.runs[block[0]].shape.stride

    def payload(self, block: tuple[int, int]) -> int:
        """The address of a block."""
        return BASE + self.start(block)

    def end(self, number: int = 0) -> int:
        """Where in `room` the END of a run begins."""
        return self.at((number, self.runs[number].shape.end))

    def write(self, at: int, data: bytes) -> tuple[int, int]:
        """Write anywhere; the addresses of the first and behind the last byte that changed."""
        before = bytes(self.room[at : at + len(data)])
        self.room[at : at + len(data)] = data
        changed = [number for number, pair in enumerate(zip(before, data, strict=True)) if pair[0] != pair[1]]
        assert changed, "the write changed nothing"
        return BASE + at + changed[0], BASE + at + changed[-1] + 1

    # --- how it is seen

    def words(self, number: int) -> RunWords:
        """What describes a run."""
        run = self.runs[number]
        shape = run.shape
        aside = ASIDE + runs.BOOK * number
        fixed = (run.base, shape.salt, aside, shape.stride, run.head, run.used, shape.formatted)
        return RunWords(*fixed, shape.capacity, shape.run_class, 0, runs.where_of(run.base, aside), 0, 0, 0, 0, 0)

    def aside(self, number: int) -> AsideWords:
        """The second copy of it."""
        run = self.runs[number]
        return AsideWords(run.shape.salt, run.shape.formatted, run.shape.run_class, bytes(5), tuple(run.slack))

    def memory(self, *more: tuple[int, bytes]) -> SegmentsMemory:
        """The process's memory, and other stretches of it."""
        area = bytearray(process.SITE_UNIT * (max(self.sites, default=0) + 2))
        for number, (pc, prior) in self.sites.items():
            record = process.SITE_WORDS.pack(0, prior, 77, 1, 0, 0) + struct.pack("<Q", pc)
            area[number * 16 : number * 16 + len(record)] = record
        block = process.PROCESS_WORDS.pack(process.MAGIC, process.VERSION, SITES, len(area), PROCESS + 64, 1, *KEY, 0)
        region = process.REGION_WORDS.pack(BASE, len(self.room), RegionKind.RUNS, 1, TABLE, HANDED)
        count = range(len(self.runs))
        return SegmentsMemory(
            [
                (BASE, bytes(self.room)),
                (PROCESS, block),
                (PROCESS + 64, region),
                (SITES, bytes(area)),
                (HANDED, bytes(self.handed)),
                *((TABLE + runs.BOOK * number, self.words(number).pack()) for number in count),
                *((ASIDE + runs.BOOK * number, self.aside(number).pack()) for number in count),
                *more,
            ]
        )

    def view(self, number: int = 0, memory: SegmentsMemory | None = None) -> WalkedRuns:
        memory = memory or self.memory()
        return WalkedRuns.open(
            memory, read_process(memory, PROCESS), self.runs[number].base, TABLE + runs.BOOK * number
        )

    def event(
        self, reason: Reason, number: int = 0, node: int = 0, low: int = 0, high: int = 0, **rest: object
    ) -> Event:
        fields: dict[str, object] = {
            "type": Type.FINDING,
            "when": When.FREE,
            "pid": 4242,
            "tid": 77,
            "thread": "worker",
            "process": PROCESS,
            "pool": self.runs[number].base,
            "pool_bytes": runs.BYTES,
            "run": TABLE + runs.BOOK * number,
            "frames": (0x9000, 0x9100),
            "windows": (Window(low, high),) if reason is Reason.DAMAGE else (),
        }
        return Event(**{**fields, "reason": reason, "node": node, **rest})  # type: ignore[arg-type]

    def faults(self, number: int = 0) -> tuple[Fault, ...]:
        """What a check of one run finds; offsets in granules from its start, as an engine tells them."""
        view = self.view(number)
        shift = view.shift
        return tuple(
            Fault(one.reason, max(0, one.node - shift), max(0, one.low - shift), max(0, one.high - shift))
            for one in check_run(view)
        )

    def findings(self, *numbers: int) -> tuple[Finding, ...]:
        """What a check of some runs (all) finds, each of it diagnosed as one event, as in a process."""
        memory = self.memory()
        return tuple(
            finding
            for number in numbers or range(len(self.runs))
            for fault in self.faults(number)
            for finding in diagnose(self.event(fault.reason, number, fault.node, fault.low, fault.high), memory)
        )
