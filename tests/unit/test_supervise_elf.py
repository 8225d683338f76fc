"""Files that are searched before and after a run, for names and allocators, cost bounded time and wait for nobody."""

import os
import struct
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from heapwitness.regular import Identity
from heapwitness.supervise import elf
from heapwitness.supervise.elf import defines, mentions
from heapwitness.supervise.modules import LoadedFiles, private_heaps

MEGABYTE = 1 << 20
CONSTANTS, SYMBOLS, NAMES = (1, 2), (11, 2), (3, 2)
MARK = b"<jemalloc>: "


def forged(sections: list[tuple[tuple[int, int], int, int]], content: bytes) -> bytes:
    """An ELF file of sections (kind and flags, offset in the content, size) that take their names from the first."""
    start = 64 + 64 * len(sections)
    header = struct.pack(
        "<16sHHIQQQIHHHHHH", b"\x7fELF\x02\x01\x01", 3, 62, 1, 0, 0, 64, 0, 64, 56, 0, 64, len(sections), 0
    )
    table = b"".join(
        struct.pack("<IIQQQQIIQQ", 0, *kind, 0, start + offset, size, 0, 0, 1, 24) for kind, offset, size in sections
    )
    return header + table + content


def counting(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many bytes are read of a file, one read after the other."""
    read: list[int] = []
    original: Callable[..., bytes] = elf._read_some

    def noted(*given: object) -> bytes:
        data = original(*given)
        read.append(len(data))
        return data

    monkeypatch.setattr(elf, "_read_some", noted)
    return read


def test_sections_that_are_all_of_the_file_are_not_all_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "file"
    file.write_bytes(forged([(CONSTANTS, 0, 8 * MEGABYTE)] * 1000, bytes(8 * MEGABYTE)))
    read = counting(monkeypatch)

    assert mentions(str(file), {"jemalloc": MARK}) == frozenset()
    assert sum(read) < 512 * MEGABYTE


def test_tables_of_symbols_that_share_their_bytes_are_not_all_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "file"
    content = b"malloc\0\0" + bytes(24 * 1000)
    file.write_bytes(forged([(NAMES, 0, 8), *[(SYMBOLS, 8, 24 * 1000)] * 4000], content))
    monkeypatch.setattr(elf, "_TABLE_LIMIT", MEGABYTE)
    read = counting(monkeypatch)

    assert defines(str(file), ("malloc",)) == frozenset()
    assert sum(read) < 2 * MEGABYTE


@pytest.mark.parametrize("offset", [1 << 63, (1 << 64) - 1, 1 << 40])
def test_sections_that_lead_nowhere_are_no_accident(tmp_path: Path, offset: int) -> None:
    file = tmp_path / "file"
    file.write_bytes(forged([(NAMES, offset - 192, 1 << 20), (SYMBOLS, 0, 24)], b""))

    assert defines(str(file), ("malloc",)) == mentions(str(file), {"jemalloc": MARK}) == frozenset()


def test_a_text_across_two_parts_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "file"
    file.write_bytes(forged([(CONSTANTS, 0, 64)], b"a" * 20 + MARK + b"a" * 32))
    for part in range(len(MARK), 40):
        monkeypatch.setattr(elf, "_PART", part)

        assert mentions(str(file), {"jemalloc": MARK}) == {"jemalloc"}


def test_a_file_that_is_cut_short_while_it_is_searched_ends_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "file"
    file.write_bytes(forged([(CONSTANTS, 0, 8 * MEGABYTE)] * 3, bytes(8 * MEGABYTE)))
    original = elf._read_some

    def cutting(*given: object) -> bytes:
        os.truncate(file, 4096)
        return original(*given)  # type: ignore[arg-type]

    monkeypatch.setattr(elf, "_read_some", cutting)

    assert mentions(str(file), {"jemalloc": MARK}) == frozenset()


def line(path: Path, inode: int = 1) -> str:
    return f"1000-2000 r-xp 00000000 00:2d {inode} {path}\n"


def test_a_pipe_in_a_mapped_file_s_place_is_not_waited_for(tmp_path: Path) -> None:
    modules = LoadedFiles()
    os.mkfifo(tmp_path / "pipe")
    os.mkfifo(tmp_path / "gone (deleted)")
    modules.take(line(tmp_path / "pipe") + line(tmp_path / "gone (deleted)"))
    found: list[object] = []

    search = threading.Thread(target=lambda: found.append(list(private_heaps(modules.files()))), daemon=True)
    search.start()
    search.join(30)

    assert found == [[]]


def test_a_name_with_a_carriage_return_is_one_name(tmp_path: Path) -> None:
    modules = LoadedFiles()
    name = f"{tmp_path}/a\r1000-2000 r-xp 00000000 00:00 0 /proc/kmsg"

    modules.take(line(Path(name), 7))

    assert modules.files() == {name: Identity((0, 0x2D), 7)}


def test_another_file_in_a_mapped_file_s_place_is_not_told_of(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(forged([(CONSTANTS, 0, 64)], MARK + bytes(64)))
    about = file.stat()
    device = (os.major(about.st_dev), os.minor(about.st_dev))
    named = str(file)

    assert list(private_heaps({named: Identity(device, about.st_ino)})) == [(named, ("jemalloc",))]
    assert list(private_heaps({named: Identity((0, 0x2D), about.st_ino + 1)})) == []
