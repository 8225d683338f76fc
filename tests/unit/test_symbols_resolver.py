"""Addresses of real compiled programs to names and lines."""

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from heapwitness.findings.model import Block, Detected, Finding, Frame, Site
from heapwitness.symbols import Resolver

SOURCE = """\
#include <execinfo.h>
#include <stdio.h>
static volatile int zero;
static inline __attribute__((always_inline)) int innermost(void **pcs) {
    return backtrace(pcs, 16);
}
static inline __attribute__((always_inline)) int middle(void **pcs) {
    return innermost(pcs) + zero;
}
__attribute__((noinline)) int outer(void **pcs) {
    return middle(pcs) + zero;
}
int main(void) {
    void *pcs[16];
    int n = outer(pcs);
    for (int i = 0; i < n; i++)
        printf("%p\\n", pcs[i]);
    puts("--");
    FILE *maps = fopen("/proc/self/maps", "r");
    char line[4096];
    while (fgets(line, sizeof line, maps))
        fputs(line, stdout);
    return 0;
}
"""

CXX_SOURCE = """\
#include <execinfo.h>
#include <cstdio>
#include <vector>
namespace app {
template <class T> struct Box {
    std::vector<T> items;
    __attribute__((noinline)) int collect(void **pcs) const { return backtrace(pcs, 16) + (int)items.size(); }
};
}
int main() {
    void *pcs[16];
    app::Box<int> box;
    int n = box.collect(pcs);
    for (int i = 0; i < n; i++)
        std::printf("%p\\n", pcs[i]);
    std::puts("--");
    FILE *maps = std::fopen("/proc/self/maps", "r");
    char line[4096];
    while (std::fgets(line, sizeof line, maps))
        std::fputs(line, stdout);
}
"""

pytestmark = pytest.mark.skipif(shutil.which("gcc") is None, reason="needs gcc")


@dataclass(frozen=True, slots=True)
class Seen:
    """What a program printed: its own stack and its mappings."""

    file: Path
    frames: tuple[Frame, ...]
    maps: str


def compile_program(directory: Path, *options: str, source: str = SOURCE, name: str = "program") -> Path:
    suffix, compiler = (".cc", "g++") if source is CXX_SOURCE else (".c", "gcc")
    text, file = directory / f"source{suffix}", directory / name
    text.write_text(source)
    subprocess.run([compiler, "-w", *options, "-o", file, text], check=True)
    return file


def see(file: Path) -> Seen:
    pcs, maps = subprocess.run([file], capture_output=True, text=True, check=True).stdout.split("--\n")
    return Seen(file, tuple(Frame(pc=int(pc, 16)) for pc in pcs.split()), maps)


def named(seen: Seen, resolver: Resolver | None = None) -> tuple[Frame, ...]:
    """The program's own frames, those of libc left out."""
    frames = (resolver or Resolver()).stack(seen.frames, seen.maps)
    return tuple(frame for frame in frames if frame.module == str(seen.file))


@pytest.mark.parametrize("options", [("-O0", "-g"), ("-O2", "-g"), ("-O2", "-g", "-no-pie", "-fno-pie")])
def test_inlined_functions_are_frames_of_their_own_with_their_lines(tmp_path: Path, options: tuple[str, ...]) -> None:
    seen = see(compile_program(tmp_path, *options))

    frames = named(seen)

    assert [(one.function, one.line, one.inlined) for one in frames[:4]] == [
        ("innermost", 5, True),
        ("middle", 8, True),
        ("outer", 11, False),
        ("main", 15, False),
    ]
    assert {one.file for one in frames[:4]} == {str(tmp_path / "source.c")}
    assert all(one.column for one in frames[:4])
    assert len({one.pc for one in frames[:3]}) == 1


def test_offset_in_the_module_is_the_file_s_own_address(tmp_path: Path) -> None:
    seen = see(compile_program(tmp_path, "-O0", "-g"))

    frame = named(seen)[-2]

    symbols = subprocess.run(["nm", seen.file], capture_output=True, text=True, check=True).stdout
    start = next(int(line.split()[0], 16) for line in symbols.splitlines() if line.endswith(" T main"))
    assert frame.function == "main"
    assert frame.offset is not None and start < frame.offset < start + 200


def test_build_id_is_the_one_that_the_linker_gave(tmp_path: Path) -> None:
    seen = see(compile_program(tmp_path, "-Wl,--build-id=0x0123456789abcdef"))

    assert {one.build_id for one in named(seen)} == {"0123456789abcdef"}


def test_stripped_program_gives_module_and_offset(tmp_path: Path) -> None:
    seen = see(compile_program(tmp_path, "-O2", "-s"))

    frames = named(seen)

    assert len(frames) >= 2
    assert all(one.function is None and one.line is None and one.offset for one in frames)


def test_stripped_program_still_has_the_names_that_it_exports(tmp_path: Path) -> None:
    seen = see(compile_program(tmp_path, "-O2", "-s", "-rdynamic"))

    assert [one.function for one in named(seen)][:2] == ["outer", "main"]


