"""Work on a firmware's file that does not end is stopped, and costs what it would have told."""

import itertools
import struct
import subprocess
import threading
from pathlib import Path

import pytest

from heapwitness.liteos.firmware import patience
from heapwitness.liteos.firmware.dwarf import UndescribedHeap, read_firmware
from heapwitness.liteos.firmware.firmware import FirmwareFile
from heapwitness.liteos.firmware.patience import Patience, TooLong
from heapwitness.symbols.headers import Headers

SPECIAL_OPCODE = b"\x21"


def firmware(directory: Path, rows: int) -> tuple[Path, int]:
    """A program whose table of lines has so many rows for its function's first byte, and an address behind that."""
    source, file = directory / "source.c", directory / "firmware"
    source.write_text("int function(void) { return 3; }\n")
    subprocess.run(["gcc", "-gdwarf-4", "-shared", "-nostdlib", "-fPIC", "-o", file, source], check=True)
    with FirmwareFile(file) as opened:
        start = next(one.start for one in opened._symbols if one.name == "function")
    data = bytearray(file.read_bytes())
    with file.open("rb") as stream:
        headers = Headers(stream)
        section = headers.named(b".debug_line")[b".debug_line"]
        number = list(headers.sections()).index(section)
    (length,) = struct.unpack_from("<I", data, section.offset + 6)
    begin = bytes(data[section.offset + 4 : section.offset + 10 + length])
    program = b"\0\x09\x02" + struct.pack("<Q", start) + SPECIAL_OPCODE * rows + b"\0\1\1"
    (table,) = struct.unpack_from("<Q", data, 40)
    struct.pack_into("<QQ", data, table + 64 * number + 24, len(data), 4 + len(begin) + len(program))
    file.write_bytes(data + struct.pack("<I", len(begin) + len(program)) + begin + program)
    return file, start + 1


def test_work_that_does_not_end_is_stopped() -> None:
    before = threading.active_count()

    with pytest.raises(TooLong):
        Patience(0.05).spend(lambda: sum(0 for _ in itertools.count()))

    assert threading.active_count() == before


def test_after_that_nothing_is_begun() -> None:
    begun: list[int] = []
    given = Patience(0.05)
    with pytest.raises(TooLong):
        given.spend(lambda: sum(0 for _ in itertools.count()))

    with pytest.raises(TooLong):
        given.spend(lambda: begun.append(1))

    assert begun == []


def test_what_work_gives_and_raises_is_passed_on() -> None:
    given = Patience()

    assert given.spend(lambda: 7) == 7
    with pytest.raises(KeyError):
        given.spend(lambda: {0: 0}[1])


def test_a_table_of_lines_with_millions_of_rows_costs_the_lines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, address = firmware(tmp_path, 4_000_000)
    monkeypatch.setattr(patience, "SECONDS", 0.5)

    with FirmwareFile(file) as opened:
        (frame,) = opened.stack(address)
        warnings = opened.warnings

    assert (frame.function, frame.line) == ("function", None)
    assert len(warnings) == 1 and "takes too long to read" in warnings[0]


def test_a_table_of_lines_of_usual_length_is_read(tmp_path: Path) -> None:
    file, address = firmware(tmp_path, 10)

    with FirmwareFile(file) as opened:
        (frame,) = opened.stack(address)
        warnings = opened.warnings

    assert frame.function == "function" and warnings == ()


def test_debug_information_without_an_end_is_said_to_take_too_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, _ = firmware(tmp_path, 10)
    monkeypatch.setattr(patience, "SECONDS", 0.0)

    with pytest.raises(UndescribedHeap, match="takes too long to read"):
        read_firmware(file)
