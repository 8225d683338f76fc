"""The pages: docs/api.md is that of today's docstrings, and links lead somewhere, on the site, too."""

import json
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [*sorted((ROOT / "docs").glob("*.md")), *sorted(ROOT.glob("*.md"))]
LINK = re.compile(r"\]\(([^)#\s]*)(?:#([^)]*))?\)")


def run(script: str, *words: object) -> None:
    command = [sys.executable, ROOT / "release" / script, *words]
    subprocess.run([*map(str, command)], check=True, capture_output=True, text=True, timeout=120)


def anchors(page: Path) -> set[str]:
    """The names of a page's headings, as forges and the site make them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def broken(page: Path) -> list[str]:
    """The links of a page that lead nowhere."""
    found = []
    for target, anchor in LINK.findall(page.read_text()):
        if target.startswith(("http:", "https:")):
            continue
        leads_to = page.parent / target if target else page
        if not leads_to.exists() or (anchor and anchor not in anchors(leads_to)):
            found.append(f"{target}#{anchor}")
    return found


@pytest.mark.skipif(find_spec("griffe2md") is None, reason="needs griffe2md, which `make docs` installs")
def test_the_page_of_public_names_is_that_of_todays_docstrings(tmp_path: Path) -> None:
    run("api.py", tmp_path / "api.md")

    assert (tmp_path / "api.md").read_text() == (ROOT / "docs" / "api.md").read_text(), "run `make docs`"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    assert broken(page) == []


def test_links_lead_somewhere_on_the_site(tmp_path: Path) -> None:
    run("site.py", tmp_path / "pages")

    pages = sorted((tmp_path / "pages" / "docs").glob("*.md"))
    order = json.loads((tmp_path / "pages" / "mkdocs.yml").read_text())["nav"]
    assert {page.name for page in pages} == {name for part in order for names in part.values() for name in names}
    assert {page.name for page in pages} > {"index.md", "contributing.md", "run.md"}
    assert {page.name: found for page in pages if (found := broken(page))} == {}
