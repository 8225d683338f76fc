"""What each kind of damage comes to: kind, culprit, victim, extent, copies."""

import struct
from itertools import pairwise

import pytest
from support.heaps import BASE, Heap, Reason
from support.rows import only, row

from heapwitness.diagnose import diagnose, with_outcome
from heapwitness.findings.model import Finding
from heapwitness.layout.events import Outcome
from heapwitness.memory import SegmentsMemory

LAYOUTS = pytest.mark.parametrize("log2", [3, 4])
OUTCOME = Outcome(headers=1, backups=1, slacks=1, links=0, poisons=0, controls=0, quarantined=0)


def pcs(finding: Finding) -> tuple[int | None, int | None]:
    """Where the culprit was allocated and released."""
    block = finding.culprit
    assert block is not None
    return tuple(site.stack[0].pc if site else None for site in (block.allocated, block.freed))  # type: ignore[return-value]


@LAYOUTS
@pytest.mark.parametrize("size", [1, 5, 8, 16, 24, 40, 48, 100])
@pytest.mark.parametrize("length", [1, 2, 7, 15, 16, 17, 31, 32, 33, 40, 100, 700])
def test_a_fill_past_the_end_is_an_overflow_to_the_byte(log2: int, size: int, length: int) -> None:
    heap, blocks = row(log2, size)
    first, end = heap.write(heap.end(blocks[5]), b"\xee" * length)
    finding = only(heap)
    assert finding.kind == "heap-buffer-overflow"
    assert finding.culprit is not None and finding.damage is not None
    assert (finding.culprit.address, finding.culprit.size) == (heap.payload(blocks[5]), size)
    assert pcs(finding) == (0x1005, None)
    assert finding.damage.address == first
    # What it wrote last may have had that value: then both lengths are right.
    assert end - first <= finding.damage.length <= length
    assert finding.damage.offset == 0
    assert finding.damage.exact or heap.memory().read(first + finding.damage.length, 1) in (b"\0", b"\xee")


@LAYOUTS
@pytest.mark.parametrize("size", [8, 16, 24, 48])
@pytest.mark.parametrize("text", [b"", b"!", b"abc", b"abcdefg", b"a whole sentence"])
def test_text_whose_zero_fell_on_a_zero_is_at_least_as_long_as_told(log2: int, size: int, text: bytes) -> None:
    heap, blocks = row(log2, size)
    before = heap.memory().read(BASE + heap.end(blocks[5]), len(text) + 1)
    heap.write(heap.end(blocks[5]), text + b"\0")
    findings = heap.findings()
    for finding in findings:
        assert finding.damage is not None
        # Of a lost header all counts.
        assert finding.damage.length >= len(text) + 1 or not finding.damage.exact
    assert findings or before == text + b"\0"


def test_slack_alone_has_no_victim() -> None:
    heap, blocks = row(size=20)
    heap.write(heap.end(blocks[3]), b"!")
    finding = only(heap)
    assert finding.damage is not None
    assert (finding.victim, finding.header, finding.damage.copies) == (None, None, ("slack",))
    assert finding.damage.actual == "21" and len(finding.damage.expected) == 2


def test_a_backup_speaks_of_the_block_behind_the_one_that_keeps_it() -> None:
    heap, blocks = row()
    heap.write(heap.start(blocks[4]) - 3, b"!!!")
    finding = only(heap)
    assert finding.victim is not None and finding.previous is not None and finding.header is not None
    assert finding.victim.address == heap.payload(blocks[5])
    assert finding.previous.address == heap.payload(blocks[4])
    assert finding.header.stored is not None and finding.header.backup is not None
    assert (finding.header.stored["valid"], finding.header.backup["valid"]) == (True, False)
    assert finding.damage is not None and finding.damage.copies == ("backup",)


def test_the_next_header_is_shown_with_its_backup() -> None:
    heap, blocks = row()
    heap.write(heap.end(blocks[3]), b"x" * 20)
    finding = only(heap)
    assert finding.victim is not None and finding.header is not None and finding.header.backup is not None
    assert finding.victim.address == heap.payload(blocks[4])
    assert finding.header.stored is not None and finding.header.stored["size"] == 0x78787878
    assert finding.header.backup["size"] == 5 and finding.header.backup["state"] == "used"
    mended = with_outcome(finding, OUTCOME)
    assert mended.repaired and mended.header is not None and mended.header.restored_from == "backup"


