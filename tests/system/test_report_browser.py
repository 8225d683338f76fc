"""The page in a real browser: structure, filter, bytes, map, keyboard; it asks nothing of any other place and its
console stays empty. Needs Chromium (Debian: chromium); without it these tests are skipped."""

import json
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from support.browser import Browser, Page, find
from support.reports import everything, findings, mapped, report_of, trapped

from heapwitness.findings.model import Frame, Report
from heapwitness.report import html
from heapwitness.report.explain import EXPLANATIONS

PATH = find()
pytestmark = pytest.mark.skipif(PATH is None, reason="needs a browser: chromium, or HEAPWITNESS_BROWSER=PATH")

HOSTILE = "<img src=http://evil.invalid/x onerror=alert(1)>\x1b\u202e</script><script>document.title='bad'</script>"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    assert PATH is not None
    with Browser(PATH) as running:
        yield running


class Opened:
    """Opens reports, and looks at the end at what each page asked for and complained of."""

    def __init__(self, browser: Browser, directory: Path) -> None:
        self._browser = browser
        self._directory = directory
        self.pages: list[tuple[Page, str]] = []

    def __call__(self, report: Report, *, width: int = 1280, dark: bool = False) -> Page:
        file = self._directory / f"report{len(self.pages)}.html"
        file.write_bytes(html.encode(report))
        page = self._browser.page(file, width=width, dark=dark)
        self.pages.append((page, file.as_uri()))
        return page

    def check(self) -> None:
        for page, address in self.pages:
            page.run("1")
            assert page.complaints == []
            assert {one.partition("#")[0] for one in page.requests} <= {address, "data:,"}
            page.close()


@pytest.fixture
def opened(browser: Browser, tmp_path: Path) -> Iterator[Opened]:
    pages = Opened(browser, tmp_path)
    yield pages
    pages.check()


def count(page: Page, selector: str) -> int:
    number: int = page.run(f"document.querySelectorAll({json.dumps(selector)}).length")
    return number


def text(page: Page, selector: str) -> str:
    found: str = page.run(f"document.querySelector({json.dumps(selector)}).innerText")
    return found


def shown(page: Page) -> list[str]:
    """The kinds of the findings that can be seen."""
    found: list[str] = page.run(
        "[...document.querySelectorAll('.finding')].filter(e => e.checkVisibility()).map(e => e.dataset.kind)"
    )
    return found


def drawn(page: Page) -> dict[str, float]:
    """What the first map says of its picture."""
    data = page.run("({...document.querySelector('.map').dataset})")
    return {name: float(value) for name, value in data.items()}


def choose(page: Page, selector: str, value: str) -> None:
    """Choose in a list as a user does."""
    chosen = f"e.value = {json.dumps(value)}; e.dispatchEvent(new Event('change'));"
    page.run(f"(() => {{ const e = document.querySelector({json.dumps(selector)}); {chosen} }})()")


