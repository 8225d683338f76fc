"""A firmware's file that is made to fill the memory of who reads it is refused."""

from pathlib import Path

import pytest
from test_symbols_hostile import forged

from heapwitness.errors import HeapwitnessError
from heapwitness.liteos.firmware.elf_bounds import NAME_LIMIT
from heapwitness.liteos.firmware.firmware import FirmwareFile

MEGABYTE = 1 << 20


def with_names(path: Path, names: bytes) -> Path:
    at = 120 + 2 * 64
    path.write_bytes(forged([(0, 0, 0, 0), (3, at, len(names), 0)]) + names)
    return path


def test_names_without_an_end_are_refused(tmp_path: Path) -> None:
    for names in (b"a" * 8 * MEGABYTE, b"\0" * MEGABYTE + b"a" * 2 * MEGABYTE, b"a" * (NAME_LIMIT + 1) + b"\0"):
        with pytest.raises(HeapwitnessError, match="has names of more than"):
            FirmwareFile(with_names(tmp_path / "firmware", names))


@pytest.mark.parametrize("length", [1, 7, 1000, NAME_LIMIT - 1])
def test_names_of_any_usual_length_are_read(tmp_path: Path, length: int) -> None:
    names = (b"a" * length + b"\0") * (3 * MEGABYTE // (length + 1))

    FirmwareFile(with_names(tmp_path / "firmware", names)).close()


def test_sections_without_number_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "firmware"
    with open(file, "wb") as stream:
        stream.write(forged([(0, 0, 40_000_000, 0)], count=0))
        stream.truncate(64 * 40_000_000)

    with pytest.raises(HeapwitnessError, match="more sections than any firmware"):
        FirmwareFile(file)
