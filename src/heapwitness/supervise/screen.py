"""Where a report's text goes. What cannot be written there is never an accident of the run."""

import sys
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self, TextIO

from heapwitness.errors import HeapwitnessError

if TYPE_CHECKING:
    from rich.console import Console

    from heapwitness.report.advice import Advice
    from heapwitness.report.model import Crash, Finding, Report

PREFIX = "heapwitness: "


class Screen:
    """Shows findings as they come, sentences of our own, and the sum at the end; a context manager.

    A stream that can not be written any more is written no more. A `quiet` one says nothing of crashes before it has
    shown a finding. `advice` gives what findings say of how to see more.
    """

    def __init__(
        self, stream: TextIO | None, advice: "Callable[[], Advice]", *, owned: bool = False, quiet: bool = False
    ) -> None:
        self._stream = stream
        self._advice = advice
        self._owned = owned
        self._quiet = quiet
        self._console: Console | None = None

    @classmethod
    def to(cls, output: Path | None, advice: "Callable[[], Advice]", *, quiet: bool = False) -> Self:
        """A screen on a file, or on stderr for None.

        Raises:
            HeapwitnessError: the file cannot be written.
        """
        if output is None:
            return cls(sys.stderr, advice, quiet=quiet)
        try:
            stream = open(output, "w", encoding="utf-8", errors="backslashreplace")  # noqa: SIM115
        except OSError as error:
            raise HeapwitnessError(f"{output} cannot be written: {error.strerror}.") from error
        return cls(stream, advice, owned=True, quiet=quiet)

    def finding(self, finding: "Finding") -> None:
        """Show one finding in full."""
        self._quiet = False
        self._render(finding)

    def crash(self, crash: "Crash") -> None:
        """Show what is known of a crash."""
        if not self._quiet:
            self._render(crash)

    def end(self, report: "Report") -> None:
        """Show what only the end tells: warnings, how often each finding was seen, and the sum of all."""
        from heapwitness.report.terminal import summed_up

        for warning in report.warnings:
            self.sentence(warning)
        if any(finding.count > 1 for finding in report.findings):
            import msgspec

            self._render(msgspec.structs.replace(report, warnings=()))
        else:
            self.sentence(summed_up(report.summary))

    def sentence(self, text: str) -> None:
        """Show one line of our own."""
        from heapwitness.report.text import harmless

        try:
            if self._stream is not None:
                self._stream.write(f"{PREFIX}{harmless(text)}\n")
                self._stream.flush()
        except (OSError, ValueError):
            self._stream = None

    def _render(self, what: "Finding | Crash | Report") -> None:
        if self._stream is None:
            return
        from rich.console import Console

        from heapwitness.report import terminal

        if self._console is None:
            self._console = Console(file=self._stream)
        try:
            terminal.render(what, self._console, advice=self._advice())
            self._stream.flush()
        except (OSError, ValueError):
            self._stream = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._owned and self._stream is not None:
            self._stream.close()
