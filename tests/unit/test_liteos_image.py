"""Dumps in every format give the same bytes, can be patched in place, and cost no more than they are."""

import gzip
import itertools
import struct
from pathlib import Path

import pytest

from heapwitness.liteos import image
from heapwitness.liteos.diagnose.finding import Change
from heapwitness.liteos.image.load import parse

BYTES = bytes(range(256)) * 5
BASE = 0x20000000


def intel_hex(data: bytes, base: int, width: int = 16) -> str:
    lines, upper = [], -1
    for at in range(0, len(data), width):
        address = base + at
        if address >> 16 != upper:
            upper = address >> 16
            lines.append(hex_line(0, 4, upper.to_bytes(2, "big")))
        lines.append(hex_line(address & 0xFFFF, 0, data[at : at + width]))
    return "".join(f"{line}\n" for line in (*lines, ":00000001FF"))


def hex_line(address: int, kind: int, data: bytes) -> str:
    raw = bytes([len(data), address >> 8, address & 0xFF, kind]) + data
    return f":{(raw + bytes([-sum(raw) & 0xFF])).hex().upper()}"


def s_records(data: bytes, base: int, width: int = 16) -> str:
    lines = ["S0030000FC"]
    for at in range(0, len(data), width):
        part = data[at : at + width]
        raw = bytes([len(part) + 5]) + (base + at).to_bytes(4, "big") + part
        lines.append(f"S3{(raw + bytes([~sum(raw) & 0xFF])).hex().upper()}")
    return "".join(f"{line}\r\n" for line in (*lines, "S70500000000FA"))


