"""What a finding looks like on a terminal."""

import io
import os
from pathlib import Path
from typing import Any

import msgspec
import pytest
from rich.console import Console
from support.heaps import Heap, Reason

from heapwitness.diagnose import diagnose, with_outcome
from heapwitness.findings.model import Block, Detected, Finding, Frame, Report, Site, Store, Summary
from heapwitness.layout.events import Outcome
from heapwitness.report import terminal
from heapwitness.report.advice import Advice

MENDED = Outcome(headers=1, backups=1, slacks=1, links=0, poisons=0, controls=0, quarantined=0)
AFTER_FREE = ("use-after-free-write", "use-after-free-read")
ESCAPE = "\x1b"
PARSE_LINE = Frame(pc=9, module="/src/parse", function="parse_line")


def named(finding: Finding, **frame: object) -> Finding:
    """The finding with its culprit's allocation at a named frame."""
    assert finding.culprit is not None
    stack = (Frame(pc=0x1000, **frame),)  # type: ignore[arg-type]
    culprit = msgspec.structs.replace(finding.culprit, allocated=Site(thread=77, stack=stack))
    return msgspec.structs.replace(finding, culprit=culprit)


def overflow(length: int = 3, size: int = 24, **frame: object) -> Finding:
    heap = Heap()
    blocks = [heap.allocate(size) for _ in range(30)]
    heap.write(heap.end(blocks[3]), b"h" * length)
    (finding,) = heap.findings()
    place = frame or {"function": "new_record", "file": "/src/record.c", "line": 41}
    return named(with_outcome(finding, MENDED), **place)


def shown(what: Finding | Report, *, width: int = 80, colour: bool = False, **options: Any) -> str:
    console = Console(
        file=io.StringIO(), width=width, force_terminal=colour, color_system="standard" if colour else None
    )
    terminal.render(what, console, **options)
    output = console.file
    assert isinstance(output, io.StringIO)
    return output.getvalue()


def test_the_sentence_comes_first() -> None:
    first = " ".join(shown(overflow()).split())
    assert first.startswith(
        "heap-buffer-overflow: 3 bytes past the end of a 24-byte block allocated by new_record at record.c:41"
    )


def test_a_writer_is_only_named_when_a_trap_caught_the_store() -> None:
    store = Store(address=1, size=1, stack=(Frame(pc=9, function="parse_line", file="/src/parse.c", line=88),))
    text = " ".join(shown(msgspec.structs.replace(overflow(), store=store)).split())
    assert text.startswith("heap-buffer-overflow: parse_line wrote 3 bytes past the end of a 24-byte block")
    assert "by parse_line at parse.c:88" in text
    assert "wrote" not in shown(overflow())


@pytest.mark.parametrize(
    ("start", "size", "words"), [(0, 4, "4 bytes"), (-4, 8, "4 bytes"), (0, 2, "3 bytes"), (8, 4, "3 bytes")]
)
def test_bytes_that_one_store_wrote_count_though_they_were_the_same(start: int, size: int, words: str) -> None:
    finding = overflow()
    assert finding.damage is not None
    store = Store(
        address=finding.damage.address + start,
        size=size,
        stack=(Frame(pc=9, module="/src/parse", function="parse_line"),),
    )
    text = " ".join(shown(msgspec.structs.replace(finding, store=store)).split())
    assert text.startswith(f"heap-buffer-overflow: parse_line wrote {words} past the end of a 24-byte block")


@pytest.mark.parametrize(
    ("begins", "trapped", "words"),
    [(-25, 2, "right past"), (1, 2, "to 1 byte past"), (2, 2, "to 2 bytes past"), (None, 2, "to 2 bytes past")],
    ids=["in the block", "in its slack", "at the trap", "nobody knows where"],
)
def test_a_store_left_its_block_where_it_begins_not_where_the_trap_is(
    begins: int | None, trapped: int, words: str
) -> None:
    finding = msgspec.structs.replace(overflow(), damage=None)
    assert finding.culprit is not None
    end = finding.culprit.address + finding.culprit.size
    start = None if begins in (None, trapped) else end + begins
    store = Store(
        address=end + trapped, size=32, start=start, stack=(Frame(pc=9, module="/src/parse", function="parse_line"),)
    )
    text = " ".join(shown(msgspec.structs.replace(finding, store=store)).split())
    assert text.startswith(f"heap-buffer-overflow: parse_line wrote {words} the end of a 24-byte block")


