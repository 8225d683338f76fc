"""Coverage-guided inputs (atheris) for everything of ours that reads what a program sends or leaves.

    python benchmarks/fuzz/inputs.py events|records|pools|runs [libFuzzer options, as -max_total_time=60]

Only our own errors may come out of it, and no input may take longer than two seconds of the processor's time.
"""

import contextlib
import io
import struct
import sys
import time

import atheris

with atheris.instrument_imports(include=["heapwitness"]):
    from heapwitness.diagnose import diagnose, examine
    from heapwitness.errors import HeapwitnessError
    from heapwitness.heap import LostPool, WalkedRuns, check_run
    from heapwitness.layout import process, witness
    from heapwitness.layout.decode import parse_event, read_events
    from heapwitness.layout.events import EVENT_WORDS, MAGIC, VERSION, Event, Reason, Type, Window
    from heapwitness.layout.witness import Fixed
    from heapwitness.memory import SegmentsMemory
    from heapwitness.supervise.examine import diagnosed
    from heapwitness.supervise.ledger import Ledger
    from heapwitness.supervise.records import read_records
    from heapwitness.survey.process import heap_map
    from heapwitness.symbols.maps import parse_maps

from forged_runs import KEY, ForgedRun

SECONDS = 2.0
BASE, PROCESS = 0x7F00_0000_0000, 0x5500_0000_0000
SECRET = (1, 2, 3, 4)


def events(data: bytes) -> None:
    """One message of a socket."""
    event = parse_event(_message(data))
    diagnosed(event, SegmentsMemory(event.memory), event.maps or "")
    Ledger().note(event, event.pid)
    parse_maps(event.maps or "")


def records(data: bytes) -> None:
    """A file of records, the last of them as it comes."""
    parts = data.split(b"\xfe\xed")
    data = b"".join(_message(part) for part in parts[:-1]) + parts[-1]
    for event in read_events(io.BytesIO(data)):
        assert event.pid >= 0
    for recorded in read_records(io.BytesIO(data), Ledger()):
        assert recorded.examined.findings


def pools(data: bytes) -> None:
    """A pool with a control block that holds, and an event on it, both made of the input."""
    provider = atheris.FuzzedDataProvider(data)
    log2 = 3 + provider.ConsumeIntInRange(0, 1)
    reason = Reason(provider.ConsumeIntInRange(1, 8))
    node, low, high = (provider.ConsumeIntInRange(0, 600) for _ in range(3))
    pointer = BASE + provider.ConsumeIntInRange(0, 1 << 13)
    rest = bytearray(provider.ConsumeBytes(8192))
    rest += bytes(-len(rest) % 16 + max(0, 512 - len(rest)) // 16 * 16)
    size = len(rest) >> log2
    rest[:32] = Fixed.sealed(witness.MAGIC, 1 | log2 << 8, size, SECRET).pack()
    _seal(rest, log2)
    regions = len(rest) // process.REGION_WORDS.size
    block = process.PROCESS_WORDS.pack(process.MAGIC, process.VERSION, BASE, len(rest), BASE, regions, *KEY, 0)
    memory = SegmentsMemory([(BASE, bytes(rest)), (PROCESS, block)])
    event = Event(
        type=Type.FINDING,
        reason=reason,
        process=PROCESS,
        pool=BASE,
        pool_bytes=len(rest),
        pointer=pointer,
        node=node,
        windows=(Window(low, high),) if reason is Reason.DAMAGE else (),
    )
    diagnose(event, memory)
    examine(memory, BASE, len(rest), process=PROCESS)


def runs(data: bytes) -> None:
    """A run of small blocks that was forged, and an event on it."""
    provider = atheris.FuzzedDataProvider(data)
    run = ForgedRun.of(provider)
    memory, event = run.memory(provider), run.event(provider)
    assert diagnose(event, memory)
    known = process.read_process(memory, event.process)
    with contextlib.suppress(LostPool):
        check_run(WalkedRuns.open(memory, known, event.pool, event.run))
    heap_map(memory, event.process, "finding", diagnose(event, memory))


def _message(data: bytes) -> bytes:
    """A message whose first words are right; the first two bytes of the input count windows and frames."""
    windows, frames = data[:1] or b"\0", data[1:2] or b"\0"
    message = bytearray(data[2:].ljust(EVENT_WORDS.size + 8 * (windows[0] % 8 + frames[0]), b"\0"))
    struct.pack_into("<IHHI", message, 0, MAGIC, VERSION, 1 + message[6] % 4, len(message))
    struct.pack_into("<II", message, 88, windows[0] % 8, frames[0])
    struct.pack_into("<II", message, 24, message[24] % 6, message[28] % 9 if message[6] == 2 else 0)
    return bytes(message)


def _seal(pool: bytearray, log2: int) -> None:
    """Give every header that could be one a check that holds: where its own first word is even, to leave some wrong."""
    for at in range(witness.CONTROL + 16, len(pool) - 16, 16):
        size, prev_size, meta, _ = witness.HEADER_WORDS.unpack_from(pool, at)
        if size % 2 == 0 and size < len(pool):
            header = witness.sealed(SECRET, size, prev_size, meta, (at - 16) >> log2)
            pool[at : at + 16] = header.pack()


def main() -> None:
    target = {"events": events, "records": records, "pools": pools, "runs": runs}[sys.argv.pop(1)]

    def one(data: bytes) -> None:
        started = time.process_time()
        with contextlib.suppress(HeapwitnessError):
            target(data)
        assert time.process_time() - started < SECONDS, "an input takes too long"

    atheris.Setup(sys.argv, one)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