def elf(data: bytes, base: int, bits: int = 32, parts: int = 2) -> bytes:
    head, entry = (52, 32) if bits == 32 else (64, 56)
    cut = len(data) // parts
    pieces = [data[at : at + cut] for at in range(0, len(data), cut)]
    ident = b"\x7fELF" + bytes([bits // 32, 1, 1]) + bytes(9)
    offset = head + entry * len(pieces)
    if bits == 32:
        out = ident + struct.pack("<HHIIIIIHHHHHH", 4, 40, 1, 0, head, 0, 0, head, entry, len(pieces), 0, 0, 0)
    else:
        out = ident + struct.pack("<HHIQQQIHHHHHH", 4, 183, 1, 0, head, 0, 0, head, entry, len(pieces), 0, 0, 0)
    address = base
    for piece in pieces:
        size = len(piece)
        if bits == 32:
            out += struct.pack("<IIIIIIII", 1, offset, address, 0, size, size, 6, 4)
        else:
            out += struct.pack("<IIQQQQQQ", 1, 6, offset, address, 0, size, size, 8)
        offset, address = offset + size, address + size
    return out + data


FILES = {
    "intel-hex": intel_hex(BYTES, BASE).encode(),
    "s-record": s_records(BYTES, BASE).encode(),
    "elf": elf(BYTES, BASE),
    "raw": BYTES,
}


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("kind", FILES)
def test_every_format_gives_the_bytes_at_their_address(kind: str, packed: bool, tmp_path: Path) -> None:
    path = tmp_path / "dump"
    path.write_bytes(gzip.compress(FILES[kind]) if packed else FILES[kind])

    loaded = image.load(path, BASE if kind == "raw" else None)

    assert (loaded.format, loaded.compressed, loaded.placed) == (kind, packed, True)
    assert [(one.address, bytes(one.data)) for one in loaded.segments] == [(BASE, BYTES)]


@pytest.mark.parametrize("kind", FILES)
def test_a_patched_file_differs_in_the_patched_bytes_only(kind: str) -> None:
    base = BASE if kind == "raw" else None
    loaded = parse(FILES[kind], kind, base)
    # Across lines and segments.
    change = Change(address=BASE + 14, old=BYTES[14:700], new=b"x" * 686, why="")

    patched = parse(loaded.patched([change]), kind, base)

    assert bytes(patched.segments[0].data) == BYTES[:14] + b"x" * 686 + BYTES[700:]
    assert loaded.patched([]) == FILES[kind]


def test_a_64_bit_elf_tells_its_width() -> None:
    assert parse(elf(BYTES, 0xFFFF000000000000, 64), "core").width == 64
    assert parse(elf(BYTES, BASE), "core").width == 32


def test_segments_keep_apart_what_is_apart() -> None:
    text = intel_hex(b"one", 0x1000)[:-12] + intel_hex(b"two", 0x90000000)

    loaded = parse(text.encode(), "dump")

    assert [(one.address, bytes(one.data)) for one in loaded.segments] == [(0x1000, b"one"), (0x90000000, b"two")]


def test_a_raw_image_of_which_nobody_knows_the_address_can_be_moved() -> None:
    loaded = parse(BYTES, "dump")

    moved = loaded.moved(BASE)

    assert not loaded.placed
    assert moved.segments[0].address == BASE
    assert moved.patched([Change(address=BASE + 1, old=b"\1", new=b"z", why="")])[:3] == b"\0z\2"


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "empty"),
        (gzip.compress(b""), "empty"),
        (gzip.compress(BYTES)[:-9], "cut short"),
        (gzip.compress(BYTES)[:-8] + bytes(8), "damaged"),
        (FILES["intel-hex"][:-12], "end record is missing"),
        (FILES["intel-hex"].replace(b"0102", b"0103"), "line 2 is damaged"),
        (FILES["intel-hex"].replace(b":100010", b":10001g"), "line 3 is broken"),
        (FILES["intel-hex"][:-12] + FILES["intel-hex"], "twice"),
        (FILES["s-record"][:-16], "end record is missing"),
        (FILES["s-record"].replace(b"0102", b"0103"), "line 2 is damaged"),
        (FILES["s-record"][:-16] + FILES["s-record"], "twice"),
        (b"\x7fELF", "cut short"),
        (FILES["elf"].replace(b"\x7fELF\1\1", b"\x7fELF\1\2"), "big-endian"),
        (elf(BYTES, BASE)[:52] + bytes(64), "no loadable segment"),
    ],
    ids=itertools.count(),
)
def test_a_broken_file_is_refused_in_a_sentence(data: bytes, says: str) -> None:
    with pytest.raises(image.BadImage, match=says):
        parse(data, "dump")


def test_a_file_with_addresses_of_its_own_takes_no_base() -> None:
    with pytest.raises(image.BadImage, match="leave --base out"):
        parse(FILES["elf"], "dump", BASE)


def test_a_missing_file_a_directory_and_a_large_file_are_refused(tmp_path: Path) -> None:
    large = tmp_path / "large"
    large.write_bytes(bytes(5000))
    for path, says in ((tmp_path / "none", "No such file"), (tmp_path, "directory"), (large, "larger than")):
        with pytest.raises(image.BadImage, match=says):
            image.load(path, limit=4096)


@pytest.mark.timeout(60)  # against a hang, not a measurement
def test_a_small_file_that_unpacks_to_much_stops_at_the_limit() -> None:
    bomb = gzip.compress(bytes(64 << 20))

    with pytest.raises(image.BadImage, match="unpacks to more than 1 MiB"):
        parse(bomb, "dump", limit=1 << 20)


def test_elf_segments_that_share_bytes_are_refused() -> None:
    pieces = 2000
    out = b"\x7fELF\1\1\1" + bytes(9)
    out += struct.pack("<HHIIIIIHHHHHH", 4, 40, 1, 0, 52, 0, 0, 52, 32, pieces, 0, 0, 0)
    for number in range(pieces):
        out += struct.pack("<IIIIIIII", 1, 0, number << 20, 0, 1 << 16, 1 << 16, 6, 4)
    with pytest.raises(image.BadImage, match="share bytes"):
        parse(out + bytes(1 << 16), "dump")
