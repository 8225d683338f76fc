"""Which sites are trapped for which finding, and when its store is caught."""

import json
from dataclasses import dataclass
from pathlib import Path

import msgspec
import pytest

from heapwitness.errors import HeapwitnessError
from heapwitness.findings.model import Block, Damage, Detected, Finding, Frame, Kind, Reading, Report, Site, Store
from heapwitness.report.json import encode
from heapwitness.supervise.traps import catches, is_hunted, may_pass_a_guard, traps_asked_for, traps_for, watches_for

SIZE = 24


def block(offset: int, address: int = 0x1000, size: int = SIZE) -> Block:
    """A block whose allocation site has the offset `offset` in its file, and that number of frames if below 8."""
    stack = tuple(
        Frame(pc=offset + number, module="/bin/server", build_id="ab" * 20, offset=offset + number)
        for number in range(offset if offset < 8 else 1)
    )
    return Block(address=address, size=size, state="used", origin="malloc", allocated=Site(thread=1, stack=stack))


def damage(address: int, length: int = 4, offset: int | None = 0) -> Damage:
    return Damage(address=address, length=length, offset=offset, expected="", actual="", shown=0, copies=("slack",))


@dataclass(frozen=True)
class _Store:
    of: Block
    access: str = "write"

    def finding(self) -> Finding:
        return finding(
            "heap-buffer-overflow", culprit=self.of, store=Store(address=1, size=1, stack=()), access=self.access
        )


def finding(kind: Kind, **fields: object) -> Finding:
    return Finding(kind=kind, detected=Detected(when="free", thread=1), **fields)  # type: ignore[arg-type]


def trapped(*findings: Finding, attempt: int = 0) -> list[str]:
    return [f"{trap.how} {trap.site.frames[0].offset}" for trap in traps_for(findings, attempt)]


@pytest.mark.parametrize("attempt", [0, 1, 2, 3])
def test_python_object_is_never_trapped_at_an_odd_address(attempt: int) -> None:
    culprit = msgspec.structs.replace(block(9, size=33), domain="PyObject_Malloc")
    overrun = finding("heap-buffer-overflow", culprit=culprit, damage=damage(0x1000 + 33, 2))
    memory = msgspec.structs.replace(overrun, culprit=msgspec.structs.replace(culprit, domain="PyMem_Malloc"))

    assert trapped(overrun, attempt=attempt) == ["end 9"]
    assert trapped(memory, attempt=attempt) == [f"{'end' if attempt % 2 else 'tight'} 9"]


def test_other_reading_is_trapped_as_its_own_block_and_place_ask_for() -> None:
    under, over = block(9, address=0x1030, size=300), block(10, size=30)
    before = Reading(kind="heap-buffer-overflow", culprit=over, offset=11)
    found = finding(
        "heap-buffer-underflow",
        culprit=under,
        damage=damage(0x1029, 5, offset=-5),
        readings=(Reading(kind="heap-buffer-underflow", culprit=under, offset=-5), before),
    )

    assert trapped(found) == ["start 9", "end 10"]
    near = msgspec.structs.replace(before, offset=0)
    close = msgspec.structs.replace(found, damage=damage(0x101E, 2, offset=-18), readings=(found.readings[0], near))
    assert trapped(close) == ["start 9", "tight 10"]


@pytest.mark.parametrize(
    ("size", "length", "how"),
    [(24, 1, "end"), (25, 7, "tight"), (25, 8, "end"), (20, 4, "tight"), (32, 1, "end"), (33, 15, "end")],
)
def test_overflow_that_ends_in_the_slack_of_an_aligned_block_is_trapped_at_its_last_byte(
    size: int, length: int, how: str
) -> None:
    culprit = block(9, size=size)

    assert trapped(finding("heap-buffer-overflow", culprit=culprit, damage=damage(0x1000 + size, length))) == [
        f"{how} 9"
    ]


