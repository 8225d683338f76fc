"""Code objects as an engine records them: which line an instruction is of."""

import argparse
import ast
import struct
import textwrap
from collections.abc import Iterator
from types import CodeType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heapwitness.layout.process import PythonCall, SiteKind, SiteRecord, read_code, read_process, read_site
from heapwitness.layout.python_code import CODE_WORDS, PythonCode, parse_code
from heapwitness.memory import BufferMemory


def _record(code: CodeType) -> bytes:
    file, name = code.co_filename.encode("utf-16-le"), code.co_qualname.encode("latin-1")
    head = CODE_WORDS.pack(code.co_firstlineno, 11, 2, 1, 0, len(file), len(name), len(code.co_linetable))
    return head + file + name + code.co_linetable


def _codes(code: CodeType) -> Iterator[CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _codes(constant)


@pytest.mark.parametrize("module", [argparse, ast, textwrap], ids=lambda module: module.__name__)
def test_each_instruction_has_the_line_that_python_says(module: object) -> None:
    path = module.__file__  # type: ignore[attr-defined]
    with open(path, encoding="utf-8") as stream:
        whole = compile(stream.read(), path, "exec")

    for code in _codes(whole):
        known = parse_code(_record(code))

        assert known is not None
        assert (known.file, known.function) == (path, code.co_qualname)
        assert [known.line(at) for at in range(len(code.co_code) // 2)] == [
            one[0] or None for one in code.co_positions()
        ]


def test_instruction_behind_the_last_one_has_no_line() -> None:
    code = _codes(compile("x = 1", "f", "exec"))

    assert PythonCode("f", "g", 1, next(code).co_linetable).line(1 << 40) is None


@given(st.binary(max_size=200), st.integers(0, 1 << 33))
def test_any_bytes_are_a_code_object_or_none(data: bytes, before: int) -> None:
    code = parse_code(data)

    assert code is None or code.line(before) is None or code.line(before) > 0  # type: ignore[operator]


@given(st.binary(max_size=300), st.integers(1, (1 << 31) - 1), st.integers(0, 100))
def test_any_table_of_lines_gives_a_line_or_none(table: bytes, first: int, before: int) -> None:
    line = PythonCode("file", "function", first, table).line(before)

    assert line is None or line > 0


def _memory(*records: tuple[int, int, tuple[int, ...]]) -> BufferMemory:
    """A process block with records of 64 bytes each, the first of which has the number 4: kind, prior, words."""
    area = bytearray(64)
    for kind, prior, words in records:
        area += struct.pack(f"<IIIHH{len(words)}Q", 0, prior, 7, len(words), kind, *words).ljust(64, b"\0")
    block = struct.pack("<IIQQQQ", 0x52505748, 1, 0x1100, len(area), 0, 0).ljust(0x100, b"\0")
    return BufferMemory(0x1000, block + bytes(area))


def test_site_with_python_frames_has_the_return_addresses_of_its_native_site() -> None:
    memory = _memory((SiteKind.NATIVE, 0, (0xAA, 0xBB)), (SiteKind.PYTHON, 4, (4, 9 | 1 << 24 | 5 << 32, 12)))
    process = read_process(memory, 0x1000)

    assert read_site(memory, process, 8) == SiteRecord(
        prior=4, thread=7, pcs=(0xAA, 0xBB), python=(PythonCall(9, 5, True), PythonCall(12, 0, False))
    )


@pytest.mark.parametrize(
    "words", [(), (8,), (12,), (0xFFFFFF,)], ids=["none", "its own number", "a code's", "nothing's"]
)
def test_site_that_names_no_native_site_is_not_known(words: tuple[int, ...]) -> None:
    memory = _memory((SiteKind.NATIVE, 0, (1,)), (SiteKind.PYTHON, 0, words), (SiteKind.CODE, 0, (1, 2)))
    process = read_process(memory, 0x1000)

    assert read_site(memory, process, 8) is None


def test_only_a_code_record_is_a_code_object() -> None:
    words = struct.unpack("<4Q", _record(compile("0", "f", "eval"))[:32].ljust(32, b"\0"))
    memory = _memory((SiteKind.NATIVE, 0, words), (SiteKind.CODE, 0, words), (SiteKind.CODE, 0, (1,)))
    process = read_process(memory, 0x1000)

    assert [read_code(memory, process, number) is None for number in (4, 12, 400, 0)] == [True] * 4
