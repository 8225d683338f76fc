"""Takes the pictures of docs/images: reports of the examples in a real browser, wide and narrow, light and dark."""

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from support.browser import Browser, Page, find  # noqa: E402

EXAMPLES = ROOT / "examples"
HEAPWITNESS = (sys.executable, "-m", "heapwitness")
WIDTHS = {1280: 900, 400: 860}
CLOSE_UP = "0"
LARGEST = 200_000
"""Bytes of a picture."""


def page_of(directory: Path, name: str, *words: str) -> Path:
    """The page of an example's report."""
    file = directory / f"{name}.html"
    command = [*HEAPWITNESS, "run", "--quiet", "--html", str(file), *words]
    environment = {**os.environ, "NO_COLOR": "1"}
    subprocess.run(command, cwd=EXAMPLES, env=environment, check=False, capture_output=True, timeout=120)
    if not file.exists():
        sys.exit(f"{' '.join(command)} made no page; `make -C examples all` builds the examples.")
    return file


def choose(page: Page, selector: str, value: str) -> None:
    """Choose in a list of the page."""
    page.run(
        f"(() => {{ const e = document.querySelector({selector!r}); e.value = {value!r};"
        " e.dispatchEvent(new Event('change')); })()"
    )


def take(browser: Browser, file: Path, name: str, directory: Path, what: str) -> None:
    """All pictures of a page: of its beginning, of its map by site, or of the map close up."""
    for width, height in WIDTHS.items():
        for dark in (False, True):
            page = browser.page(file, width=width, height=height, dark=dark)
            if what != "report":
                choose(page, ".colours", "site" if what == "map" else "state")
                if what == "bytes":
                    choose(page, ".jumps", CLOSE_UP)
                page.run("document.querySelector('.heap').scrollIntoView()")
            picture = page.picture()
            page.close()
            target = directory / f"{name}-{width}-{'dark' if dark else 'light'}.png"
            target.write_bytes(picture)
            note = " (too large)" if len(picture) > LARGEST else ""
            print(
                f"{target.relative_to(ROOT) if target.is_relative_to(ROOT) else target}  {len(picture):,} bytes{note}"
            )


def main() -> None:
    """Take them all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("directory", type=Path)
    directory = parser.parse_args().directory.resolve()
    directory.mkdir(parents=True, exist_ok=True)
    path = find()
    if path is None:
        sys.exit("no browser is here: apt-get install chromium, or set HEAPWITNESS_BROWSER.")
    with tempfile.TemporaryDirectory() as made, Browser(path) as browser:
        place = Path(made)
        take(browser, page_of(place, "records", "--", "build/records"), "report", directory, "report")
        python = page_of(place, "python", "--map", "ctypes_overflow.py")
        take(browser, python, "map", directory, "map")
        take(browser, python, "bytes", directory, "bytes")


if __name__ == "__main__":
    main()
