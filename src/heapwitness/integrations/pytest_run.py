"""Runs pytest under the engine, and shows what no test has shown; its arguments are pytest's command."""

import contextlib
import os
import sys
import tempfile
from pathlib import Path

from heapwitness.errors import HeapwitnessError
from heapwitness.integrations.pytest_plugin import DIRECTORY, REPORT, RUNNING, SHOWN

FAILED = 1
"""As pytest's own: some tests failed."""

_SIGNALLED = 128


def main(command: list[str]) -> int:
    """Run it; the exit status is pytest's own, or FAILED with findings."""
    from heapwitness.supervise import Options, run

    with tempfile.TemporaryDirectory(prefix="heapwitness-pytest-", ignore_cleanup_errors=True) as directory:
        place = Path(directory)
        os.environ[DIRECTORY] = directory
        try:
            status = run(Options(command=tuple(command), output=place / REPORT, error_exitcode=FAILED))
        except HeapwitnessError as error:
            print(f"heapwitness: {error}", file=sys.stderr)
            return 2
        rest = _text(place / REPORT)[_number(place / SHOWN) :].decode("utf-8", "replace")
        running = _text(place / RUNNING).decode("utf-8", "replace")
        sys.stderr.write(rest)
        if running:
            print(f"heapwitness: pytest ended in the middle of {running}", file=sys.stderr)
        return status


def _text(file: Path) -> bytes:
    with contextlib.suppress(OSError):
        return file.read_bytes()
    return b""


def _number(file: Path) -> int:
    digits = _text(file)
    return int(digits) if digits.isdigit() else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
