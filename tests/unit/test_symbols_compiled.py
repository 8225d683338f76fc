"""Names of code that was made at run time, by the list that GDB's interface describes."""

import io
import os
import random
import resource
import struct
import subprocess
from pathlib import Path

import pytest
from elftools.elf.elffile import ELFFile
from elftools.elf.sections import Section

from heapwitness.findings.model import Frame
from heapwitness.memory import SegmentsMemory
from heapwitness.symbols.compiled import CompiledCode
from heapwitness.symbols.elf import read_elf
from heapwitness.symbols.maps import parse_maps

CODE, ENTRIES, OBJECTS = 0x7000_0000_0000, 0x5000_0000_0000, 0x5100_0000_0000
LIBRARY_AT = 0x7F00_0000_0000
SECTION = struct.Struct("<IIQQQQIIQQ")


def made(tmp_path: Path, name: str, at: int, *options: str, more: str = "") -> bytes:
    """An object with one function of that name, whose code lies at an address, and what is written behind it."""
    source = tmp_path / f"{name}.c"
    source.write_text(f"\nint {name}(int a)\n{{\n    return a * 3 + 1;\n}}\n{more}")
    target = source.with_suffix(".o")
    subprocess.run(["gcc", "-O1", *options, "-c", source, "-o", target], check=True, cwd=tmp_path)
    data = bytearray(target.read_bytes())
    first, count = struct.unpack_from("<Q", data, 40)[0], struct.unpack_from("<H", data, 60)[0]
    for place in range(first, first + 64 * count, 64):
        fields = list(SECTION.unpack_from(data, place))
        if fields[2] & 4:  # it is code
            fields[3] = at
            SECTION.pack_into(data, place, *fields)
    return bytes(data)


@pytest.fixture
def library(tmp_path: Path) -> tuple[str, int]:
    """Mappings with a library that keeps such a list, and where the list is; `tmp_path` has the library."""
    source = tmp_path / "compiler.c"
    source.write_text(
        "struct { int a, b; void *c, *d; } __jit_debug_descriptor = {1, 0, 0, 0};\nint f(void) { return 1; }\n"
    )
    file = source.with_suffix(".so")
    subprocess.run(["gcc", "-shared", "-fPIC", source, "-o", file], check=True)
    elf = read_elf(str(file))
    assert elf is not None
    code = next(one for one in elf.segments if one.executable)
    about = file.stat()
    device = f"{os.major(about.st_dev):02x}:{os.minor(about.st_dev):02x}"
    start = LIBRARY_AT + code.offset
    maps = (
        f"{CODE:x}-{CODE + 0x10000:x} rwxp 00000000 00:00 0 \n"
        f"{start:x}-{start + 0x1000:x} r-xp {code.offset:08x} {device} {about.st_ino} {file}\n"
    )
    symbols = subprocess.run(["nm", file], capture_output=True, text=True, check=True).stdout
    value = next(int(line.split()[0], 16) for line in symbols.splitlines() if "__jit_debug_descriptor" in line)
    return maps, value + elf.shift(parse_maps(maps)[-1])


def listed(descriptor: int, *objects: bytes) -> SegmentsMemory:
    """The memory of a process with these objects in its list."""
    segments = [(descriptor, struct.pack("<IIQQ", 1, 0, 0, ENTRIES if objects else 0))]
    for number, one in enumerate(objects):
        after = ENTRIES + 32 * (number + 1) if number + 1 < len(objects) else 0
        at = OBJECTS + (number << 20)
        segments += [(ENTRIES + 32 * number, struct.pack("<4Q", after, 0, at, len(one))), (at, one)]
    return SegmentsMemory(tuple(segments))


def lines_of(data: bytes | bytearray) -> Section:
    """An object's table of lines."""
    section = ELFFile(io.BytesIO(bytes(data))).get_section_by_name(".debug_line")
    assert section is not None
    return section


def frame_at(pc: int, maps: str, memory: SegmentsMemory) -> Frame:
    return CompiledCode().access((Frame(pc=pc),), maps, memory)[0]


def name_at(pc: int, maps: str, memory: SegmentsMemory) -> str | None:
    return frame_at(pc, maps, memory).function