@pytest.mark.parametrize("text", [b"a string of some length\0", b"0123456789" * 5 + b"\0", b"A" * 60 + b"\0"])
def test_a_string_past_the_end_counts_with_its_terminator(text: bytes) -> None:
    heap, blocks = row()
    _, end = heap.write(heap.end(blocks[3]), text)
    finding = only(heap)
    assert finding.damage is not None
    assert finding.damage.address + finding.damage.length == end


def test_counting_words_are_followed_over_payload() -> None:
    heap, blocks = row(size=200)
    _, end = heap.write(heap.end(blocks[3]), b"".join(number.to_bytes(4, "little") for number in range(9, 59)))
    finding = only(heap)
    assert finding.damage is not None
    assert 0 <= finding.damage.address + finding.damage.length - end <= 3


def test_part_of_a_repeated_word_that_was_there_by_chance_is_no_damage() -> None:
    heap, blocks = row(size=200)
    below, above = (struct.pack("<f", number) for number in (1.5, 1.0))  # both begin with two zeros
    heap.write(heap.start(blocks[4]), above * 50)
    heap.write(heap.end(blocks[3]), below * 24)

    damage = only(heap).damage

    assert damage is not None
    assert (damage.offset, damage.length, damage.exact) == (0, 96, False)


def test_noise_that_reaches_a_payload_says_at_least() -> None:
    heap, blocks = row(size=200)
    noise = bytes((number * 89 + number * number * 7 + 11) & 0xFF for number in range(120))
    heap.write(heap.end(blocks[3]), noise)
    finding = only(heap)
    assert finding.kind == "heap-buffer-overflow"
    assert finding.damage is not None
    assert not finding.damage.exact and finding.damage.length >= 32
    assert "may go on" in finding.detail


@pytest.mark.parametrize("size", [24, 1000])
def test_an_overflow_across_the_end_of_the_pool_is_followed(size: int) -> None:
    heap = Heap(size=4096)
    last = heap.allocate(size)
    heap.pool.allocate(3712 - 32 - size - 32 if size == 24 else 3712 - 32 - 1008 - 32 + 32 - 48)
    blocks = [node for node in heap.pool.nodes() if node.requested]
    last = blocks[-1].offset
    first, end = heap.write(heap.end(last), b"Q" * 100_000)
    finding = only(heap)
    assert finding.kind == "heap-buffer-overflow"
    assert finding.damage is not None
    assert (finding.damage.address, finding.damage.length) == (first, end - first)
    assert "control" in finding.damage.copies


def test_bytes_left_out_in_the_slack_are_told() -> None:
    heap, blocks = row(size=20)
    heap.write(heap.end(blocks[3]) + 5, b"!!")
    finding = only(heap)
    assert finding.kind == "heap-buffer-overflow"
    assert finding.damage is not None and finding.damage.offset == 5
    assert "5 bytes right behind the block are as before" in finding.detail


def test_an_overflow_of_a_released_block_names_it_and_both_sites() -> None:
    heap, blocks = row()
    heap.cache(blocks[3], pc=0x2003)
    heap.write(heap.end(blocks[3]), b"!!!")
    finding = only(heap)
    assert finding.kind == "heap-buffer-overflow"
    assert pcs(finding) == (0x1003, 0x2003)
    assert "released" in finding.detail


def test_an_overrun_block_that_was_merged_is_told_from_its_tombstone() -> None:
    heap, blocks = row(size=40)
    heap.release(blocks[2], pc=0x2002)
    heap.release(blocks[3], pc=0x2003)
    heap.write(heap.pool.start + (blocks[4] << 4), b"!!!")
    finding = only(heap)
    assert finding.kind == "heap-buffer-overflow"
    assert finding.culprit is not None
    assert (finding.culprit.address, finding.culprit.size) == (heap.payload(blocks[3]), 40)
    assert pcs(finding) == (0x1003, 0x2003)


@LAYOUTS
@pytest.mark.parametrize("length", [1, 4, 8, 15, 16, 17, 28, 31])
def test_damage_that_ends_at_a_payload_is_an_underflow(log2: int, length: int) -> None:
    heap, blocks = row(log2)
    first, end = heap.write(heap.start(blocks[5]) - length, b"\xee" * length)
    finding = only(heap)
    assert finding.kind == "heap-buffer-underflow"
    assert finding.culprit is not None and finding.damage is not None
    assert finding.culprit.address == heap.payload(blocks[5]) == end
    assert (finding.damage.offset, finding.damage.length) == (first - end, end - first)