def test_damage_is_marked_without_colour() -> None:
    text = shown(overflow())
    assert "[68 68 68]" in text and "hhh" in text
    assert ESCAPE not in text


def test_colour_marks_only_damage() -> None:
    text = shown(overflow(), colour=True)
    coloured = [part.split("m", 1)[1] for part in text.split(f"{ESCAPE}[1;31")[1:]]
    assert {piece.split(ESCAPE)[0] for piece in coloured} <= set("[]") | {"6", "8", "9", "a"}


def test_no_color_is_obeyed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    assert f"{ESCAPE}[1;31" not in shown(overflow(), colour=True)


def test_the_picture_goes_from_the_payload_over_slack_header_and_backup() -> None:
    lines = shown(overflow(44)).splitlines()
    start = next(number for number, line in enumerate(lines) if line.split()[:2] == ["from", "end"])
    parts = [word for line in lines[start + 1 : start + 8] for word in line.split()[1:2]]
    assert [part for part in parts if part in ("payload", "slack", "header", "backup")] == [
        *("payload", "slack", "header", "backup", "payload"),
    ]


def test_both_copies_are_shown_field_by_field_with_what_differs() -> None:
    text = shown(overflow(30))
    assert "header of 0x" in text
    differing = [line.split()[0] for line in text.splitlines() if line.endswith("differs")]
    assert "size" in differing and "valid" in differing
    assert "yes, the header from its backup" in text


@pytest.mark.parametrize("length", [1, 8, 20, 40, 300])
def test_lines_fit_into_80_columns(length: int) -> None:
    assert max(map(len, shown(overflow(length)).splitlines())) <= 80


def test_source_lines_are_shown_where_the_source_is(tmp_path: Path) -> None:
    source = tmp_path / "record.c"
    source.write_text("".join(f"line {number};\n" for number in range(1, 100)))
    text = shown(overflow(function="new_record", file=str(source), line=41))
    assert [line.split("|")[1].strip() for line in text.splitlines() if " | " in line] == [
        f"line {number};" for number in range(39, 44)
    ]
    assert any(line.split()[:2] == [">", "41"] for line in text.splitlines())


@pytest.mark.parametrize("line", [0, -5, 101, 1 << 40, None])
def test_a_line_that_is_not_there_is_left_out(tmp_path: Path, line: int | None) -> None:
    source = tmp_path / "record.c"
    source.write_text("x\n" * 100)
    assert " | " not in shown(overflow(function="f", file=str(source), line=line))


@pytest.mark.parametrize("file", ["/dev/zero", "/", "/nowhere/at/all.c", "bad\0name"])
def test_a_file_that_is_no_source_is_not_read(file: str) -> None:
    assert " | " not in shown(overflow(function="f", file=file, line=1))


def test_a_pipe_with_the_name_of_a_source_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.c")
    assert " | " not in shown(overflow(function="f", file=str(tmp_path / "pipe.c"), line=1))


@pytest.mark.parametrize(
    "name", ["\x1b[31mred\x1b[0m", "a\nb\rc", "\x9b2J", "\u202egnp.exe", "\x07\x08", "[bold]x[/bold]"]
)
def test_names_from_the_target_cannot_command_a_terminal(name: str) -> None:
    finding = overflow(function=name, file=f"/src/{name}.c", line=3)
    detected = msgspec.structs.replace(finding.detected, thread_name=name, stack=(Frame(pc=1, module=name, offset=2),))
    text = shown(msgspec.structs.replace(finding, detected=detected, detail=name))
    assert all(one.isprintable() or one == "\n" for one in text)
    if name.isprintable():
        assert name in text


