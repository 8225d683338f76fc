"""`python release/site.py DIRECTORY`: the pages of the site, from docs/ and from beside it, with links that fit.

They lie in DIRECTORY/docs, and DIRECTORY/mkdocs.yml has their order.
"""

import json
import re
import shutil
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
BESIDE = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "SECURITY.md": "reporting.md",
}
# What stands where; pages that nobody has placed come last.
ORDER = {
    "Overview": ["index.md"],
    "Linux programs": [
        "run.md",
        "settings.md",
        "hunt.md",
        "python.md",
        "report.md",
        "documents.md",
        "kinds.md",
        "diagnosis.md",
        "performance.md",
    ],
    "LiteOS devices": ["liteos.md", "liteos-pool.md", "campaign.md"],
    "From Python": ["api.md"],
    "How it is built": [
        "design.md",
        "glossary.md",
        "format.md",
        "concurrency.md",
        "security.md",
        "faults.md",
        "roadmap.md",
    ],
    "Taking part": ["contributing.md", "changelog.md", "reporting.md"],
}
_LINK = re.compile(r"\]\(([^)#\s]+)(#[^)]*)?\)")


def main(directory: Path) -> None:
    """Fill the directory; whatever it had is removed."""
    place = directory.resolve() / "docs"
    shutil.rmtree(directory, ignore_errors=True)
    shutil.copytree(ROOT / "docs", place)
    pages = {page: page.name for page in (ROOT / "docs").glob("*.md")} | {ROOT / one: to for one, to in BESIDE.items()}
    for page, name in pages.items():
        (place / name).write_text(_LINK.sub(_moved, page.read_text()))
    settings = {"INHERIT": str(ROOT / "mkdocs.yml"), "docs_dir": str(place), "nav": _order({*pages.values()})}
    (directory / "mkdocs.yml").write_text(json.dumps(settings, indent=2) + "\n")


def _order(there: set[str]) -> list[dict[str, list[str]]]:
    placed = {name for names in ORDER.values() for name in names}
    order = {**ORDER, "More": sorted(there - placed)}
    parts = {title: [name for name in names if name in there] for title, names in order.items()}
    return [{title: names} for title, names in parts.items() if names]


def _moved(link: re.Match[str]) -> str:
    target = link[1].removeprefix("../").removeprefix("docs/")
    return f"]({BESIDE.get(target, target)}{link[2] or ''})"


if __name__ == "__main__":
    main(Path(sys.argv[1]))
