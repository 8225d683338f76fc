"""Large dumps: what is looked for is found as a loop over each word would find it, and memory stays small."""

import gzip
import mmap
import os
import random
import struct
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from support import liteos

from heapwitness.liteos import Config, Pool
from heapwitness.liteos import image as images
from heapwitness.liteos.dump.examine import DumpOptions, examine
from heapwitness.liteos.image import store
from heapwitness.liteos.image.scan import own_addresses, places, stepping

ADDRESS = liteos.POOL_ADDRESS
CONFIG = Config(width=32, debug=True, task_stat=True, head_backup=True)


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Parts of 256 bytes, and files of more than 4 KiB held as large ones are."""
    monkeypatch.setattr(store, "PART", 256)
    monkeypatch.setattr(store, "IN_MEMORY", 4096)


def words_of(data: bytes, pointer: int) -> list[int]:
    return [int.from_bytes(data[at : at + pointer], "little") for at in range(0, len(data) - pointer + 1, pointer)]


def lists(rng: random.Random, base: int, pointer: int, share: float = 0.3) -> bytes:
    """Memory of which some words hold their own address, some stand in tables of empty lists, others are anything."""
    words = [rng.choice((0, rng.getrandbits(8 * pointer), base + 4, base + 0x100)) for _ in range(900)]
    for number in range(len(words)):
        if rng.random() < share:
            words[number] = base + number * pointer
    for start in (40, 250, 253, 506, 700, 860):
        for number in range(start, start + rng.randrange(2, 30), 2):
            words[number] = words[number + 1] = base + number * pointer
    return (
        b"".join((word & (1 << 8 * pointer) - 1).to_bytes(pointer, "little") for word in words) + b"rest"[: pointer - 1]
    )


@pytest.mark.usefixtures("small_parts")
@pytest.mark.parametrize("share", [0.3, 0.97])
@pytest.mark.parametrize("base", [0, 0x1000FF80, 0x2000FFFE, 0xFFFFF800])
@pytest.mark.parametrize("pointer", [4, 8])
def test_words_that_hold_their_own_address_are_all_found(pointer: int, base: int, share: float) -> None:
    for seed in range(20):
        data = lists(random.Random(seed), base, pointer, share)
        words = words_of(data, pointer)
        wanted = [number * pointer for number, word in enumerate(words) if word == base + number * pointer]

        assert list(own_addresses(store.SourceStretch(data), base, pointer)) == wanted


def test_dense_own_addresses_are_all_found() -> None:
    base, count = 0x20000000, 50_000
    data = b"".join((base + 4 * number).to_bytes(4, "little") for number in range(count))

    assert list(own_addresses(store.SourceStretch(data), base, 4)) == list(range(0, 4 * count, 4))


@pytest.mark.usefixtures("small_parts")
@pytest.mark.parametrize("base", [0x40, 0x1000FF80, 0x2000FFF0])
@pytest.mark.parametrize("pointer", [4, 8])
def test_heads_that_go_up_in_steps_are_all_found(pointer: int, base: int) -> None:
    step = 2 * pointer
    for seed in range(20):
        data = lists(random.Random(seed), base, pointer)
        words = words_of(data, pointer)
        wanted = [
            (number * pointer, one)
            for number, (one, two, three, four) in enumerate(zip(words, words[1:], words[2:], words[3:], strict=False))
            if one == two and three == four == one + step and one >= number * pointer and one and not one % pointer
        ]

        assert list(stepping(store.SourceStretch(data), pointer)) == wanted
        assert len(wanted) > 6


@pytest.mark.usefixtures("small_parts")
def test_places_are_found_across_parts() -> None:
    data = bytearray(2000)
    for at in (0, 254, 510, 1996):
        data[at : at + 4] = b"\x48\0\0\x80"

    assert list(places(store.SourceStretch(bytes(data)), b"\x48\0\0\x80")) == [0, 254, 510, 1996]


def overrun(buffer: bytearray | memoryview) -> None:
    """Make a pool of zero bytes in which a block overran the next one."""
    pool = Pool.init(buffer, ADDRESS, CONFIG, faithful=True)
    blocks = [pool.alloc(100) for _ in range(20)]
    assert blocks[9] is not None
    end = blocks[9] + 100 - ADDRESS
    buffer[end : end + 12] = b"overwritten."


def kinds(dump: Path, config: Path | None) -> list[tuple[str, int | None]]:
    findings = examine(DumpOptions(image=dump, config=config)).findings
    return [(one.kind, None if one.culprit is None else one.culprit.address) for one in findings]


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "config"
    names = ("DEBUG_VERSION", "MEM_DEBUG", "MEM_HEAD_BACKUP", "MEM_TASK_STAT")
    path.write_text("".join(f"LOSCFG_{name}=y\n" for name in names))
    return path


@pytest.mark.parametrize("packed", [False, True])
def test_a_pool_that_is_held_in_a_file_is_judged_as_one_in_memory(
    tmp_path: Path, config: Path, monkeypatch: pytest.MonkeyPatch, packed: bool
) -> None:
    dump = tmp_path / "dump"
    pool = bytearray(0x8000)
    overrun(pool)
    data = bytes(0x3004) + pool + bytes(range(256)) * 64
    dump.write_bytes(gzip.compress(data) if packed else data)
    wanted = kinds(dump, config), kinds(dump, None)
    monkeypatch.setattr(store, "IN_MEMORY", 4096)

    found = kinds(dump, config), kinds(dump, None)

    assert found == wanted
    assert [kind for kind, _ in found[0]] == ["heap-buffer-overflow"]


@pytest.mark.usefixtures("small_parts")
def test_a_dump_that_is_cut_short_while_it_is_looked_at_is_an_error_in_a_sentence(tmp_path: Path) -> None:
    dump = tmp_path / "dump"
    dump.write_bytes(os.urandom(20000))
    image = images.load(dump, ADDRESS)

    os.truncate(dump, 9000)

    assert len(image.segments[0].data[:9000]) == 9000
    with pytest.raises(images.BadImage, match="became shorter while it was read"):
        bytes(image.segments[0].data)


@pytest.mark.usefixtures("small_parts")
def test_an_unpacked_dump_is_whole_whatever_becomes_of_its_file(tmp_path: Path) -> None:
    dump, data = tmp_path / "dump", os.urandom(20000)
    dump.write_bytes(gzip.compress(data))
    image = images.load(dump, ADDRESS)

    os.truncate(dump, 0)

    assert bytes(image.segments[0].data) == data


@pytest.mark.usefixtures("small_parts")
def test_without_room_for_a_file_a_large_dump_is_held_in_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dump, data = tmp_path / "dump", os.urandom(20000)
    dump.write_bytes(gzip.compress(data))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "missing"))

    assert bytes(images.load(dump, ADDRESS).segments[0].data) == data


MEASURED = """
import re, sys
from pathlib import Path
from heapwitness.cli.main import main
try:
    main()
