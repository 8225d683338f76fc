"""Files that are made to attack who reads them for names cost bounded memory, and wait for nobody."""

import os
import shutil
import struct
import subprocess
import tracemalloc
import zlib
from pathlib import Path

import pytest

from heapwitness.errors import HeapwitnessError
from heapwitness.findings.model import Frame
from heapwitness.liteos.firmware import elf_bounds
from heapwitness.symbols import Resolver
from heapwitness.symbols.debuginfo import DebugInfo
from heapwitness.symbols.elf import ElfFile, ExportedNames, read_elf
from heapwitness.symbols.headers import SECTIONS_LIMIT, Headers
from heapwitness.symbols.separate import is_readable

MEGABYTE = 1 << 20


def forged(sections: list[tuple[int, int, int, int]], *, count: int | None = None, code: int = 0x10000) -> bytes:
    """An ELF file of one executable segment, with section headers (kind, offset, size, link) right behind it."""
    header = struct.pack(
        "<16sHHIQQQIHHHHHH",
        b"\x7fELF\x02\x01\x01",
        *(3, 62, 1, 0, 64, 120, 0, 64, 56, 1, 64, len(sections) if count is None else count, 0),
    )
    segment = struct.pack("<IIQQQQQQ", 1, 5, 0, 0, 0, code, code, 4096)
    return header + segment + b"".join(struct.pack("<IIQQQQIIQQ", 0, *_placed(one), 0, 1, 24) for one in sections)


def _placed(section: tuple[int, int, int, int]) -> tuple[int, ...]:
    kind, offset, size, link = section
    return kind, 0, 0, offset, size, link


def mapped(file: Path, start: int = 0x1000) -> str:
    """A line of mappings for it."""
    about = file.stat()
    device = f"{os.major(about.st_dev):02x}:{os.minor(about.st_dev):02x}"
    return f"{start:x}-{start + 0x10000:x} r-xp 00000000 {device} {about.st_ino} {file}\n"


def test_a_table_of_names_without_an_end_costs_little(tmp_path: Path) -> None:
    names, symbols = 8 * MEGABYTE, 3000
    at = 120 + 64 * 3
    file = tmp_path / "names"
    entries = b"".join(struct.pack("<IBBHQQ", n, 0x12, 0, 1, 16 * n, 16) for n in range(symbols))
    file.write_bytes(
        forged([(0, 0, 0, 0), (11, at, len(entries), 2), (3, at + len(entries), names, 0)]) + entries + b"a" * names
    )
    tracemalloc.start()

    found = ExportedNames(ElfFile(str(file), (), None))
    lengths = {len((found.find(16 * n) or ("", 0))[0]) for n in range(symbols)}
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert 0 < max(lengths) <= 1 << 16
    assert peak < 20 * MEGABYTE


@pytest.mark.parametrize("sections", [10_000_000, 1 << 62])
def test_sections_are_read_in_bounded_number(tmp_path: Path, sections: int) -> None:
    file = tmp_path / "sections"
    with open(file, "wb") as stream:
        stream.write(forged([(0, 0, sections, 0)], count=0))
        stream.truncate(120 + 64 * 10_000_000)

    with open(file, "rb") as stream:
        headers = Headers(stream)
        read, said = sum(1 for _ in headers.sections()), headers.count_sections()

    assert (read, said) == (SECTIONS_LIMIT, sections)
    (frame,) = Resolver().stack((Frame(pc=0x2000),), mapped(file))
    assert (frame.module, frame.function) == (str(file), None)


ZLIB, LEGACY = "compressed", "legacy"


def packed_library(directory: Path, form: str, claimed: int, content: int) -> Path:
    """A library whose table of lines says that it is `claimed` bytes, and is `content` zeros, compressed."""
    source, file = directory / "source.c", directory / "library.so"
    source.write_text("int function(void) { return 3; }\n")
    subprocess.run(["gcc", "-g", "-shared", "-fPIC", "-nostdlib", "-o", file, source], check=True)
    old = form == LEGACY
    start = struct.pack(">4sQ", b"ZLIB", claimed) if old else struct.pack("<IIQQ", 1, 0, claimed, 1)
    (directory / "section").write_bytes(start + zlib.compress(bytes(content)))
    name = ".zdebug_info" if old else ".debug_info"
    command = ["objcopy", *(("--rename-section", f".debug_info={name}") if old else ())]
    subprocess.run([*command, "--update-section", f".debug_info={directory}/section", file], check=True)
    if not old:
        data = bytearray(file.read_bytes())
        with file.open("rb") as stream:
            headers = Headers(stream)
            number = list(headers.sections()).index(headers.named(b".debug_info")[b".debug_info"])
        (table,) = struct.unpack_from("<Q", data, 40)
        (flags,) = struct.unpack_from("<Q", data, table + 64 * number + 8)
        struct.pack_into("<Q", data, table + 64 * number + 8, flags | 1 << 11)
        file.write_bytes(data)
    return file