@pytest.mark.parametrize(
    ("kind", "how"),
    [("heap-buffer-underflow", "start"), ("use-after-free-write", "end"), ("use-after-free-read", "end")],
)
def test_each_kind_is_trapped_on_its_side(kind: Kind, how: str) -> None:
    assert trapped(finding(kind, culprit=block(9))) == [f"{how} 9"]


@pytest.mark.parametrize("kind", ["double-free", "invalid-free", "mismatched-free"])
def test_wrong_release_has_no_store_to_hunt(kind: Kind) -> None:
    assert not is_hunted(finding(kind, culprit=block(9)))


def test_blocks_around_an_overwritten_header_are_trapped_on_the_side_of_the_damage_the_nearest_first() -> None:
    before, behind = block(9, 0x1000), block(10, 0x1060)

    found = trapped(
        finding("header-overwrite", suspect=before, victim=behind, damage=damage(0x1050, 8, offset=None)),
    )

    assert found == ["start 10", "end 9"]


def test_all_readings_of_a_doubtful_finding_are_trapped() -> None:
    readings = (
        Reading(kind="heap-buffer-overflow", culprit=block(9)),
        Reading(kind="heap-buffer-underflow", culprit=block(10)),
    )

    found = trapped(finding("heap-buffer-overflow", culprit=block(9), readings=readings, certain=False))

    assert found == ["end 9", "start 10"]


def test_other_sides_and_then_other_ways_to_the_site_are_tried_after_tries_in_vain() -> None:
    underflow = finding("heap-buffer-underflow", culprit=block(4))

    tries = [traps_for([underflow], attempt)[0] for attempt in range(4)]

    assert [one.how for one in tries] == ["start", "end", "start", "end"]
    assert [len(one.site.frames) for one in tries] == [4, 4, 2, 2]


def test_store_of_a_block_of_the_site_catches_its_finding() -> None:
    overflow = finding("heap-buffer-overflow", culprit=block(9))

    assert catches(_Store(block(9)).finding(), overflow)
    assert not catches(_Store(block(10)).finding(), overflow)
    assert not catches(overflow, overflow)


def test_read_is_not_the_store_of_damage() -> None:
    read = _Store(block(9), access="read").finding()

    assert not catches(read, finding("heap-buffer-overflow", culprit=block(9)))
    assert catches(read, finding("use-after-free-read", culprit=block(9)))


def test_sites_come_from_options_from_lines_and_from_reports(tmp_path: Path) -> None:
    lines, report = tmp_path / "sites", tmp_path / "report.json"
    lines.write_text("# ours\n\nserver+0x2  # make at server.c:7\nwatch-20:server+0x3#58 # the 58th\n")
    report.write_bytes(encode(Report(findings=(finding("heap-buffer-overflow", culprit=block(9)),))))

    named = [str(one) for one in traps_asked_for(["server+0x1"], lines)]
    reported = [str(one) for one in traps_asked_for([], report)]

    assert named == ["end:server+0x1", "end:server+0x2", "watch-20:server+0x3#58"]
    assert reported == ["end:server@abababababababab+0x9"]


def test_report_names_what_is_to_be_watched_where_that_is_asked_for(tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    found = finding("heap-buffer-overflow", culprit=block(9), damage=damage(0x1000 + SIZE))
    report.write_bytes(encode(Report(findings=(found,))))

    named = [str(one) for one in traps_asked_for([], report, watch=True)]

    assert named == ["watch+0@1000:server@abababababababab+0x9", "end:server@abababababababab+0x9"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "cannot be read: No such file"),
        ("# nothing\n", "names no allocation site"),
        ("what\n", "is no allocation site"),
        ("{}", "this is no heapwitness-report/1 document|names no allocation site"),
        (json.dumps({"schema": "other"}), "this is no heapwitness-report/1 document"),
        ("server+1\n" * 257, "257 sites are too many to trap; 256 can be"),
    ],
)
def test_file_without_sites_is_refused_in_a_sentence(tmp_path: Path, content: str | None, message: str) -> None:
    file = tmp_path / "sites"
    if content is not None:
        file.write_text(content)

    with pytest.raises(HeapwitnessError, match=message):
        traps_asked_for([], file)