finally:
    print("most resident:", re.search(r"VmHWM:\\s*([0-9]+) kB", Path("/proc/self/status").read_text())[1])
"""


@pytest.mark.parametrize("told", [True, False])
@pytest.mark.parametrize("whole", [True, False])
def test_a_dump_of_256_mib_takes_less_than_200_mib(tmp_path: Path, config: Path, told: bool, whole: bool) -> None:
    dump, size, before = tmp_path / "dump", 256 << 20, 0x14000
    header = struct.pack("<16sHHIIIIIHHHHHH", b"\x7fELF\1\1\1", 4, 40, 1, 0, 52, 0, 0, 52, 32, 1, 0, 0, 0)
    header += struct.pack("<IIIIIIII", 1, 4096, ADDRESS - before, 0, size, size, 6, 4)
    with dump.open("wb+") as file:
        file.write(header)
        file.truncate(4096 + size)
        with mmap.mmap(file.fileno(), 4096 + size) as mapped, memoryview(mapped) as memory:
            start = 4096 + before
            with memory[start : 4096 + size if whole else start + (1 << 20)] as pool:
                overrun(pool)
    command = [sys.executable, "-c", MEASURED, "inspect", str(dump), *(("--config", str(config)) if told else ())]

    run = subprocess.run(command, capture_output=True, text=True, check=False)

    assert run.returncode == 99
    assert "heap-buffer-overflow: 12 bytes past the end of a 100-byte block" in run.stdout
    assert int(run.stdout.split()[-1]) < 200 << 10