@pytest.mark.parametrize("form", [ZLIB, LEGACY])
@pytest.mark.parametrize("claimed", [3 << 30, (1 << 63) - 1])
def test_sections_that_unpack_to_gigabytes_are_not_unpacked(tmp_path: Path, form: str, claimed: int) -> None:
    file = packed_library(tmp_path, form, claimed, 100)
    opened = os.open(file, os.O_RDONLY)

    readable = is_readable(opened)
    os.close(opened)

    assert not readable
    with pytest.raises(HeapwitnessError, match="unpack to more than"), file.open("rb") as stream:
        elf_bounds.check(stream, file)


@pytest.mark.parametrize("form", [ZLIB, LEGACY])
def test_sections_that_are_compressed_are_read(tmp_path: Path, form: str) -> None:
    file = packed_library(tmp_path, form, 100, 100)
    opened = os.open(file, os.O_RDONLY)

    with os.fdopen(opened, "rb") as stream:
        assert Headers(stream).unpacked() == 100
        assert is_readable(stream.fileno())
        elf_bounds.check(stream, file)


@pytest.mark.parametrize("offset", [1, 2**63, 2**64 - 1])
def test_offsets_that_lead_nowhere_are_no_accident(tmp_path: Path, offset: int) -> None:
    file = tmp_path / "offsets"
    data = bytearray(forged([(0, 0, 0, 0), (11, offset, 240, 1)]))
    file.write_bytes(data)

    assert ExportedNames(ElfFile(str(file), (), None)).find(0) in (None, ("", 0))
    struct.pack_into("<Q", data, 32, offset)
    struct.pack_into("<Q", data, 40, offset)
    file.write_bytes(data)
    assert read_elf(str(file)) is None


needs_tools = pytest.mark.skipif(
    shutil.which("gcc") is None or shutil.which("objcopy") is None, reason="needs gcc and objcopy"
)


def library(directory: Path, section: str, content: bytes, *, stripped: bool) -> Path:
    """A library with one function and a section of this name and content."""
    (directory / "source.c").write_text("int function(void) { return 1; }\n")
    (directory / "content").write_bytes(content)
    file = directory / "library.so"
    subprocess.run(["gcc", "-shared", "-g", "-fPIC", "-o", file, directory / "source.c"], check=True)
    if stripped:
        subprocess.run(["strip", "--strip-debug", file], check=True)
    subprocess.run(["objcopy", f"--add-section={section}={directory}/content", file], check=True)
    return file


def function_of(file: Path) -> list[tuple[str | None, int | None]]:
    """What is known of its function: name and line."""
    symbols = subprocess.run(["nm", file], capture_output=True, text=True, check=True).stdout
    at = next(int(line.split()[0], 16) for line in symbols.splitlines() if line.endswith(" T function"))
    elf = read_elf(str(file))
    assert elf is not None
    return [(one.function, one.line) for one in DebugInfo(elf).locations(at)]


@needs_tools
@pytest.mark.parametrize("kind", ["pipe", "pagemap", "other"])
def test_a_debug_file_that_is_none_is_neither_waited_for_nor_read(tmp_path: Path, kind: str) -> None:
    link = struct.pack("<12sI", b"other.debug", zlib.crc32(b"content"))
    file = library(tmp_path, ".gnu_debuglink", link, stripped=True)
    match kind:
        case "pipe":
            os.mkfifo(tmp_path / "other.debug")
        case "pagemap":
            (tmp_path / "other.debug").symlink_to("/proc/self/pagemap")
        case "other":
            (tmp_path / "other.debug").write_bytes(b"content")

    assert function_of(file) == [("function", None)]


@needs_tools
def test_a_shared_debug_file_that_is_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    file = library(tmp_path, ".gnu_debugaltlink", b"shared.debug\0" + bytes(20), stripped=False)
    os.mkfifo(tmp_path / "shared.debug")

    assert function_of(file) == [("function", None)]
