"""A real browser without a window, driven over its DevTools protocol: Chromium, as distributions package it.

The protocol is spoken over two pipes, so nothing is needed but the browser itself: no driver of the same version, and
no package of Python's.
"""

import base64
import contextlib
import json
import os
import select
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

CANDIDATES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
PATIENCE = 60.0

KEYS = {
    "ArrowLeft": 37,
    "ArrowUp": 38,
    "ArrowRight": 39,
    "ArrowDown": 40,
    "Enter": 13,
    "Tab": 9,
    "Escape": 27,
    " ": 32,
}


def find() -> str | None:
    """The browser's path; None where there is none."""
    return os.environ.get("HEAPWITNESS_BROWSER") or next(filter(None, map(shutil.which, CANDIDATES)), None)


class BrowserError(Exception):
    """The browser said that something cannot be done, or said nothing."""


class Browser:
    """One browser with a profile of its own; a context manager."""

    def __init__(self, path: str) -> None:
        self._profile = tempfile.mkdtemp(prefix="heapwitness-browser-")
        to_browser, self._write = os.pipe()
        self._read, from_browser = os.pipe()
        self._buffer = b""
        self._number = 0
        self._events: list[dict[str, Any]] = []
        # The browser reads from descriptor 3 and writes to 4.
        wrapper = f'exec "$@" 3<&{to_browser} 4>&{from_browser}'
        self._process = subprocess.Popen(
            [
                *("bash", "-c", wrapper, "bash", path, "--headless=new", "--no-sandbox", "--remote-debugging-pipe"),
                *("--disable-gpu", "--disable-dev-shm-usage", "--no-first-run", "--disable-extensions"),
                *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
                *("--hide-scrollbars", "--force-color-profile=srgb", "--font-render-hinting=none", "--mute-audio"),
                f"--user-data-dir={self._profile}",
                "about:blank",
            ],
            pass_fds=(to_browser, from_browser),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        os.close(to_browser)
        os.close(from_browser)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        with contextlib.suppress(BrowserError, OSError):
            self.call("Browser.close")
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(10)
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        os.close(self._read)
        os.close(self._write)
        shutil.rmtree(self._profile, ignore_errors=True)

    def call(self, method: str, session: str | None = None, **parameters: Any) -> dict[str, Any]:
        """Ask, and wait for the answer; events that come meanwhile are kept."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if session is not None:
            message["sessionId"] = session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        until = time.monotonic() + PATIENCE
        while True:
            got = self._message(until)
            if got.get("id") != self._number:
                self._events.append(got)
            elif "error" in got:
                raise BrowserError(f"{method}: {got['error']['message']}")
            else:
                result: dict[str, Any] = got.get("result", {})
                return result

    def events(self, session: str, wait_for: str | None = None) -> Iterator[dict[str, Any]]:
        """The events of a page so far; with `wait_for`, wait until one of that name has come."""
        until = time.monotonic() + PATIENCE
        while wait_for is not None and not any(
            one.get("sessionId") == session and one.get("method") == wait_for for one in self._events
        ):
            self._events.append(self._message(until))
        mine = [one for one in self._events if one.get("sessionId") == session]
        self._events = [one for one in self._events if one.get("sessionId") != session]
        return iter(mine)

    def _message(self, until: float) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            left = until - time.monotonic()
            if left <= 0 or not select.select([self._read], [], [], left)[0]:
                raise BrowserError("the browser is silent")
            part = os.read(self._read, 1 << 20)
            if not part:
                raise BrowserError("the browser has ended")
            self._buffer += part
        message, _, self._buffer = self._buffer.partition(b"\0")
        decoded: dict[str, Any] = json.loads(message)
        return decoded

    def page(self, file: Path, *, width: int = 1280, height: int = 800, dark: bool = False, scale: float = 1) -> "Page":
        """Open a file."""
        return Page(self, file, width, height, dark, scale)


class Page:
    """A page of a file. `requests` has all addresses that it asked for, `complaints` what its console said."""

    def __init__(self, browser: Browser, file: Path, width: int, height: int, dark: bool, scale: float) -> None:
        self._browser = browser
        self.requests: list[str] = []
        self.complaints: list[str] = []
        target = browser.call("Target.createTarget", url="about:blank")["targetId"]
        self._target = target
        self._session = browser.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.call(f"{domain}.enable")
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])
        self.resize(width, height, scale)
        self._note()
        self.call("Page.navigate", url=file.absolute().as_uri())
        self._note("Page.loadEventFired")

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        return self._browser.call(method, self._session, **parameters)

    def resize(self, width: int, height: int, scale: float = 1) -> None:
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=scale,
            mobile=width < 600,
        )

    def run(self, script: str) -> Any:
        """What an expression is, as JSON has it; promises are waited for."""
        got = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        self._note()
        if "exceptionDetails" in got:
            raise BrowserError(got["exceptionDetails"].get("exception", {}).get("description", "an exception"))
        return got["result"].get("value")

    def click(self, selector: str, x: float = 0.5, y: float = 0.5, count: int = 1) -> None:
        """Click an element, at a share of its width and height."""
        box = self.run(
            f"(() => {{ const e = document.querySelector({json.dumps(selector)});"
            " e.scrollIntoView({block: 'center'}); const r = e.getBoundingClientRect();"
            " return [r.left, r.top, r.width, r.height]; })()"
        )
        place = {"x": box[0] + box[2] * x, "y": box[1] + box[3] * y, "button": "left", "clickCount": count}
        self.call("Input.dispatchMouseEvent", type="mousePressed", **place)
        self.call("Input.dispatchMouseEvent", type="mouseReleased", **place)
        self._note()

    def press(self, key: str, *, shift: bool = False) -> None:
        """Press and let go of a key: one of KEYS, or a character."""
        fields: dict[str, Any] = {"key": key, "modifiers": 8 if shift else 0}
        if key in KEYS:
            fields |= {"windowsVirtualKeyCode": KEYS[key], "code": key}
        if len(key) == 1:
            fields["text"] = key
        if key == "Enter":
            fields["text"] = "\r"
        self.call("Input.dispatchKeyEvent", type="keyDown", **fields)
        self.call("Input.dispatchKeyEvent", type="keyUp", **fields)
        self._note()

    def type(self, text: str) -> None:
        self.call("Input.insertText", text=text)
        self._note()

    def picture(self, *, whole: bool = False, selector: str | None = None) -> bytes:
        """The page as PNG: what is in the window, all of it, or one element."""
        clip: dict[str, Any] = {}
        if selector is not None:
            box = self.run(
                f"(() => {{ const r = document.querySelector({json.dumps(selector)}).getBoundingClientRect();"
                " return [r.left + scrollX, r.top + scrollY, r.width, r.height]; })()"
            )
            clip = {"clip": {"x": box[0], "y": box[1], "width": box[2], "height": box[3], "scale": 1}}
        got = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=whole or bool(clip), **clip)
        return base64.b64decode(got["data"])

    def close(self) -> None:
        self._browser.call("Target.closeTarget", targetId=self._target)

    def _note(self, wait_for: str | None = None) -> None:
        for event in self._browser.events(self._session, wait_for):
            parameters = event.get("params", {})
            match event.get("method"):
                case "Network.requestWillBeSent":
                    self.requests.append(parameters["request"]["url"])
                case "Runtime.consoleAPICalled":
                    self.complaints.append(str(parameters.get("args")))
                case "Runtime.exceptionThrown":
                    self.complaints.append(str(parameters["exceptionDetails"]))
                case "Log.entryAdded":
                    self.complaints.append(parameters["entry"]["text"])