@LAYOUTS
@pytest.mark.parametrize("size", [12, 16])
def test_a_smallest_blocks_own_data_is_not_taken_for_links(log2: int, size: int) -> None:
    heap, blocks = row(log2, size)
    heap.room[heap.start(blocks[5]) : heap.end(blocks[5])] = b"\x18\x27\x74\xff" * (size // 4)
    first, end = heap.write(heap.start(blocks[6]) - 1, b"\x00")
    finding = only(heap)
    assert finding.kind == "heap-buffer-underflow"
    assert finding.culprit is not None and finding.culprit.address == heap.payload(blocks[6])
    assert finding.damage is not None and (finding.damage.address, finding.damage.length) == (first, end - first)


def test_a_fill_from_before_a_block_over_all_of_it_is_an_underflow_of_it() -> None:
    heap, blocks = row()
    heap.write(heap.start(blocks[5]) - 8, b"\xee" * (8 + 48))
    finding = only(heap)
    assert finding.kind == "heap-buffer-underflow"
    assert finding.culprit is not None and finding.culprit.address == heap.payload(blocks[5])
    assert finding.damage is not None and (finding.damage.offset, finding.damage.length) == (-8, 8)


def test_a_long_underflow_is_told_by_where_its_fill_begins() -> None:
    heap, blocks = row()
    first, end = heap.write(heap.start(blocks[5]) - 50, b"\xee" * 50)
    finding = only(heap)
    assert finding.kind == "heap-buffer-underflow"
    assert finding.culprit is not None and finding.culprit.address == heap.payload(blocks[5])
    assert finding.damage is not None
    assert (finding.damage.address, finding.damage.length) == (first, end - first)


def test_a_fill_of_a_block_from_behind_its_head_to_the_next_one_is_its_own_overflow() -> None:
    heap, blocks = row()
    heap.write(heap.start(blocks[4]) + 8, b"\xee" * (40 + 32))
    finding = only(heap)
    assert (finding.kind, finding.certain) == ("heap-buffer-overflow", False)
    assert finding.culprit is not None and finding.culprit.address == heap.payload(blocks[4])
    assert [(one.kind, one.culprit and one.culprit.address) for one in finding.readings] == [
        ("heap-buffer-overflow", heap.payload(blocks[4])),
        ("heap-buffer-underflow", heap.payload(blocks[5])),
    ]


def test_a_fill_of_all_of_a_block_and_on_to_the_next_one_is_surely_its_overflow() -> None:
    heap, blocks = row()
    heap.write(heap.start(blocks[4]), b"\xee" * (48 + 32))
    finding = only(heap)
    assert (finding.kind, finding.certain) == ("heap-buffer-overflow", True)
    assert finding.culprit is not None and finding.culprit.address == heap.payload(blocks[4])


def test_damage_from_one_blocks_end_to_the_nexts_start_says_that_it_could_be_either() -> None:
    heap, blocks = row()
    heap.write(heap.end(blocks[4]), b"\xee" * 32)
    finding = only(heap)
    assert finding.kind == "heap-buffer-overflow"
    assert f"{heap.payload(blocks[5]):#x}" in finding.detail


@LAYOUTS
@pytest.mark.parametrize(
    ("at", "length", "copy"), [(1, 1, "header"), (4, 8, "header"), (16, 4, "backup"), (20, 11, "backup")]
)
def test_a_write_that_touches_no_edge_is_wild(log2: int, at: int, length: int, copy: str) -> None:
    heap, blocks = row(log2)
    first, end = heap.write(heap.start(blocks[5]) - 32 + at, b"\xee" * length)
    finding = only(heap)
    assert finding.kind == "header-overwrite"
    assert finding.culprit is None and finding.damage is not None and finding.victim is not None
    assert (finding.damage.address, finding.damage.length, finding.damage.offset) == (first, end - first, None)
    assert finding.damage.copies == (copy,)
    assert finding.victim.address == heap.payload(blocks[5 + (copy == "backup")])
    restored = with_outcome(finding, OUTCOME).header
    assert restored is not None and restored.restored_from == ("header" if copy == "backup" else "backup")


def test_a_wild_write_close_behind_a_block_names_it_as_suspect() -> None:
    heap, blocks = row()
    heap.write(heap.end(blocks[4]) + 8, b"\xee" * 8)
    finding = only(heap)
    assert finding.kind == "header-overwrite"
    assert finding.suspect is not None and finding.suspect.address == heap.payload(blocks[4])


@LAYOUTS
@pytest.mark.parametrize(("at", "length"), [(0, 1), (0, 8), (4, 4), (8, 8), (15, 1), (0, 16)])
def test_links_of_a_freed_block_are_watched(log2: int, at: int, length: int) -> None:
    heap, blocks = row(log2)
    heap.cache(blocks[5], pc=0x2005)
    first, end = heap.write(heap.start(blocks[5]) + at, b"\xee" * length)
    finding = only(heap)
    assert finding.kind == "use-after-free-write"
    assert pcs(finding) == (0x1005, 0x2005)
    assert finding.damage is not None
    assert (finding.damage.address, finding.damage.length) == (first, end - first)
    assert finding.damage.offset == first - heap.payload(blocks[5])
    assert finding.damage.copies == ("links",)


def test_a_freed_block_that_was_merged_with_what_follows_keeps_its_size() -> None:
    heap, blocks = row(size=40, count=4)
    heap.release(blocks[3], pc=0x2003)
    heap.write(heap.start(blocks[3]), b"\xee")
    finding = only(heap)
    assert finding.culprit is not None
    assert (finding.culprit.address, finding.culprit.size) == (heap.payload(blocks[3]), 40)
    assert pcs(finding) == (0x1003, 0x2003)


@pytest.mark.parametrize(("at", "length"), [(16, 1), (30, 8), (47, 1), (10, 30)])
def test_poison_watches_all_of_a_freed_block(at: int, length: int) -> None:
    heap, blocks = row()
    heap.cache(blocks[5], poison=True)
    first, end = heap.write(heap.start(blocks[5]) + at, b"\x22" * length)
    finding = only(heap)
    assert finding.kind == "use-after-free-write"
    assert finding.damage is not None
    assert (finding.damage.address, finding.damage.length, finding.damage.offset) == (first, end - first, at)
    assert finding.damage.copies[-1] == "payload"


def test_a_block_released_by_another_thread_keeps_state_used_and_has_both_sites() -> None:
    heap, blocks = row(size=20)
    heap.give_to_owner(blocks[5], pc=0x3005)
    assert heap.findings() == ()
    heap.write(heap.end(blocks[5]), b"!!")
    finding = only(heap)
    assert finding.culprit is not None and finding.culprit.state == "used"
    assert pcs(finding) == (0x1005, 0x3005)


def test_a_record_of_the_damaged_place_alone_is_enough() -> None:
    heap, blocks = row()
    first, end = heap.write(heap.start(blocks[5]) - 50, b"\xee" * 50)
    (fault,) = heap.pool.check()
    whole = heap.memory()
    low, high = (fault.low << 4) - 80, (fault.high << 4) + 80
    record = SegmentsMemory(
        [
            (start, whole.read(start, length))
            for start, length in ((BASE, 320), (BASE + heap.pool.size - 64, 64), (BASE + low, high - low))
        ]
    )
    (finding,) = diagnose(heap.event(Reason(fault.reason), fault.node, fault.low, fault.high), record)
    assert finding.kind == "heap-buffer-underflow"
    assert finding.damage is not None
    assert (finding.damage.address, finding.damage.length) == (first, end - first)


def test_an_extent_that_runs_to_the_end_of_a_record_is_at_least_that_long() -> None:
    heap, blocks = row(size=200)
    heap.write(heap.end(blocks[3]), b"\xee" * 150)
    (fault,) = heap.pool.check()
    stop = heap.payload(blocks[4]) + 40 - BASE
    whole = heap.memory()
    record = SegmentsMemory(
        [(BASE, whole.read(BASE, stop)), (BASE + heap.pool.size - 64, whole.read(BASE + heap.pool.size - 64, 64))]
    )
    (finding,) = diagnose(heap.event(Reason(fault.reason), fault.node, fault.low, fault.high), record)
    assert finding.damage is not None and not finding.damage.exact
    assert finding.damage.length > 60


@pytest.mark.parametrize(("at", "length"), [(0, 4), (8, 4), (12, 4), (0, 16)])
def test_a_write_over_the_links_of_a_block_that_waits_for_its_owner_is_told(at: int, length: int) -> None:
    heap, blocks = row(size=40)
    heap.give_to_owner(blocks[5], pc=0x3005, following=blocks[7])
    first, end = heap.write(heap.start(blocks[5]) + at, b"\xee" * length)
    (finding,) = diagnose(heap.event(Reason.LINKS, blocks[5]), heap.memory())
    assert finding.kind == "use-after-free-write"
    assert finding.culprit is not None and finding.damage is not None
    assert finding.culprit.address == heap.payload(blocks[5])
    assert finding.damage.address <= first and finding.damage.address + finding.damage.length >= end
    assert "another thread" in finding.detail
    if at == 12:
        assert pcs(finding) == (0x1005, 0x3005)


@pytest.mark.parametrize("at", [0, 12, 33, 40, 56, 100, 316])
def test_a_write_into_the_control_block_is_told(at: int) -> None:
    heap, _ = row()
    first, end = heap.write(heap.pool.start + at, b"\xee\xee")
    finding = only(heap)
    assert finding.kind == "header-overwrite"
    assert finding.damage is not None and finding.damage.copies == ("control",)
    assert (finding.damage.address, finding.damage.length) == (first, end - first)
    assert "control block" in finding.detail


def test_a_lost_pool_is_still_a_finding() -> None:
    heap, _ = row()
    heap.write(heap.pool.start, b"\xee" * 32)
    heap.write(heap.pool.start + heap.pool.size - 32, b"\xee" * 32)
    (finding,) = heap.findings()
    assert finding.kind == "header-overwrite"
    assert "both lost" in finding.detail


def test_two_damages_in_one_place_are_two_findings() -> None:
    heap, blocks = row()
    heap.write(heap.end(blocks[4]), b"!")
    heap.write(heap.start(blocks[5]) - 1, b"\xee")
    assert [finding.kind for finding in heap.findings()] == ["heap-buffer-overflow", "heap-buffer-underflow"]


def test_what_is_repaired_when_it_is_read_is_a_finding_without_an_extent() -> None:
    heap, blocks = row()
    (finding,) = diagnose(heap.event(Reason.SLACK, blocks[3]), heap.memory())
    assert finding.kind == "heap-buffer-overflow"
    assert finding.damage is None and finding.culprit is not None
    assert finding.culprit.address == heap.payload(blocks[3])


def test_a_block_of_a_gigabyte_costs_no_more_than_a_small_one() -> None:
    class Sparse:
        """A pool of one big block, of whose payload nothing needs to be read."""

        def __init__(self, heap: Heap, size: int) -> None:
            self.start, self.data, self.hole = BASE, heap.memory(), size
            self.most = 0

        def read(self, address: int, length: int) -> bytes:
            self.most = max(self.most, length)
            return self.data.read(address, length)

    heap = Heap(size=(16 << 20) + 4096, spare=4096)
    big = heap.allocate(16 << 20)
    heap.write(heap.end(big), b"\xee" * 9)
    memory = Sparse(heap, 16 << 20)
    (fault,) = heap.pool.check()
    (finding,) = diagnose(heap.event(Reason(fault.reason), fault.node, fault.low, fault.high), memory)
    assert finding.culprit is not None and finding.culprit.size == 16 << 20
    assert finding.damage is not None and finding.damage.length == 9
    assert memory.most <= 1 << 16


def test_the_picture_shows_payload_slack_header_and_backup_in_order() -> None:
    heap, blocks = row(size=20)
    heap.write(heap.end(blocks[3]), b"\xee" * 40)
    finding = only(heap)
    assert finding.damage is not None
    picture = finding.damage.picture
    assert [stretch.copy for stretch in picture] == ["payload", "slack", "header", "backup", "payload"]
    assert all(one.address + len(one.actual) // 2 == other.address for one, other in pairwise(picture))
    assert picture[1].actual == "ee" * 12 and picture[1].expected != picture[1].actual


def test_where_and_when_it_was_noticed_is_kept() -> None:
    heap, blocks = row(size=20)
    heap.write(heap.end(blocks[3]), b"!")
    detected = only(heap).detected
    assert (detected.when, detected.thread, detected.thread_name, detected.pid) == ("free", 77, "worker", 4242)
    assert [frame.pc for frame in detected.stack] == [0x9000, 0x9100]


@pytest.mark.parametrize("length", [16, 18, 24])
def test_words_that_repeat_into_bytes_that_they_leave_as_they_were_are_no_exact_extent(length: int) -> None:
    heap, blocks = row(4, 24)
    place = heap.address(heap.end(blocks[5]))
    following = heap.memory().read(place + length, 2)
    word = following if length % 2 == 0 else following[::-1]
    heap.write(heap.end(blocks[5]), word * (length // 2 + 1))

    damage = only(heap).damage

    assert damage is not None
    assert damage.length < length + 2
    assert not damage.exact