def test_source_text_cannot_command_a_terminal(tmp_path: Path) -> None:
    source = tmp_path / "evil.c"
    source.write_bytes(b"\x1b]0;owned\x07 \xff\xfe\x00 code;\n" * 9)
    text = shown(overflow(function="f", file=str(source), line=5))
    assert "code;" in text and all(one.isprintable() or one == "\n" for one in text)


def test_frames_without_symbols_show_module_and_offset() -> None:
    text = shown(overflow(module="/opt/lib/plugin.so", offset=0x1234))
    assert "allocated by plugin.so+0x1234" in " ".join(text.split())


def test_the_programs_own_frame_is_named_before_the_librarys() -> None:
    stack = (
        Frame(pc=1, function="__strdup", file="./string/strdup.c", line=42, module="/lib/libc.so.6"),
        Frame(pc=2, function="copy_name", file="/src/names.c", line=7, module="/src/names"),
    )
    finding = overflow()
    assert finding.culprit is not None
    culprit = msgspec.structs.replace(finding.culprit, allocated=Site(thread=1, stack=stack))
    assert "copy_name at names.c:7" in " ".join(shown(msgspec.structs.replace(finding, culprit=culprit)).split())


def test_a_long_stack_is_cut() -> None:
    finding = overflow()
    detected = Detected(when="free", thread=1, stack=tuple(Frame(pc=number) for number in range(200)))
    text = shown(msgspec.structs.replace(finding, detected=detected))
    assert "184 frames more" in text and len(text.splitlines()) < 100


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("double-free", "a 24-byte block was released twice"),
        ("mismatched-free", "was released"),
        ("invalid-free", "a pointer 16 bytes into a 24-byte block was released"),
    ],
)
def test_wrong_releases_have_their_sentence(kind: str, words: str) -> None:
    block = Block(address=0x1000, size=24, state="used", origin="new")
    finding = Finding(
        kind=kind,  # type: ignore[arg-type]
        detected=Detected(when="free", thread=1, stack=(Frame(pc=5, function="cleanup"),)),
        culprit=block,
        pointer=0x1010,
        detail="It says more.",
    )
    text = " ".join(shown(finding).split())
    assert words in text and "nothing to repair" in text and "It says more." in text


def test_findings_without_anything_known_are_shown() -> None:
    for kind in ("header-overwrite", "double-free", "invalid-free", "mismatched-free", *AFTER_FREE):
        text = shown(Finding(kind=kind, detected=Detected(when="exit", thread=0)))  # type: ignore[arg-type]
        assert text.startswith(kind)


def test_any_kind_of_damage_is_shown_whole() -> None:
    heap = Heap()
    blocks = [heap.allocate(48) for _ in range(20)]
    heap.cache(blocks[9], poison=True)
    heap.write(heap.start(blocks[9]) + 20, b"zz")
    heap.write(heap.start(blocks[2]) - 3, b"!!!")
    heap.write(heap.start(blocks[5]) - 26, b"!!!")
    heap.write(heap.pool.start + 60, b"!!!")
    findings = heap.findings()
    text = shown(Report(findings=findings), findings=True)
    assert {finding.kind for finding in findings} == {
        *("use-after-free-write", "heap-buffer-underflow", "header-overwrite"),
    }
    assert len(findings) == 4
    assert sum(text.count(f"{kind}: ") for kind in {finding.kind for finding in findings}) == 4


def test_headers_of_another_format_are_shown_with_their_own_names() -> None:
    finding = overflow(30)
    header = finding.header
    assert header is not None
    other = msgspec.structs.replace(
        header, stored={"magic": "0xabcddcba", "taskID": 7}, backup={"magic": "0x0", "taskID": 7, "extra": True}
    )
    lines = shown(msgspec.structs.replace(finding, header=other)).splitlines()
    assert any(line.split() == ["magic", "0xabcddcba", "0x0", "differs"] for line in lines)
    assert any(line.split() == ["taskID", "7", "7"] for line in lines)