@pytest.mark.parametrize("kind", EXPLANATIONS)
def test_a_finding_of_each_kind_is_there_to_be_read(opened: Opened, kind: str) -> None:
    page = opened(report_of(findings()[kind]))

    assert count(page, "details.finding[open] h3") == 1
    assert kind in text(page, ".finding .kind")
    assert page.run("document.querySelector('.finding .facts').checkVisibility()")


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [400, 1280])
def test_nothing_is_wider_than_the_window(opened: Opened, width: int, dark: bool) -> None:
    page = opened(everything(), width=width, dark=dark)
    page.run("document.querySelectorAll('details').forEach(e => { e.open = true; })")

    assert page.run("document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize("dark", [False, True])
def test_text_has_the_contrast_that_aa_asks_for(opened: Opened, dark: bool) -> None:
    page = opened(everything(), dark=dark)
    page.run("document.querySelectorAll('details').forEach(e => { e.open = true; })")

    assert page.run(CONTRAST) == []


CONTRAST = """
(() => {
  const parse = (c) => c.match(/[\\d.]+/g).map(Number);
  const light = ([r, g, b]) => [r, g, b].map((v) => v / 255)
    .map((v) => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const behind = (e) => {
    for (; e; e = e.parentElement) {
      const c = parse(getComputedStyle(e).backgroundColor);
      if (c.length < 4 || c[3] === 1) return c;
    }
    return [255, 255, 255];
  };
  const bad = new Set();
  const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walk.nextNode()) {
    const e = walk.currentNode.parentElement;
    if (!walk.currentNode.data.trim() || !e.checkVisibility() || e.closest('svg,script,style')) continue;
    const one = light(parse(getComputedStyle(e).color)), other = light(behind(e));
    const ratio = (Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05);
    if (ratio < 4.5) bad.add(e.tagName + '.' + e.className + ' ' + ratio.toFixed(2));
  }
  return [...bad];
})()
"""


def test_words_in_the_filter_leave_the_findings_that_have_them(opened: Opened) -> None:
    page = opened(everything())

    page.click("#filter")
    page.type("network stack")

    assert shown(page) == ["task-stack-overflow"]
    assert text(page, ".shown") == "1 of 10 shown"


def test_kinds_can_be_left_out(opened: Opened) -> None:
    page = opened(everything())

    page.click('input[value="heap-buffer-overflow"]')

    assert "heap-buffer-overflow" not in shown(page)
    assert len(shown(page)) == 8


def test_the_filter_is_reached_by_a_key(opened: Opened) -> None:
    page = opened(everything())

    page.press("/")
    page.type("released twice")

    assert shown(page) == ["double-free"]


def test_a_finding_opens_by_keyboard_alone(opened: Opened) -> None:
    page = opened(everything())
    page.run("document.querySelectorAll('.finding > summary')[1].focus()")

    page.press("Enter")

    assert page.run("document.querySelectorAll('.finding')[1].open")


def test_a_byte_says_what_it_is_under_the_pointer_and_under_the_keys(opened: Opened) -> None:
    page = opened(report_of(findings()["heap-buffer-overflow"]))

    page.click(".bytes .b.x")
    first = text(page, ".told")
    page.press("ArrowRight")
    second = text(page, ".told")
    page.press("ArrowDown")

    assert first.startswith('0 from the block\'s end: 68 ("h"), should be ')
    assert first.endswith("; slack")
    assert second.startswith("+1 from the block's end: 68")
    assert text(page, ".told").startswith("+9 from the block's end: 68")
    assert text(page, ".told").endswith("; header")


def test_paper_has_everything(opened: Opened) -> None:
    page = opened(everything())

    page.run("dispatchEvent(new Event('beforeprint'))")
    during = count(page, "details:not([open])")
    page.run("dispatchEvent(new Event('afterprint'))")

    assert during == 0
    assert count(page, "details:not([open])") > 0


def test_the_map_is_drawn_and_zooms_to_single_bytes(opened: Opened) -> None:
    page = opened(everything())
    whole = drawn(page)

    choose(page, ".jumps", "0")
    near = drawn(page)

    assert whole["to"] - whole["from"] == whole["size"]
    assert near["to"] - near["from"] == 512
    assert near["nodes"] > 1
    assert "finding: heap-buffer-overflow" in text(page, ".heap .block")


def test_a_click_on_a_block_tells_its_lines(opened: Opened) -> None:
    page = opened(report_of(maps=(mapped(),)))

    page.click(".map", x=0.02, y=0.02)

    assert "record.c:" in text(page, ".heap .block")
    assert "a node of" in text(page, ".heap .block")


def test_the_map_is_read_by_keyboard_alone(opened: Opened) -> None:
    page = opened(report_of(maps=(mapped(),)))
    page.run("document.querySelector('.map').focus()")

    page.press("ArrowRight")
    first = text(page, ".heap .block")
    page.press("ArrowRight")
    page.press("ArrowRight")
    page.press("+")
    zoomed = drawn(page)
    page.press("0")

    assert text(page, ".heap .block") != first
    assert zoomed["to"] - zoomed["from"] <= zoomed["size"] / 2
    assert drawn(page)["to"] == drawn(page)["size"]


@pytest.mark.parametrize("button", ["in", "out", "whole"])
def test_buttons_zoom_for_those_without_a_wheel(opened: Opened, button: str) -> None:
    page = opened(report_of(maps=(mapped(),)))
    page.click(".zoom .in")
    before = drawn(page)

    page.click(f".zoom .{button}")

    after = drawn(page)
    assert (after["to"] - after["from"] < before["to"] - before["from"]) is (button == "in")


def test_colours_change_what_is_drawn(opened: Opened) -> None:
    page = opened(report_of(maps=(mapped(),)))
    before = page.run("document.querySelector('.map').toDataURL()")

    choose(page, ".colours", "site")

    assert page.run("document.querySelector('.map').toDataURL()") != before
    assert "new_record at record.c:41" in text(page, ".key")


def test_a_thousand_findings_are_filtered(opened: Opened) -> None:
    kinds = [*findings().values(), trapped()]
    page = opened(report_of(*(kinds[number % len(kinds)] for number in range(1000))))

    page.click("#filter")
    page.type("released twice")

    assert len(shown(page)) == 100
    assert text(page, ".shown") == "100 of 1000 shown"


@pytest.mark.parametrize("kind", EXPLANATIONS)
def test_hostile_names_run_nothing_and_ask_for_nothing(opened: Opened, kind: str) -> None:
    frame = Frame(pc=1, function=HOSTILE, file=f"/{HOSTILE}", line=1, module=HOSTILE)
    detected = msgspec.structs.replace(findings()[kind].detected, thread_name=HOSTILE, stack=(frame,))
    finding = msgspec.structs.replace(findings()[kind], detected=detected, detail=HOSTILE)
    taken = msgspec.structs.replace(mapped(), notes=(HOSTILE,))
    sites = tuple(msgspec.structs.replace(one, stack=(frame,)) for one in taken.sites)
    report = report_of(finding, warnings=(HOSTILE,), maps=(msgspec.structs.replace(taken, sites=sites),))

    page = opened(report)
    page.click(".map", x=0.02, y=0.02)

    assert count(page, "img") == 0
    assert page.run("document.title") == "app: heapwitness report"
    assert "\u202e" not in page.run("document.documentElement.textContent")
    assert "<img" in text(page, ".heap .block")


def test_a_page_reads_without_scripts(browser: Browser, tmp_path: Path) -> None:
    file = tmp_path / "plain.html"
    # A policy that fits no script.
    file.write_bytes(html.encode(everything()).replace(b"script-src &#39;sha256-", b"script-src &#39;sha256-no"))

    page = browser.page(file)

    assert count(page, ".finding") == 10
    assert not page.run("document.querySelector('.filter').checkVisibility()")
    assert page.run("document.querySelector('.figures').checkVisibility()")
    page.close()
