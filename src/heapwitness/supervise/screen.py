"""Where a report's text goes. What cannot be written there is never an accident of the run."""

import contextlib
import os
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self, TextIO

from heapwitness.errors import HeapwitnessError
from heapwitness.named import writing
from heapwitness.outputs import TextFormat

if TYPE_CHECKING:
    from rich.console import Console

    from heapwitness.findings.model import Crash, Finding, Report, Summary
    from heapwitness.findings.totals import Totals
    from heapwitness.report.advice import Advice

PREFIX = "heapwitness: "


class Screen:
    """Shows findings as they come, sentences of our own, and the sum at the end; a context manager.

    A stream that can not be written any more is written no more, and what was to go to a file goes to stderr instead.
    A `quiet` one says nothing of crashes before it has shown a finding. `advice` gives what findings say of how to
    see more. `format`: see `outputs.TextFormat`.
    """

    def __init__(
        self,
        stream: TextIO | None,
        advice: "Callable[[], Advice]",
        *,
        owned: bool = False,
        quiet: bool = False,
        format: TextFormat = "full",
    ) -> None:
        self._stream = stream
        self._advice = advice
        self._owned = owned
        self._quiet = quiet
        self._format = format
        self._console: Console | None = None
        self._name = ""
        self._failure = ""

    @classmethod
    def to(
        cls,
        output: Path | None,
        advice: "Callable[[], Advice]",
        *,
        quiet: bool = False,
        format: TextFormat = "full",
    ) -> Self:
        """A screen on a file, or on stderr for None.

        Raises:
            HeapwitnessError: the file cannot be written.
        """
        if output is None:
            return cls(sys.stderr, advice, quiet=quiet, format=format)
        try:
            file = writing(output, os.O_CREAT | os.O_TRUNC)
            stream = open(file, "w", encoding="utf-8", errors="backslashreplace")  # noqa: SIM115
        except OSError as error:
            raise HeapwitnessError(f"{output} cannot be written: {error.strerror}.") from error
        screen = cls(stream, advice, owned=True, quiet=quiet, format=format)
        screen._name = str(output)
        return screen

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
        from heapwitness.report import accepted
        from heapwitness.report.brief import runs_python

        sentences = (*report.warnings, *accepted.sentences(report))
        if not any(finding.count > 1 for finding in report.findings):
            self.sum(report.summary, sentences, python=runs_python(report))
            return
        import msgspec

        for sentence in sentences:
            self.sentence(sentence)
        self._render(msgspec.structs.replace(report, warnings=()))

    def sum(self, summary: "Summary | Totals", warnings: Iterable[str], *, python: bool = False) -> None:
        """Show warnings, and the sum of all; `python` is for who knows nothing of what a heap is made of."""
        from heapwitness.report.plain import summed_up

        for warning in warnings:
            self.sentence(warning)
        self.sentence(summed_up(summary, insides=not python or self._format == "full"))

    def sentence(self, text: str) -> None:
        """Show one line of our own."""
        from heapwitness.report.plain import harmless

        def write(stream: TextIO) -> None:
            stream.write(f"{PREFIX}{harmless(text)}\n")

        self._write(write)

    def check(self) -> None:
        """Say whether everything was shown.

        Raises:
            HeapwitnessError: something could not be written.
        """
        if self._failure:
            where = self._name or "the terminal, or what stands in its place"
            raise HeapwitnessError(f"the report could not be written to {where}: {self._failure}.")

    def _render(self, what: "Finding | Crash | Report") -> None:
        from heapwitness.findings.model import Report
        from heapwitness.report import terminal
        from heapwitness.report.console import console

        def write(stream: TextIO) -> None:
            if self._console is None:
                self._console = console(stream)
            if self._format == "short" and not isinstance(what, Report):
                terminal.short(what, self._console)
            else:
                terminal.render(what, self._console, advice=self._advice(), briefly=self._is_brief(what))

        self._write(write)

    def _is_brief(self, what: "Finding | Crash | Report") -> bool:
        from heapwitness.findings.model import Finding
        from heapwitness.report.brief import is_about_python

        if self._format != "auto" or not isinstance(what, Finding):
            return self._format == "brief"
        return is_about_python(what)

    def _write(self, write: Callable[[TextIO], None]) -> None:
        while self._stream is not None:
            try:
                write(self._stream)
                self._stream.flush()
                return
            except OSError as error:
                self._failure = self._failure or error.strerror or str(error)
                self._leave()
            except ValueError:
                if not self._stream.closed:
                    raise
                self._leave()

    def _leave(self) -> None:
        """Go on elsewhere: nothing that was found is lost because of a full disk."""
        left, self._stream, self._console = self._stream, sys.stderr if self._owned else None, None
        if self._owned and left is not None:
            with contextlib.suppress(OSError):
                left.close()
        self._owned = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._owned and self._stream is not None:
            try:
                self._stream.close()
            except OSError as error:
                self._failure = self._failure or error.strerror or str(error)