def test_likeliest_block_of_a_finding_is_trapped_on_its_side_whatever_it_is_to_other_findings() -> None:
    ahead = finding("heap-buffer-underflow", culprit=block(9, 0x2000), suspect=block(8), damage=damage(0x1FFC))
    other = finding("heap-buffer-underflow", culprit=block(8), suspect=block(9, 0x3000), damage=damage(0xFFC))

    assert trapped(ahead, other)[:2] == ["start 8", "start 9"]


def watched(*findings: Finding) -> list[str]:
    return [
        f"{trap.offset} {trap.site.frames[0].offset} {trap.place:#x} #{trap.number}" for trap in watches_for(findings)
    ]


def test_first_damaged_byte_is_watched_from_each_block_that_it_lies_beside() -> None:
    victim, before = block(10, 0x1060), block(9, 0x1000, size=50)
    found = finding("header-overwrite", victim=victim, previous=before, damage=damage(0x1044, offset=None))

    assert watched(found) == ["-28 10 0x1060 #0", "18 9 0x1000 #0"]


def test_damage_far_behind_in_the_slack_of_a_larger_block_is_watched() -> None:
    culprit = block(9, 0x2000, size=4100)
    found = finding("heap-buffer-overflow", culprit=culprit, damage=damage(0x2000 + 4100 + 490, 1))

    assert watched(found) == ["490 9 0x2000 #0"]


def test_watched_block_is_asked_for_by_its_number_and_its_place() -> None:
    culprit = msgspec.structs.replace(block(9, 0x7F00_0012_3450, size=25), number=58)
    found = finding("heap-buffer-overflow", culprit=culprit, damage=damage(0x7F00_0012_3450 + 25, 1))

    assert watched(found) == ["0 9 0x23450 #58"]


@pytest.mark.parametrize(
    "found",
    [
        finding("use-after-free-write", culprit=block(9), damage=damage(0x1000 + SIZE)),
        finding("heap-buffer-overflow", culprit=block(9)),
        finding("heap-buffer-overflow", culprit=block(9), damage=damage(0x1000 + 500)),
        finding("header-overwrite", victim=block(0, 0x1060), damage=damage(0x1050)),
    ],
)
def test_what_no_watchpoint_helps_with_is_not_watched(found: Finding) -> None:
    assert watched(found) == []


@pytest.mark.parametrize(
    ("found", "may"),
    [
        (finding("header-overwrite", damage=damage(0x1050)), True),
        (finding("heap-buffer-overflow", culprit=block(9), damage=damage(0x1020, offset=8), certain=False), True),
        (finding("heap-buffer-overflow", culprit=block(9, size=25), damage=damage(0x1019, 1)), True),
        (finding("heap-buffer-overflow", culprit=block(9), damage=damage(0x1018, 4)), False),
        (finding("heap-buffer-underflow", culprit=block(9), damage=damage(0xFF8, 8, offset=-8)), False),
    ],
)
def test_guard_is_enough_for_damage_that_begins_at_a_blocks_edge(found: Finding, may: bool) -> None:
    assert may_pass_a_guard(found) is may


def test_store_that_was_watched_catches_the_damage_of_the_same_sites() -> None:
    store = Store(address=0x1040, size=8, stack=())
    told = finding("header-overwrite", victim=block(10), damage=damage(0x1040), store=store, access="write")

    assert catches(told, finding("heap-buffer-underflow", culprit=block(10), damage=damage(0x2040)))
    assert not catches(told, finding("heap-buffer-underflow", culprit=block(9), damage=damage(0x2040)))
    assert not catches(told, finding("heap-buffer-overflow", culprit=block(10), victim=block(9), damage=damage(0x2040)))
