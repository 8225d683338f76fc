"""Events and records, as docs/format.md has them."""

import io
import struct

import pytest
from support.heaps import message, section

from heapwitness.layout import events
from heapwitness.layout.decode import parse_event, read_events
from heapwitness.layout.events import BadEvent, Event, Reason, SectionKind, Type, When, Window
from heapwitness.layout.process import BadProcess, RegionKind, SiteRecord, read_process, read_regions, read_site
from heapwitness.layout.witness import Origin
from heapwitness.memory import BufferMemory

FINDING = Event(
    type=Type.FINDING,
    pid=10,
    tid=11,
    ppid=9,
    when=When.REALLOC,
    reason=Reason.DAMAGE,
    process=0x5555,
    pool=0x7F00,
    pool_bytes=65536,
    pointer=0x7F40,
    node=33,
    family=Origin.NEW_ARRAY,
    thread="worker",
    dropped=4,
    windows=(Window(20, 30), Window(40, 44)),
    frames=(1, 2, (1 << 64) - 1),
)


def test_an_event_is_what_was_sent() -> None:
    assert parse_event(message(FINDING)) == FINDING


def test_sections_are_decoded() -> None:
    data = message(
        FINDING,
        section(SectionKind.MEMORY, b"abc", 0x1000)
        + section(SectionKind.MAPS, b"00-01 r-xp\n")
        + section(SectionKind.COMMAND, b"prog\0-x\0\xff\0")
        + section(SectionKind.STATS, struct.pack("<8Q", *range(1, 9)))
        + section(SectionKind.RELEASED, struct.pack("<4Q", 0x7000, 100, 5, 2))
        + section(SectionKind.OUTCOME, struct.pack("<8Q", *range(8)))
        + section(SectionKind.TRAP, struct.pack("<4Q", 0x9000, 0x400, 2, 0x8000))
        + section(SectionKind.UNPOOLED, struct.pack("<7Q", 0xA000, 1 << 40, 7, 3, 0x8181, 8, 16 << 10))
        + section(99, b"of a later version"),
    )
    event = parse_event(data)
    assert event.memory == ((0x1000, b"abc"),)
    assert event.maps == "00-01 r-xp\n"
    assert event.command == ("prog", "-x", "�")
    assert event.stats is not None and (event.stats.operations, event.stats.big_blocks) == (1, 7)
    assert event.released == events.Released(address=0x7000, size=100, site=5, origin=Origin.NEW_ARRAY)
    assert event.outcome is not None and event.outcome.quarantined == 6
    assert event.trap == events.Trap(address=0x9000, pc=0x400, access=events.Access.WRITE, pool=0x8000)
    assert event.unpooled == events.Unpooled(
        address=0xA000, size=1 << 40, site=7, origin=Origin.ALIGNED, pattern=0x8181, before=8, page=16 << 10
    )


def test_sections_of_a_trapped_access_are_decoded() -> None:
    crash = struct.pack("<42Q", 62, 11, 2, 0x9000, 0, 0, 0, 0x400, 0x7000, 14, 6, *range(31))
    data = message(
        FINDING,
        section(SectionKind.STATS, struct.pack("<11Q", *range(1, 12)))
        + section(SectionKind.TRAP, struct.pack("<5Q", 0x9000, 0x400, 1, 0, 7))
        + section(SectionKind.UNPOOLED, struct.pack("<6Q", 0xA000, 24, 7, 3, 0x8181, 1 << 40))
        + section(SectionKind.STORED, b"after", 0x8FFE)
        + section(SectionKind.HELD, crash),
    )

    event = parse_event(data)

    assert event.stats is not None
    assert (event.stats.trapped, event.stats.too_often, event.stats.too_many) == (9, 10, 11)
    assert event.trap is not None and event.trap.state == sum(events.TrapState)
    assert event.unpooled is not None and event.unpooled.before == events.BEFORE_LIMIT
    assert event.stored == (0x8FFE, b"after")
    assert event.crash is None and event.held is not None and event.held.registers == tuple(range(16))


def test_a_block_without_a_pool_ends_with_the_usual_page_where_an_older_engine_tells_none() -> None:
    event = parse_event(message(FINDING, section(SectionKind.UNPOOLED, struct.pack("<5Q", 0xA000, 10, 7, 0, 0x81))))
    assert event.unpooled is not None and event.unpooled.page == 4096


@pytest.mark.parametrize("length", [0, 1, 50, 103, 104, 130, 140])
def test_a_truncated_event_is_none(length: int) -> None:
    with pytest.raises(BadEvent):
        parse_event(message(FINDING)[:length])


