"""The text of /proc/PID/maps as mappings."""

import mmap
import os
from pathlib import Path

import pytest

from heapwitness.symbols import parse_maps
from heapwitness.symbols.maps import MAPPINGS_LIMIT, code_lines


def test_named_mappings_come_in_order_of_address() -> None:
    text = (
        "7f0000001000-7f0000002000 r-xp 00001000 fd:01 42                 /usr/lib/libx.so (deleted)\n"
        "7f0000000000-7f0000001000 rw-p 00000000 00:00 0 \n"
        "400000-401000 r--p 00000000 08:11 7                              /bin/a\\012b\n"
    )

    first, second = parse_maps(text)

    assert (first.start, first.end, first.path, first.device, first.inode) == (
        0x400000,
        0x401000,
        "/bin/a\nb",
        (8, 17),
        7,
    )
    assert not first.executable and not first.deleted
    assert (second.offset, second.path, second.executable, second.deleted) == (0x1000, "/usr/lib/libx.so", True, True)


def test_lines_without_sense_are_passed_over() -> None:
    text = (
        "nonsense\n2000-1000 r-xp 0 0:0 1 /x\n" + "f" * 17 + "-2 r-xp 0 0:0 1 /x\n1000-2000 r-xp 00000000 0:0 1 /ok\n"
    )

    assert [one.path for one in parse_maps(text)] == ["/ok"]


def test_number_of_mappings_is_bounded() -> None:
    text = "".join(f"{n:x}000-{n:x}800 r-xp 00000000 0:0 1 /x\n" for n in range(1, MAPPINGS_LIMIT + 100))

    assert len(parse_maps(text)) == MAPPINGS_LIMIT


NAMES = [
    b"a\rb",
    b"a\nb",
    b"a\\012b",
    b"a\\101",
    b"a\x0bb\x0cc\x1cd\x85e",
    "a\u2028b\u0085c".encode(),
    b"\xff\xfe",
    b"x (deleted)",
    b"x /proc/self/pagemap",
    b" x ",
]


@pytest.mark.parametrize("name", NAMES)
def test_a_mapped_file_of_any_name_is_found_again_and_hides_no_other(tmp_path: Path, name: bytes) -> None:
    directory = os.fsencode(tmp_path) + (b"/x " if b"/" in name else b"/")
    file = directory + name.split(b"x ", 1)[-1] if b"/" in name else directory + name
    os.makedirs(os.path.dirname(file), exist_ok=True)
    with open(file, "w+b") as stream:
        stream.truncate(4096)
        with mmap.mmap(stream.fileno(), 4096, prot=mmap.PROT_READ | mmap.PROT_EXEC):
            raw = Path("/proc/self/maps").read_bytes()

    mappings = parse_maps(code_lines(raw, len(raw)))

    (mapping,) = [one for one in mappings if os.fsencode(tmp_path) in os.fsencode(one.path)]
    inode = os.stat(file).st_ino
    assert mapping.identity.inode == inode and mapping.executable
    assert [one for one in mapping.names() if os.path.exists(one) and os.stat(one).st_ino == inode]
    assert "[vdso]" in [one.path for one in mappings]


def test_a_name_that_ends_in_another_s_path_leads_nowhere_else() -> None:
    (mapping,) = parse_maps("1000-2000 r-xp 00000000 fd:01 42          /tmp/x /proc/self/pagemap\n")

    assert mapping.names() == ("/tmp/x /proc/self/pagemap",)


def test_lines_of_code_are_whole_and_bounded() -> None:
    line = b"1000-2000 r-xp 00000000 fd:01 42 /lib/x.so\n"
    data = b"2000-3000 rw-p 00000000 00:00 0 \n" + line + b"broken\n\rx\n" + line * 10

    assert code_lines(data, 3 * len(line) + 5) == line.decode() * 3
    assert code_lines(b"\0" * 1000, 100) == ""
