"""The text of /proc/PID/maps as mappings."""

from heapwitness.symbols import parse_maps
from heapwitness.symbols.maps import MAPPINGS_LIMIT


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