def test_debugging_information_beside_a_stripped_program_is_found_by_its_link(tmp_path: Path) -> None:
    file = compile_program(tmp_path, "-O2", "-g")
    subprocess.run(["objcopy", "--only-keep-debug", file, f"{file}.debug"], check=True)
    subprocess.run(["strip", file], check=True)
    subprocess.run(["objcopy", f"--add-gnu-debuglink={file}.debug", file], check=True)

    frames = named(see(file))

    assert [(one.function, one.line) for one in frames[:4]] == [
        ("innermost", 5),
        ("middle", 8),
        ("outer", 11),
        ("main", 15),
    ]


@pytest.mark.parametrize("options", [("-g", "-O2"), ("-O2",), ("-O2", "-s", "-rdynamic")])
def test_cxx_names_are_spelled_as_in_the_source(tmp_path: Path, options: tuple[str, ...]) -> None:
    seen = see(compile_program(tmp_path, *options, source=CXX_SOURCE))

    assert named(seen)[0].function == "app::Box<int>::collect(void**) const"


def test_name_with_odd_characters_and_spaces_is_found(tmp_path: Path) -> None:
    directory = tmp_path / "a (deleted) dir\\with spaces"
    directory.mkdir()

    frames = named(see(compile_program(directory, "-O0", "-g")))

    assert "main" in [one.function for one in frames]


def test_replaced_program_is_not_read_for_the_one_that_ran(tmp_path: Path) -> None:
    seen = see(compile_program(tmp_path, "-O0", "-g"))
    other = compile_program(tmp_path, "-O2", "-g", name="other")
    os.replace(other, seen.file)

    frames = named(seen)

    assert frames and all(one.function is None and one.build_id is None and one.offset for one in frames)


def test_deleted_program_gives_module_and_offset(tmp_path: Path) -> None:
    seen = see(compile_program(tmp_path, "-O0", "-g"))
    deleted = Seen(seen.file, seen.frames, seen.maps.replace(f"{seen.file}\n", f"{seen.file} (deleted)\n"))

    frames = named(deleted)

    assert frames and all(one.function is None and one.offset for one in frames)


def test_program_that_was_changed_after_a_record_is_not_read_for_it(tmp_path: Path) -> None:
    seen = see(compile_program(tmp_path, "-O0", "-g"))
    built = seen.file.stat().st_ctime

    assert "main" in [one.function for one in named(seen, Resolver(until=built + 1))]
    assert "main" not in [one.function for one in named(seen, Resolver(until=built - 1))]


def test_every_stack_of_a_finding_is_named(tmp_path: Path) -> None:
    seen = see(compile_program(tmp_path, "-O0", "-g"))
    site = Site(thread=1, stack=seen.frames)
    block = Block(address=1, size=2, state="used", origin="malloc", allocated=site, freed=site)
    detected = Detected(when="free", thread=1, stack=seen.frames)
    finding = Finding(kind="double-free", detected=detected, culprit=block, victim=block, previous=block)

    resolved = Resolver().finding(finding, seen.maps)

    stacks = [resolved.detected.stack]
    for one in (resolved.culprit, resolved.victim, resolved.previous):
        assert one is not None and one.allocated is not None and one.freed is not None
        stacks += [one.allocated.stack, one.freed.stack]
    assert [stack[0].function for stack in stacks] == ["innermost"] * 7


def test_address_that_is_mapped_nowhere_stays_as_it_is() -> None:
    assert Resolver().stack((Frame(pc=5), Frame(pc=0)), "") == (Frame(pc=5), Frame(pc=0))


@pytest.mark.parametrize(
    "content",
    [b"", b"\x7fELF", b"\x7fELF\x02\x01\x01" + b"\xff" * 4000, bytes(4096), os.urandom(8192)],
    ids=["empty", "short", "forged", "zeros", "random"],
)
def test_file_that_is_no_program_gives_no_names_and_no_error(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "file"
    file.write_bytes(content)
    status = file.stat()
    device = f"{os.major(status.st_dev):02x}:{os.minor(status.st_dev):02x}"
    maps = f"1000-9000 r-xp 00000000 {device} {status.st_ino} {file}\n"

    (frame,) = Resolver().stack((Frame(pc=0x2000),), maps)

    assert (frame.module, frame.function) == (str(file), None)


def test_damaged_debugging_information_gives_what_is_left(tmp_path: Path) -> None:
    seen = see(compile_program(tmp_path, "-O0", "-g"))
    dumped = tmp_path / "info"
    subprocess.run(["objcopy", "--dump-section", f".debug_info={dumped}", seen.file], check=True)
    whole = bytearray(seen.file.read_bytes())
    at = whole.find(dumped.read_bytes())
    whole[at : at + 200] = b"\xee" * 200
    with open(seen.file, "r+b") as stream:
        stream.write(whole)

    frames = named(seen)

    assert len(frames) >= 2
    assert all(one.offset for one in frames)


def test_pipe_in_a_file_s_place_is_not_waited_for(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)

    (frame,) = Resolver().stack((Frame(pc=0x2000),), f"1000-9000 r-xp 00000000 00:00 0 {pipe}\n")

    assert frame.function is None
