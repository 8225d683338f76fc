"""The report as one HTML file: no network, no script of others, light and dark, readable without scripts.

`stacks`, `picture`, `figures` and `view` turn a report into words and numbers; `templates` turn these into markup and
escape all of them; `assets` are put in whole, and the page lets nothing else run.
"""

import base64
import hashlib
import json
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from heapwitness import __version__
from heapwitness.findings.model import Report
from heapwitness.report.html.figures import MapView, map_view
from heapwitness.report.html.stacks import Sources
from heapwitness.report.html.view import view

if TYPE_CHECKING:
    import jinja2

_HERE = Path(__file__).parent
_POLICY = (
    "default-src 'none'; base-uri 'none'; form-action 'none'; img-src data:; style-src {style}; script-src {script}"
)


def encode(report: Report) -> bytes:
    """The page, in ASCII: what is beyond it are character references and escapes."""
    style, script = _asset("page.css"), _asset("page.js") + (_asset("map.js") if report.maps else "")
    page = (
        _environment()
        .get_template("page.html.j2")
        .render(
            page=view(report, Sources()),
            maps=tuple(map_view(number, one, report) for number, one in enumerate(report.maps, 1)),
            version=__version__,
            style=style,
            script=script,
            policy=_POLICY.format(style=_digest(style), script=_digest(script)),
        )
    )
    return page.encode("ascii", "xmlcharrefreplace")


@cache
def _environment() -> "jinja2.Environment":
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_HERE / "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["data"] = _data
    return environment


def _data(value: Any) -> Any:
    """A value as JSON in a script element that nothing runs: no character of it can end the element."""
    from markupsafe import Markup

    text = json.dumps(value, separators=(",", ":"))
    return Markup(text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026"))


@cache
def _asset(name: str) -> str:
    return (_HERE / "assets" / name).read_text(encoding="ascii")


def _digest(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


__all__ = ["MapView", "encode"]