def test_the_end_sums_up_in_one_line() -> None:
    summary = Summary(operations=12345, nodes=99, findings=2, repaired=1, backup_bytes=1584, processes=3, dropped=4)
    text = shown(
        Report(findings=(msgspec.structs.replace(overflow(), count=7),), summary=summary, warnings=("Beware.",))
    )
    *_, last = text.splitlines()
    assert text.startswith("7 times: heap-buffer-overflow")
    assert "warning: Beware." in text
    for words in ("12,345 operations checked", "99 nodes", "2 findings", "1 repaired", "1,584 bytes", "3 processes"):
        assert words in last


def test_a_forged_event_is_shown_like_any_other() -> None:
    heap = Heap()
    for reason in Reason:
        for finding in diagnose(heap.event(reason, 0xFFFFFFFF, pointer=(1 << 64) - 1), heap.memory()) if reason else ():
            assert shown(finding)


ADVICE = Advice(stacks="--stacks full", checks="--check-every 1000")


def more(finding: Finding, advice: Advice = ADVICE) -> str:
    """The line that says how to see more, "" for none."""
    text = " ".join(shown(finding, width=200, advice=advice).split("\n"))
    return next((part.split("  ")[0] for part in text.split("  more      ")[1:]), "")


def at_exit(finding: Finding) -> Finding:
    return msgspec.structs.replace(finding, detected=Detected(when="exit", thread=1))


def test_a_block_with_a_single_frame_says_how_to_see_whole_stacks() -> None:
    assert more(overflow(function="default_calloc")) == "--stacks full shows whole stacks"


def test_what_was_noticed_at_exit_says_how_to_notice_it_sooner() -> None:
    assert "--check-every 1000" in more(at_exit(overflow()))
    assert "--check-every" not in more(overflow())


def test_what_was_asked_for_already_is_not_advised() -> None:
    assert more(at_exit(overflow(function="default_calloc")), Advice()) == ""
    assert more(at_exit(overflow()), Advice(stacks="--stacks full")) == "--stacks full shows whole stacks"


def test_main_alone_is_a_whole_stack() -> None:
    assert more(overflow(function="main", file="/src/main.c", line=3)) == ""


def test_frames_inlined_into_a_single_call_are_one() -> None:
    finding = overflow()
    assert finding.culprit is not None
    stack = tuple(Frame(pc=7, function=name, inlined=name == "inner") for name in ("inner", "outer"))
    culprit = msgspec.structs.replace(finding.culprit, allocated=Site(thread=1, stack=stack))
    assert "--stacks full" in more(msgspec.structs.replace(finding, culprit=culprit))


def store(at: int) -> str:
    """What is shown of a number stored some bytes past a block of 64."""
    heap = Heap()
    blocks = [heap.allocate(64) for _ in range(9)]
    end = heap.end(blocks[3])
    heap.room[end + at : end + at + 8] = bytes(6) + b"\xf0\x3f"
    (finding,) = heap.findings()
    return " ".join(shown(finding).split())


def test_what_may_be_is_said_so_and_the_other_block_is_shown() -> None:
    text = store(16)
    assert "16 bytes past the end of a 64-byte block" in text and "which may be a write past its end" in text
    assert " or 0x" in text and "(10 in elements of 8 bytes)" in text and "(-2 in elements of 8 bytes)" in text


def test_what_is_sure_is_not_said_to_be_possible() -> None:
    assert "may" not in store(0)


def test_stores_over_many_blocks_may_have_been_written_past_one() -> None:
    heap = Heap()
    blocks = [heap.allocate(48) for _ in range(20)]
    begin, end = heap.end(blocks[3]), heap.start(blocks[9])
    heap.room[begin:end] = bytes((11 * number * number + 89 * number) % 251 + 1 for number in range(end - begin))
    (finding,) = heap.findings()
    assert "bytes that may have been written past the end of a 48-byte block" in " ".join(shown(finding).split())
