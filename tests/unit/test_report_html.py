"""The page without a browser: what is in it, and that nothing of a target's gets out of its place."""

import re
from html.parser import HTMLParser
from pathlib import Path

import msgspec
import pytest
from support.reports import everything, findings, mapped, report_of, trapped

from heapwitness.findings.model import (
    Block,
    Detected,
    Finding,
    Frame,
    HeapMap,
    MapBins,
    MapNodes,
    MapPool,
    MapSite,
    Report,
    Site,
)
from heapwitness.report import html, text
from heapwitness.report.explain import EXPLANATIONS
from heapwitness.survey.tally import BINS_LIMIT, FRAMES_LIMIT, NEAR_SITES_LIMIT, SITES_LIMIT

HOSTILE = "<script>alert(1)</script>\"'&\x1b[31m\u202eevil\u2066\x00</style>{{ 7*7 }}{% raw %}"


class _Page(HTMLParser):
    """What a page has: its elements with their attributes, and its text."""

    def __init__(self, page: bytes) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(page.decode("ascii"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())

    def count(self, tag: str) -> int:
        return sum(one == tag for one, _ in self.elements)


def hostile(finding: Finding) -> Finding:
    """The finding with everything that its target names turned hostile."""
    bad = Frame(pc=1, function=HOSTILE, file=f"/{HOSTILE}", line=3, module=HOSTILE)
    block = Block(
        address=16, size=8, state="used", origin="malloc", allocated=Site(thread=1, stack=(bad,)), task=HOSTILE
    )
    detected = Detected(when="free", thread=1, thread_name=HOSTILE, pid=2, stack=(bad,))
    return msgspec.structs.replace(finding, culprit=block, detected=detected, detail=HOSTILE)


@pytest.mark.parametrize("kind", EXPLANATIONS)
def test_each_kind_has_its_sentence_its_facts_and_what_it_means(kind: str) -> None:
    finding = findings()[kind]

    page = _Page(html.encode(report_of(finding)))

    assert kind in page.text
    assert text.headline(finding) in page.text
    assert "repaired" in page.text
    assert EXPLANATIONS[finding.kind].summary in page.text


def test_the_bytes_have_what_is_there_and_what_should_be() -> None:
    page = html.encode(report_of(findings()["heap-buffer-overflow"])).decode()

    assert page.count('<td class="b x"><b>68</b><i>') == 20


def test_a_stack_has_the_source_around_its_line(tmp_path: Path) -> None:
    source = tmp_path / "record.c"
    source.write_text("".join(f"line {number} <b>\n" for number in range(1, 9)))
    frame = Frame(pc=1, function="new_record", file=str(source), line=4)
    finding = msgspec.structs.replace(
        findings()["double-free"], detected=Detected(when="free", thread=1, stack=(frame,))
    )

    page = _Page(html.encode(report_of(finding)))

    assert "2 line 2 <b> 3 line 3 <b> 4 line 4 <b> 5 line 5 <b> 6 line 6 <b>" in page.text
    assert page.count("b") == html.encode(report_of(finding)).decode().count("<b>")


def test_frames_of_libraries_are_folded() -> None:
    own = Frame(pc=1, function="work", module="/opt/app", file="/src/work.c", line=3)
    libc = Frame(pc=2, function="qsort", module="/usr/lib/libc.so.6")
    finding = msgspec.structs.replace(
        findings()["double-free"], detected=Detected(when="free", thread=1, stack=(libc, libc, libc, own))
    )

    page = _Page(html.encode(report_of(finding)))

    assert "3 frames of libraries and start-up" in page.text


def test_nothing_is_asked_of_any_other_place() -> None:
    page = _Page(html.encode(everything()))

    addresses = [
        value
        for _, attributes in page.elements
        for name, value in attributes.items()
        if name in ("src", "href", "action", "srcset", "data", "poster", "formaction", "xlink:href") and value
    ]
    assert {value for value in addresses if not value.startswith(("#", "data:,"))} == set()
    assert not re.search(r"url\(|@import", html.encode(everything()).decode())


def test_a_policy_lets_only_the_pages_own_script_run() -> None:
    page = _Page(html.encode(everything()))

    (policy,) = (one["content"] for tag, one in page.elements if one.get("http-equiv") == "Content-Security-Policy")
    assert policy is not None and policy.startswith("default-src 'none'")
    assert "unsafe" not in policy
    assert not any(name.startswith("on") or name == "style" for _, one in page.elements for name in one)


@pytest.mark.parametrize("kind", EXPLANATIONS)
def test_hostile_names_are_text_and_nothing_else(kind: str) -> None:
    clean = html.encode(report_of(findings()[kind]))
    report = report_of(hostile(findings()[kind]), warnings=(HOSTILE,))
    assert report.program is not None
    report = msgspec.structs.replace(report, program=msgspec.structs.replace(report.program, argv=(HOSTILE,)))

    page = html.encode(report)

    assert _Page(page).count("script") == _Page(clean).count("script")
    assert b"<script>alert" not in page and b"</style>{{" not in page
    assert not re.search(rb"[\x00-\x09\x0b-\x1f\x7f]", page)
    assert not re.search(r"&#(8238|8294|27|0);", page.decode())
    assert "\\u202eevil\\u2066\\x00" in _Page(page).text
    assert "49" not in _Page(page).text.partition("evil")[2][:40]


def test_hostile_names_in_a_map_stay_in_its_data() -> None:
    taken = mapped()
    bad = Frame(pc=1, function="</script><script>alert(1)</script>\u202e", file="/<!--.c", line=1)
    sites = tuple(msgspec.structs.replace(one, stack=(bad,)) for one in taken.sites)
    report = report_of(maps=(msgspec.structs.replace(taken, sites=sites, notes=(HOSTILE,)),))

    page = html.encode(report)

    assert _Page(page).count("script") == _Page(html.encode(report_of(maps=(taken,)))).count("script")
    assert b"alert(1)</script>" not in page


def test_lone_surrogates_are_shown_as_escapes() -> None:
    report = report_of(findings()["double-free"], warnings=("name \udcff",))

    assert "name \\udcff" in _Page(html.encode(report)).text


def test_a_report_without_findings_says_so() -> None:
    assert "nothing found overwritten" in _Page(html.encode(Report(source="dump.bin"))).text


def test_a_thousand_findings_are_one_page_of_moderate_size() -> None:
    many = tuple(msgspec.structs.replace(one, count=number + 1) for number in range(112) for one in findings_list())[
        :1000
    ]

    page = html.encode(report_of(*many))

    assert _Page(page).count("summary") >= 1000
    assert len(page) < 12_000_000


_LIST: list[Finding] = []


def findings_list() -> list[Finding]:
    """One of each kind, made once."""
    if not _LIST:
        _LIST.extend((*findings().values(), trapped()))
    return _LIST


def test_the_map_has_figures_that_need_no_script() -> None:
    taken = mapped()

    page = _Page(html.encode(report_of(maps=(taken,))))

    assert f"{taken.live_blocks:,} blocks" in page.text
    assert "of free memory lies outside of the largest free block" in page.text
    assert "new_record at record.c:41" in page.text


def test_a_map_as_large_as_maps_become_is_a_page_below_five_megabytes() -> None:
    bins, sites, nodes = BINS_LIMIT, SITES_LIMIT + NEAR_SITES_LIMIT, 50_000
    column = tuple(60_000 - number % 7 for number in range(bins))
    indexes = tuple(number % sites for number in range(bins))
    stretch = MapNodes(
        address=1 << 40,
        sizes=(96,) * nodes,
        states="u" * nodes,
        requested=(61,) * nodes,
        sites=tuple(number % sites for number in range(nodes)),
        owners=(),
    )
    pool = MapPool(
        address=1 << 40,
        size=bins << 16,
        nodes=10_000_000,
        parts=(),
        bins=MapBins(
            width=1 << 16,
            live=column,
            free=column,
            cached=column,
            lost=column,
            blocks=column,
            sites=indexes,
            owners=(),
        ),
        stretches=(stretch,),
    )
    frames = tuple(
        Frame(pc=number, function=f"a_function_with_a_long_name_{number}", file=f"/src/file_{number}.c", line=number)
        for number in range(1, FRAMES_LIMIT + 1)
    )
    taken = HeapMap(taken="dump", pools=(pool,), sites=(MapSite(stack=frames, blocks=9, total=999),) * sites)

    assert len(html.encode(report_of(maps=(taken,)))) < 5_000_000
