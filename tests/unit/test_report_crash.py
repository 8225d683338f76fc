"""What a crash looks like on a terminal."""

import io

import pytest
from rich.console import Console

from heapwitness.findings.model import Block, Crash, Former, Frame, Report, Site, Stale
from heapwitness.report import terminal


def crash(**fields: object) -> Crash:
    known: dict[str, object] = {
        "signal": "SIGSEGV",
        "code": 1,
        "pid": 7,
        "heap": "whole",
        "nodes": 1234,
        "stack": (Frame(pc=9, function="parse", file="/src/parse.c", line=88),),
    }
    return Crash(**{**known, **fields})  # type: ignore[arg-type]


def shown(what: Crash | Report, **options: bool) -> str:
    console = Console(file=io.StringIO(), width=100)
    terminal.render(what, console, **options)
    output = console.file
    assert isinstance(output, io.StringIO)
    return " ".join(output.getvalue().split())


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"address": 0, "access": "read"}, "SIGSEGV: reading address 0x0, a null pointer, in parse at parse.c:88"),
        ({"address": 0x7000, "access": "write"}, "SIGSEGV: writing address 0x7000, where nothing is mapped, in parse"),
        ({"address": 0x7000, "access": "execute", "code": 2}, "going on at address 0x7000, which is not allowed there"),
        (
            {"address": 0x8181818181818181, "code": 128},
            "an access to address 0x8181818181818181, that no memory can have",
        ),
        ({"code": 128}, "an access to an address that no memory can have, in parse"),
        ({"signal": "SIGABRT", "code": -6}, "ended by SIGABRT, which it raised itself, in parse"),
        ({"code": 0, "sender": 99}, "ended by SIGSEGV, sent by process 99, in parse"),
        ({"signal": "SIGFPE", "address": 9}, "ended by SIGFPE: division by zero, in parse"),
        ({"signal": "SIGSEGV", "stack": (), "address": 0, "access": "read"}, "reading address 0x0, a null pointer"),
    ],
)
def test_the_sentence_says_the_signal_the_address_and_the_place(fields: dict[str, object], words: str) -> None:
    assert words in shown(crash(**fields))


@pytest.mark.parametrize(
    ("heap", "words"),
    [
        ("whole", "whole: 1,234 nodes checked, nothing was overwritten"),
        ("damaged", "damaged: see the findings"),
        ("partly checked", "not all of it"),
        ("unchecked", "not checked"),
    ],
)
def test_what_the_heap_was_like_is_said(heap: str, words: str) -> None:
    assert words in shown(crash(heap=heap))


def test_a_register_that_led_to_a_released_block_is_called_a_possible_cause() -> None:
    released = Site(thread=1, stack=(Frame(pc=5, function="drop", file="shop.c", line=11),))
    block = Block(address=0x1000, size=72, state="cached", origin="malloc", freed=released)

    text = shown(crash(stale=(Stale(register="rdi", block=block),)))

    assert "rdi held the address of a 72-byte block that was released by drop at shop.c:11" in text
    assert "may be" in text


def test_a_report_shows_its_crashes_after_its_findings() -> None:
    text = shown(Report(crashes=(crash(signal="SIGBUS", code=2),)), findings=True)

    assert text.index("ended by SIGBUS") < text.index("0 findings")


def test_what_a_program_calls_itself_cannot_command_the_terminal() -> None:
    text = shown(crash(thread=5, thread_name="\x1b[2J", stack=(Frame(pc=1, function="f\x1b[2J"),)))

    assert "\x1b" not in text


@pytest.mark.parametrize(
    ("inside", "fields", "words"),
    [
        (16, {}, "probably a reference to it"),
        (0, {}, "it may be that a reference"),
        (16, {"notes": ("1 finding had come from this process before.",)}, "it may be that a reference"),
        (16, {"heap": "damaged"}, "it may be that a reference"),
    ],
)
def test_what_lay_in_a_used_blocks_place_is_named_as_surely_as_it_is_known(
    inside: int, fields: dict[str, object], words: str
) -> None:
    made = Site(thread=1, stack=(Frame(pc=5, function="make", file="shop.py", line=3, language="python"),))
    dropped = Site(thread=1, stack=(Frame(pc=5, function="drop", file="shop.py", line=9, language="python"),))
    former = Former(type="Order", allocated=made, freed=dropped)
    block = Block(address=0x1000, size=72, state="used", origin="malloc", before=(former,))

    text = shown(crash(stale=(Stale(register="rdi", block=block, inside=inside),), **fields))

    assert "Before, an Order object allocated by make at shop.py:3 and released by drop at shop.py:9 lay there" in text
    assert words in text
