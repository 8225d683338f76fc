"""A heap as an engine would have it in a process, made with the core library, seen from outside."""

import struct
from dataclasses import dataclass, field

from heapwitness.diagnose import diagnose, examine
from heapwitness.findings.model import Finding
from heapwitness.layout import events, process, witness
from heapwitness.layout.events import FAMILY_BITS, Event, Reason, Type, When, Window
from heapwitness.layout.witness import Origin
from heapwitness.memory import SegmentsMemory
from heapwitness.pool import Pool

BASE = 0x7F5A_0000_0000
PROCESS = 0x5555_0000_0000
SITES = 0x5566_0000_0000
SPARE = 1 << 20
SECRET = (0x1F2E3D4C, 0x9ABCDEF1, 0x55AA1234, 0xC0FFEE11)


@dataclass
class Heap:
    """One pool with memory behind it, and call sites.

    Every allocation and release gets a site of its own, whose only frame has the pc that `pc_of` says.
    """

    size: int = 16384
    granule_log2: int = 4
    spare: int = SPARE
    sites: dict[int, tuple[int, int]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.room = bytearray(self.size + self.spare + 16)
        self.pool = Pool(self.room, granule_log2=self.granule_log2, size=self.size, secret=SECRET)
        self._site_of: dict[int, int] = {}

    def site(self, pc: int, prior: int = 0) -> int:
        number = 1 + 2 * len(self.sites)
        self.sites[number] = (pc, prior)
        return number

    def allocate(self, size: int, pc: int = 0x1000, origin: Origin = Origin.MALLOC) -> int:
        """A block's node; its requested bytes are filled with what no pattern is."""
        site = self.site(pc)
        node = self.pool.allocate(size, origin=origin, site=site)
        assert node is not None
        self._site_of[node] = site
        payload = self.pool.payload(node)
        payload[:] = bytes(
            (number * number * 31 + 7 * node + 3) & 0xFF for number in range(min(len(payload), 4096))
        ) + bytes(max(0, len(payload) - 4096))
        return node

    def release(self, node: int, pc: int = 0x2000) -> None:
        self.pool.release(node, site=self.site(pc, self._site_of.get(node, 0)))

    def cache(self, node: int, pc: int = 0x2000, *, poison: bool = False) -> None:
        self.pool.cache(node, site=self.site(pc, self._site_of.get(node, 0)), poison=poison)

    def give_to_owner(self, node: int, pc: int = 0x3000, following: int = 0) -> None:
        """What another thread's release does: links in the payload of a used node."""
        links = witness.sealed_links(
            SECRET, following, self.site(pc, self._site_of.get(node, 0)), witness.PENDING_PARENT, node
        )
        start = self.start(node)
        self.room[start : start + 16] = links.pack()

    def start(self, node: int) -> int:
        """Where in `room` a node's payload begins."""
        return self.pool.start + (node << self.granule_log2) + witness.OVERHEAD

    def end(self, node: int) -> int:
        """Where in `room` a node's requested bytes end."""
        return self.start(node) + len(self.pool.payload(node))

    def write(self, at: int, data: bytes) -> tuple[int, int]:
        """Write anywhere; returns the addresses of the first and behind the last byte that changed."""
        before = bytes(self.room[at : at + len(data)])
        self.room[at : at + len(data)] = data
        changed = [number for number, pair in enumerate(zip(before, data, strict=True)) if pair[0] != pair[1]]
        assert changed, "the write changed nothing"
        return self.address(at + changed[0]), self.address(at + changed[-1] + 1)

    def address(self, at: int) -> int:
        """The address of a byte of `room`."""
        return BASE + at - self.pool.start

    def payload(self, node: int) -> int:
        """The address of a node's payload."""
        return self.address(self.start(node))

    def memory(self, *more: tuple[int, bytes]) -> SegmentsMemory:
        """The process's memory, and other stretches of it."""
        last = max(self.sites, default=0)
        area = bytearray(process.SITE_UNIT * (last + 2))
        for number, (pc, prior) in self.sites.items():
            record = process.SITE_WORDS.pack(0, prior, 77, 1, 0, 0) + struct.pack("<Q", pc)
            area[number * 16 : number * 16 + len(record)] = record
        words = process.PROCESS_WORDS_BEFORE_RUNS
        block = words.pack(process.MAGIC, process.BEFORE_RUNS, SITES, len(area), PROCESS + 64, 1)
        regions = process.REGION_WORDS_BEFORE_RUNS.pack(BASE, self.pool.size, 1, 1)
        return SegmentsMemory(
            [
                (BASE, bytes(self.room[self.pool.start : self.pool.start + self.pool.size + self.spare])),
                (PROCESS, block),
                (PROCESS + 64, regions),
                (SITES, bytes(area)),
                *more,
            ]
        )

    def event(self, reason: Reason, node: int = 0, low: int = 0, high: int = 0, **rest: object) -> Event:
        windows = (Window(low, high),) if reason is Reason.DAMAGE else ()
        fields: dict[str, object] = {
            "type": Type.FINDING,
            "when": When.FREE,
            "pid": 4242,
            "tid": 77,
            "thread": "worker",
            "process": PROCESS,
            "pool": BASE,
            "pool_bytes": self.pool.size,
            "frames": (0x9000, 0x9100),
        }
        return Event(**{**fields, "reason": reason, "node": node, "windows": windows, **rest})  # type: ignore[arg-type]

    def findings(self) -> tuple[Finding, ...]:
        """What the engine's own check finds, each of it diagnosed as one event, as in a process."""
        memory = self.memory()
        faults = self.pool.check()
        to_the_end = any(fault.reason == Reason.DAMAGE and fault.high == self.pool.end for fault in faults)
        return tuple(
            finding
            for fault in faults
            if fault.reason != Reason.CONTROL or not to_the_end
            for finding in diagnose(self.event(Reason(fault.reason), fault.node, fault.low, fault.high), memory)
        )

    def examined(self) -> tuple[Finding, ...]:
        """What a walk from outside finds, without an engine."""
        return examine(self.memory(), BASE, self.pool.size, process=PROCESS)


def message(event: Event, sections: bytes = b"") -> bytes:
    """The bytes of an event, as an engine sends them."""
    tail = b"".join(events.WINDOW_WORDS.pack(one.low, one.high) for one in event.windows)
    tail += struct.pack(f"<{len(event.frames)}Q", *event.frames) + sections
    return (
        events.EVENT_WORDS.pack(
            *(events.MAGIC, events.VERSION, event.type, events.EVENT_WORDS.size + len(tail)),
            *(event.pid, event.tid, event.ppid, event.when, event.reason),
            *(
                event.process,
                event.pool,
                event.pool_bytes,
                event.pointer,
                event.node,
                event.family | event.domain << FAMILY_BITS,
            ),
            *(event.thread.encode(), len(event.windows), len(event.frames), event.dropped),
        )
        + tail
    )


def section(kind: int, data: bytes, address: int = 0) -> bytes:
    """One section of an event, padded."""
    return events.SECTION_WORDS.pack(kind, 0, address, len(data)) + data + bytes(-len(data) % 8)
