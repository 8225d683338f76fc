"""Names of allocation sites: written, read, compared, and as the engine reads them."""

import pytest

from heapwitness.errors import HeapwitnessError
from heapwitness.findings.model import Frame, Site
from heapwitness.findings.sites import FrameName, SiteName, TrappedSite, encoded, name_of, parse_trap

ID = "6f0c1e4d2b9a8d31aabbccdd"


def frame(offset: int, module: str | None = "/opt/a b/server", build_id: str | None = ID, **more: object) -> Frame:
    return Frame(pc=0x7F00_0000_0000 + offset, module=module, build_id=build_id, offset=offset, **more)  # type: ignore[arg-type]


def test_name_has_module_build_id_and_offset_of_each_return_address_once() -> None:
    inlined = frame(0x11D3, inlined=True)
    stack = (inlined, frame(0x11D3), frame(0x1500, "/lib/libx.so.1", None), Frame(pc=5), frame(0x1600))

    name = name_of(Site(thread=1, stack=stack))

    assert str(name) == "server@6f0c1e4d2b9a8d31+0x11d3,libx.so.1+0x1500,?,server@6f0c1e4d2b9a8d31+0x1600"


@pytest.mark.parametrize("stack", [(), (Frame(pc=5), frame(1)), (frame(1, "[vdso]", None),)])
def test_site_whose_innermost_frame_lies_in_no_file_has_no_name(stack: tuple[Frame, ...]) -> None:
    assert name_of(stack) is None


@pytest.mark.parametrize("how", ["end", "start", "tight", "watch"])
@pytest.mark.parametrize("module", ["server", "a,b;c:d+e@f%g h", "\N{GREEK SMALL LETTER ALPHA}.so", "\udcff"])
def test_what_is_written_is_read_again(how: str, module: str) -> None:
    frames = (FrameName(module, ID[:16], 0x11D3), FrameName("", "", 0), FrameName(module, "", 7))
    trap = TrappedSite(SiteName(frames), how)  # type: ignore[arg-type]

    assert parse_trap(str(trap)) == trap


@pytest.mark.parametrize(
    ("text", "offset", "number", "place", "engine"),
    [
        ("watch:server+0x11d3", 0, 0, None, "watch+0:/server+11d3"),
        ("watch+1f:server+0x11d3", 31, 0, None, "watch+1f:/server+11d3"),
        ("watch-20:server+0x11d3#58", -32, 58, None, "watch-20:/server+11d3#3a"),
        ("watch-8@2500:server+0x11d3,?#7", -8, 7, 0x2500, "watch-8@2500:/server+11d3,?#7"),
        ("end:server+0x11d3#58", 0, 58, None, "end:/server+11d3#3a"),
    ],
)
def test_what_is_watched_of_a_site_stands_before_it_and_the_blocks_number_behind(
    text: str, offset: int, number: int, place: int | None, engine: str
) -> None:
    trap = parse_trap(text)

    assert (trap.offset, trap.number, trap.place) == (offset, number, place)
    assert str(trap) == text
    assert encoded([trap]) == engine


def test_site_without_a_word_before_it_is_trapped_at_its_end() -> None:
    assert parse_trap(" server@6F0C1E4D+11d3 ") == TrappedSite(
        SiteName((FrameName("server", "6f0c1e4d", 0x11D3),)), "end"
    )


@pytest.mark.parametrize(
    "text",
    [
        "",
        "server",
        "server+",
        "?",
        "side:server+0x1",
        "server@12+0x1",
        "server+0x1,",
        "server+0x1 x",
        "+0x1",
        "watch8:server+0x1",
        "server+0x1#",
        "server+0x1#x",
    ],
)
def test_what_is_no_site_is_refused_in_a_sentence(text: str) -> None:
    with pytest.raises(HeapwitnessError, match="is no allocation site; one looks like server@"):
        parse_trap(text)


def test_engine_reads_build_ids_and_names_of_files_without_one() -> None:
    frames = (FrameName("server", ID[:16], 0x11D3), FrameName("lib x.so", "", 7), FrameName("", "", 0))
    trap = TrappedSite(SiteName(frames), "start")

    assert encoded([trap, trap]) == "start:6f0c1e4d2b9a8d31+11d3,/lib%20x.so+7,?"


def test_two_names_are_the_same_as_far_as_both_know_frames() -> None:
    whole = SiteName((FrameName("a", "aabbccdd", 1), FrameName("b", "", 2), FrameName("c", "", 3)))

    assert whole.is_same(SiteName((FrameName("renamed", "aabbccddee", 1),)))
    assert whole.is_same(SiteName((*whole.frames[:1], FrameName("", "", 0))))
    assert not whole.is_same(SiteName((FrameName("a", "aabbccdd", 1), FrameName("b", "", 9))))
    assert not whole.is_same(SiteName((FrameName("a", "aabbccee", 1),)))
    assert not whole.is_same(SiteName((FrameName("a", "aabbccdd", 2),)))