@pytest.mark.parametrize(
    ("at", "value"),
    [
        (0, 1),  # magic
        (4, 2),  # version 2
        (8, 5000),  # length
        (24, 7),  # when
        (28, 10),  # reason
        (28, 0),  # a finding without a reason
        (68, 4),  # family
        (88, 0xFFFFFFFF),  # windows
        (92, 0xFFFFFFFF),  # frames
    ],
)
def test_a_forged_word_makes_a_bad_event(at: int, value: int) -> None:
    data = bytearray(message(FINDING))
    data[at : at + 4] = struct.pack("<I", value)
    with pytest.raises(BadEvent):
        parse_event(bytes(data))


@pytest.mark.parametrize(
    "sections",
    [
        b"\1",
        events.SECTION_WORDS.pack(SectionKind.MEMORY, 0, 0, 1 << 40),
        section(SectionKind.STATS, b"short"),
        section(SectionKind.RELEASED, struct.pack("<4Q", 0, 0, 0, 77)),
        section(SectionKind.TRAP, struct.pack("<4Q", 0, 0, 77, 0)),
        section(SectionKind.UNPOOLED, struct.pack("<5Q", 0, 0, 0, 77, 0)),
        section(SectionKind.UNPOOLED, struct.pack("<7Q", 0, 0, 0, 0, 0, 0, 0)),
        section(SectionKind.UNPOOLED, struct.pack("<7Q", 0, 0, 0, 0, 0, 0, 1 << 40)),
    ],
)
def test_a_forged_section_makes_a_bad_event(sections: bytes) -> None:
    with pytest.raises(BadEvent):
        parse_event(message(FINDING, sections))


def test_a_thread_name_ends_at_its_nul_and_is_text() -> None:
    data = bytearray(message(FINDING))
    data[72:88] = b"\xffab\0garbage\0\0\0\0\0"
    assert parse_event(bytes(data)).thread == "�ab"


def test_a_record_ends_at_the_first_message_cut_short() -> None:
    other = FINDING._replace(pid=77)
    whole = message(FINDING) + message(other)
    assert [event.pid for event in read_events(io.BytesIO(whole + whole[:70]))] == [10, 77]
    assert [event.pid for event in read_events(io.BytesIO(whole + b"HWEV"))] == [10, 77]
    assert list(read_events(io.BytesIO(b""))) == []


@pytest.mark.parametrize("tail", [b"no record of anything", struct.pack("<IIII", events.MAGIC, 1, 4, 0) * 9])
def test_what_is_no_record_is_told_after_the_events_before_it(tail: bytes) -> None:
    stream = read_events(io.BytesIO(message(FINDING) + tail))
    assert next(stream) == FINDING
    with pytest.raises(BadEvent):
        next(stream)


def _process(sites_used: int = 64, regions_used: int = 3) -> BufferMemory:
    block = struct.pack("<IIQQQQ", 0x52505748, 1, 0x1100, sites_used, 0x1200, regions_used).ljust(0x100, b"\0")
    sites = struct.pack("<16xIIIHHQQ", 5, 3, 42, 2, 0, 0xAAAA, 0xBBBB).ljust(0x100, b"\0")
    regions = b"".join(
        struct.pack("<QQII", base, size, kind, 1)
        for base, size, kind in ((0x10000, 4096, 1), (0, 0, 0), (0x20000, 8192, 2), (0x30000, 1, 9), (1, 1 << 63, 1))
    )
    return BufferMemory(0x1000, block + sites + regions)


def test_a_process_block_leads_to_regions_and_sites() -> None:
    memory = _process()
    process = read_process(memory, 0x1000)
    assert [(region.base, region.kind) for region in read_regions(memory, process)] == [
        (0x10000, RegionKind.ARENA),
        (0x20000, RegionKind.BIG),
    ]
    assert read_site(memory, process, 1) == SiteRecord(prior=3, thread=42, pcs=(0xAAAA, 0xBBBB))


def test_sites_that_lead_nowhere_are_not_known() -> None:
    memory = _process(sites_used=40)
    process = read_process(memory, 0x1000)
    assert [read_site(memory, process, number) for number in (0, 1, 2, 0xFFFFFF, -1)] == [None] * 5


def test_forged_counts_of_a_process_block_cost_nothing() -> None:
    memory = _process(sites_used=1 << 64 - 1, regions_used=(1 << 64) - 1)
    process = read_process(memory, 0x1000)
    assert len(read_regions(memory, process)) <= 4
    assert read_site(memory, process, 0xFFFFFE) is None


def test_there_is_no_process_block_in_other_memory() -> None:
    with pytest.raises(BadProcess):
        read_process(BufferMemory(0, bytes(64)), 0)
