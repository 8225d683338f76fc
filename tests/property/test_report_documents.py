"""Law: whatever a target calls its functions, files, threads and arguments, a document holds it as text.

Every string of a report that comes from a target is replaced by hostile ones; each document must still be valid, and
have no control character, no character that changes the direction of text, and no more elements than before.
"""

import io
import json as standard
import re
import xml.etree.ElementTree as ElementTree
from collections import Counter
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, get_args

import jsonschema
import msgspec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.reports import everything

from heapwitness.findings.model import Report
from heapwitness.outputs import Dialect
from heapwitness.report import annotations, html, junit, sarif, terminal, text
from heapwitness.report.console import console

SCHEMA = Path(__file__).parents[1] / "data" / "sarif" / "sarif-2.1.0-rtm.5.json"
DIALECTS: tuple[Dialect, ...] = get_args(Dialect)
NAMED = ("function", "file", "module", "thread_name", "detail", "task", "symbol", "name")
PIECES = st.one_of(
    st.sampled_from(
        [
            *("<script>", "</script>", "<!--", "-->", "]]>", "{{", "}}", "{%", "&lt;", "\"'", "${x}", "\\", "[a](b)"),
            *("\x1b[31m", "\x1b]8;;http://evil\x07", "\x00", "\r", "\n", "\t", "\x9b", "\x7f", "\u202e", "\u2066"),
            *(
                "\u200f",
                "\u2028",
                "\ufeff",
                "\ud800",
                "\udcff",
                "::error::",
                "##vso[",
                "%0A",
                "\u05d0\u05d1",
                "..",
                "/",
            ),
        ]
    ),
    st.text(max_size=6),
)
HOSTILE = st.lists(PIECES, min_size=1, max_size=5).map("".join)
FORBIDDEN = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\u2028\u2029\ufeff]")
QUICK = settings(
    deadline=None,
    max_examples=40,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example],
)


@cache
def plain() -> Report:
    """A report of everything, with a single site in its map."""
    report = everything()
    maps = tuple(msgspec.structs.replace(one, sites=one.sites[:2], pools=()) for one in report.maps)
    return msgspec.structs.replace(report, maps=maps)


def hostile(document: Any, word: str) -> Any:
    """A record with every string of the target's replaced."""
    if isinstance(document, tuple):
        return tuple(hostile(one, word) for one in document)
    if not isinstance(document, msgspec.Struct):
        return document
    changes: dict[str, object] = {}
    for name in document.__struct_fields__:
        value = getattr(document, name)
        if name in NAMED and isinstance(value, str):
            changes[name] = word
        elif name in ("argv", "warnings", "notes"):
            changes[name] = tuple(word for _ in value)
        elif name != "schema":
            changes[name] = hostile(value, word)
    return msgspec.structs.replace(document, **changes)


class _Elements(HTMLParser):
    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append(tag)

    def handle_data(self, data: str) -> None:
        assert not FORBIDDEN.search(data)


@cache
def schema() -> jsonschema.Draft4Validator:
    return jsonschema.Draft4Validator(standard.loads(SCHEMA.read_text()))


@cache
def usual() -> Counter[str]:
    """How many of each element a page with harmless names has; names decide which frames are folded."""
    return Counter(_Elements(html.encode(hostile(plain(), "word")).decode()).found)


@QUICK
@given(HOSTILE)
def test_a_page_has_no_element_by_a_name(word: str) -> None:
    page = html.encode(hostile(plain(), word)).decode("ascii")

    found = Counter(_Elements(page).found)
    assert set(found) <= {*usual(), "details"}
    assert all(found[one] == usual()[one] for one in ("script", "style", "svg", "input", "canvas", "a", "link", "meta"))
    assert not FORBIDDEN.search(page)


@QUICK
@given(HOSTILE)
def test_sarif_stays_valid_and_harmless(word: str) -> None:
    document = sarif.encode(hostile(plain(), word), Path("/src"))

    schema().validate(standard.loads(document))
    assert not FORBIDDEN.search(_strings(standard.loads(document)))


@QUICK
@given(HOSTILE)
def test_junit_stays_well_formed_and_harmless(word: str) -> None:
    suites = ElementTree.fromstring(junit.encode(hostile(plain(), word)))

    assert len(suites.findall("testsuite/testcase")) == len(plain().findings) + 1
    assert not FORBIDDEN.search("".join(suites.itertext()))


@QUICK
@given(HOSTILE)
def test_annotations_stay_a_line_for_each_finding(word: str) -> None:
    for dialect in DIALECTS:
        lines = annotations.encode(hostile(plain(), word), Path("/src"), dialect).decode().split("\n")

        assert len(lines) == len(plain().findings) + 1
        assert not FORBIDDEN.search("".join(lines))


@QUICK
@given(HOSTILE)
def test_a_terminal_gets_no_command(word: str) -> None:
    stream = io.StringIO()
    terminal.render(hostile(plain(), word), console(stream), findings=True)

    assert not FORBIDDEN.search(stream.getvalue())


def _strings(document: Any) -> str:
    """All strings of a document in one."""
    if isinstance(document, dict):
        return "".join(f"{key}{_strings(value)}" for key, value in document.items())
    if isinstance(document, list):
        return "".join(map(_strings, document))
    # Newlines are of our own texts.
    return document.replace("\n", "") if isinstance(document, str) else ""


def test_the_words_that_are_hostile_reach_the_documents_as_escapes() -> None:
    assert "\\x1b[31m" in text.clean("\x1b[31m")
