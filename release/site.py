"""`python release/site.py DIRECTORY`: the pages of the site, from docs/ and from beside it, with links that fit."""

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
_LINK = re.compile(r"\]\(([^)#\s]+)(#[^)]*)?\)")


def main(directory: Path) -> None:
    """Fill the directory; whatever it had is removed."""
    shutil.rmtree(directory, ignore_errors=True)
    shutil.copytree(ROOT / "docs", directory)
    pages = {page: page.name for page in (ROOT / "docs").glob("*.md")} | {ROOT / one: to for one, to in BESIDE.items()}
    for page, name in pages.items():
        (directory / name).write_text(_LINK.sub(_moved, page.read_text()))


def _moved(link: re.Match[str]) -> str:
    target = link[1].removeprefix("../").removeprefix("docs/")
    return f"]({BESIDE.get(target, target)}{link[2] or ''})"


if __name__ == "__main__":
    main(Path(sys.argv[1]))
