"""What is read of a program's latest releases."""

import struct

from heapwitness.layout import past
from heapwitness.layout.process import Process
from heapwitness.memory import SegmentsMemory

AT = 0x10000


def remembered(
    *releases: tuple[int, int], first: int = 0, learnt: dict[int, tuple[int, int, int]] | None = None
) -> past.Past:
    """A process's memory of releases, the oldest one first, by address and site; `first`: of all there were before."""
    words = [0] * past.RELEASES
    for number, (address, site) in enumerate(releases, first):
        words[number % past.RELEASES] = address << 20 & (1 << 64) - 1 | site
    table = bytearray(past.SITES * past.LEARNT_WORDS.size)
    for site, heads in (learnt or {}).items():
        past.LEARNT_WORDS.pack_into(table, past.slot(site) * past.LEARNT_WORDS.size, site, *heads)
    data = past.NEXT_WORDS.pack(first + len(releases)) + struct.pack(f"<{past.RELEASES}Q", *words) + bytes(table)
    return past.Past(SegmentsMemory([(AT, data)]), Process(0, 0, 0, 0, past=AT))


def test_releases_at_an_address_are_told_the_last_one_first() -> None:
    known = remembered((0x7F0012345670, 5), (0x7F0012345680, 6), (0x7F0012345670, 0xFFFFF0))

    assert known.sites(0x7F0012345670) == (0xFFFFF0, 5)


def test_the_order_is_that_of_releases_where_the_oldest_ones_were_overwritten() -> None:
    releases = [(0x1000, number + 1) for number in range(6)]

    known = remembered(*releases, first=past.RELEASES - 3)

    assert known.sites(0x1000) == (6, 5, 4, 3, 2, 1)


def test_what_was_learnt_of_a_site_is_its_own() -> None:
    known = remembered(learnt={77: (1, 2, 3)})

    assert known.heads(77) == (1, 2, 3)
    assert known.heads(78) == ()


def test_memory_that_is_not_there_has_no_releases() -> None:
    known = past.Past(SegmentsMemory([]), Process(0, 0, 0, 0, past=AT))

    assert (known.sites(0x1000), known.heads(5)) == ((), ())
