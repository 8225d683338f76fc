"""A line on a terminal that shows that long work goes on; it is gone when the work is done.

Nothing is shown where stderr is no terminal, or the work is over soon.
"""

import contextlib
import itertools
import os
import sys
import threading
import time
from collections.abc import Iterator

_PATIENCE = 1.0
_STEP = 0.2
_USUAL = 80
_SIGNS = "|/-\\"


@contextlib.contextmanager
def progress(what: str) -> Iterator[None]:
    """Show `what` is being done, and for how long, from the second second on."""
    if not _is_terminal():
        yield
        return
    done = threading.Event()
    thread = threading.Thread(target=_show, args=(what, done), daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def _is_terminal() -> bool:
    try:
        return sys.stderr is not None and sys.stderr.isatty() and os.environ.get("TERM") != "dumb"
    except ValueError:
        return False


def _show(what: str, done: threading.Event) -> None:
    from heapwitness.report.text import clean

    if done.wait(_PATIENCE):
        return
    started = time.monotonic() - _PATIENCE
    with contextlib.suppress(OSError, ValueError):
        for sign in itertools.cycle(_SIGNS):
            room = max(10, (os.get_terminal_size(sys.stderr.fileno()).columns or _USUAL) - 20)
            line = f"{sign} {clean(what)[:room]}, {time.monotonic() - started:.0f} s"
            sys.stderr.write(f"\r{line}\x1b[K")
            sys.stderr.flush()
            if done.wait(_STEP):
                break
        sys.stderr.write("\r\x1b[K")
        sys.stderr.flush()
