"""Links to files in a terminal's text (OSC 8), where the terminal is known to show them as such."""

import os
import socket
from collections.abc import Mapping
from functools import cache
from urllib.parse import quote

from heapwitness.findings.model import Frame

_PROGRAMS = ("iTerm.app", "WezTerm", "vscode", "ghostty", "Hyper", "rio", "Tabby", "WarpTerminal")
_TERMS = ("kitty", "alacritty", "foot", "ghostty", "wezterm", "contour")
_MARKS = ("KONSOLE_VERSION", "WT_SESSION", "KITTY_WINDOW_ID", "DOMTERM")
_LEAST_VTE = 5000


def are_known(environment: Mapping[str, str]) -> bool:
    """Whether the terminal shows links; FORCE_HYPERLINK (0 or 1) knows better."""
    forced = environment.get("FORCE_HYPERLINK", "")
    if forced:
        return forced != "0"
    vte = environment.get("VTE_VERSION", "")
    return (
        environment.get("TERM_PROGRAM") in _PROGRAMS
        or any(name in environment.get("TERM", "") for name in _TERMS)
        or any(environment.get(name) for name in _MARKS)
        or (vte.isdecimal() and int(vte) >= _LEAST_VTE)
    )


def link(frame: Frame) -> str:
    """The address of a frame's file on this machine; "" where it has no whole path."""
    if not frame.file or not os.path.isabs(frame.file):
        return ""
    return f"file://{_host()}{quote(os.path.normpath(frame.file).encode('utf-8', 'surrogatepass'))}"


@cache
def _host() -> str:
    return quote(socket.gethostname())