def test_the_object_that_holds_an_address_names_it(tmp_path: Path, library: tuple[str, int]) -> None:
    maps, descriptor = library
    memory = listed(descriptor, made(tmp_path, "first", CODE), made(tmp_path, "second", CODE + 0x100))

    assert name_at(CODE + 1, maps, memory) == "first"
    assert name_at(CODE + 0x101, maps, memory) == "second"
    assert name_at(CODE + 0x200, maps, memory) is None


def test_of_two_at_one_place_the_newest_counts(tmp_path: Path, library: tuple[str, int]) -> None:
    maps, descriptor = library

    assert name_at(CODE, maps, listed(descriptor, made(tmp_path, "new", CODE), made(tmp_path, "old", CODE))) == "new"


def test_code_of_a_file_and_frames_with_names_are_left_as_they_are(tmp_path: Path, library: tuple[str, int]) -> None:
    maps, descriptor = library
    memory = listed(descriptor, made(tmp_path, "first", CODE))
    stack = (Frame(pc=LIBRARY_AT + 0x1000), Frame(pc=CODE, function="line", language="python"))

    assert CompiledCode().access(stack, maps, memory) == stack


@pytest.mark.parametrize("version", ["-gdwarf-4", "-gdwarf-5"])
def test_an_object_with_lines_tells_them(tmp_path: Path, library: tuple[str, int], version: str) -> None:
    maps, descriptor = library
    memory = listed(descriptor, made(tmp_path, "first", CODE, version), made(tmp_path, "second", CODE + 0x100))

    with_lines, without = frame_at(CODE, maps, memory), frame_at(CODE + 0x100, maps, memory)
    assert (with_lines.function, with_lines.file, with_lines.line) == ("first", str(tmp_path / "first.c"), 4)
    assert (without.function, without.file, without.line) == ("second", None, None)


def test_lines_of_several_sections_are_not_taken_for_each_others(tmp_path: Path, library: tuple[str, int]) -> None:
    maps, descriptor = library
    memory = listed(
        descriptor, made(tmp_path, "first", CODE, "-g", "-ffunction-sections", more="int f(void) {return 1;}")
    )

    assert frame_at(CODE, maps, memory).line is None


def test_compressed_lines_are_left_alone(tmp_path: Path, library: tuple[str, int]) -> None:
    maps, descriptor = library

    frame = frame_at(CODE, maps, listed(descriptor, made(tmp_path, "packed", CODE, "-g", "-gz")))
    assert (frame.function, frame.line) == ("packed", None)


def test_a_long_table_of_lines_is_left_alone(tmp_path: Path, library: tuple[str, int]) -> None:
    maps, descriptor = library
    data = bytearray(made(tmp_path, "first", CODE, "-g") + bytes(1 << 17))
    offset_and_size = struct.pack("<QQ", lines_of(data)["sh_offset"], lines_of(data)["sh_size"])
    at = data.index(offset_and_size)
    struct.pack_into("<Q", data, at + 8, 1 << 17)

    frame = frame_at(CODE, maps, listed(descriptor, bytes(data)))
    assert (frame.function, frame.line) == ("first", None)


def test_a_table_of_lines_with_more_folders_than_memory_costs_the_lines(
    tmp_path: Path, library: tuple[str, int]
) -> None:
    maps, descriptor = library
    data = bytearray(made(tmp_path, "first", CODE, "-gdwarf-5"))
    start = lines_of(data)["sh_offset"]
    data[start + 30 : start + 40] = b"\0" + b"\xff" * 8 + b"\x7f"  # folders of no bytes, as many as a number can tell

    frame = frame_at(CODE, maps, listed(descriptor, bytes(data)))
    assert (frame.function, frame.line) == ("first", None)
    assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss < 600 << 10


@pytest.mark.parametrize(("options", "rounds"), [((), 2000), (("-g",), 20)])
def test_forged_objects_cost_their_names_alone(
    tmp_path: Path, library: tuple[str, int], options: tuple[str, ...], rounds: int
) -> None:
    maps, descriptor = library
    whole = made(tmp_path, "first", CODE, *options)
    chance = random.Random(1)
    names = set()
    for _ in range(rounds):
        data = bytearray(whole)
        for _ in range(chance.randrange(1, 9)):
            data[chance.randrange(len(data))] = chance.choice((0, 1, 0x7F, 0xFF))
        names.add(name_at(CODE, maps, listed(descriptor, bytes(data[: chance.randrange(len(data))]))))
        names.add(name_at(CODE, maps, listed(descriptor, bytes(data))))

    assert {None, "first"} <= names
