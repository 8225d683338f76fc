"""The options of commands that run a program or write documents, as plain data.

click makes commands of them (`documents`, `run_options`), and `straight` reads them without it: loading click takes
longer than all else that happens before a program starts.
"""

import os
import signal
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from heapwitness.supervise.options import TRAP_KINDS

_MOST_SHARES = 1 << 30
_UNUSABLE = (signal.SIGKILL, signal.SIGSTOP, signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL)


class WordKind(Protocol):
    """What the word behind an option may be."""

    def read(self, text: str) -> Any:
        """The value that a word stands for.

        Raises:
            ValueError: it stands for none; why, in words that end a sentence about it, or no words.
        """
        ...


class AnyWord(NamedTuple):
    """Any word, which is looked into later."""

    def read(self, text: str) -> str:
        """See `WordKind`."""
        return text


class OneOf(NamedTuple):
    """One of some words."""

    words: tuple[str, ...]

    def read(self, text: str) -> str:
        """See `WordKind`."""
        if text not in self.words:
            raise ValueError
        return text


class Whole(NamedTuple):
    """A whole number."""

    least: int
    most: int | None = None

    def read(self, text: str) -> int:
        """See `WordKind`."""
        number = int(text)
        if number < self.least or (self.most is not None and number > self.most):
            raise ValueError
        return number


class Real(NamedTuple):
    """Any number."""

    least: float
    most: float

    def read(self, text: str) -> float:
        """See `WordKind`."""
        number = float(text)
        if not self.least <= number <= self.most:
            raise ValueError
        return number


class FilePath(NamedTuple):
    """A file, which need not be there; "-" may be stdout. Or a directory."""

    stdout: bool = False
    directory: bool = False

    def read(self, text: str) -> Path:
        """See `WordKind`."""
        if not (self.stdout and text == "-") and os.path.exists(text):
            wrong = os.path.isfile if self.directory else os.path.isdir
            if wrong(text) or not os.access(text, os.R_OK):
                raise ValueError
        return Path(text)


class SignalName(NamedTuple):
    """A signal by name, with or without SIG, or by number, that a program can catch."""

    def read(self, text: str) -> signal.Signals:
        """See `WordKind`."""
        name = text.upper()
        try:
            found = signal.Signals(int(name)) if name.isdecimal() else signal.Signals[f"SIG{name.removeprefix('SIG')}"]
        except (ValueError, KeyError):
            raise ValueError(f"{text!r} is no signal") from None
        if found in _UNUSABLE:
            raise ValueError(f"{found.name} cannot be used to ask for something")
        return found


class OneIn(NamedTuple):
    """One in so many, written as 1/N."""

    def read(self, text: str) -> int:
        """See `WordKind`."""
        one, slash, number = text.partition("/")
        if not slash or one.strip() != "1" or not number.strip().isdecimal() or not 0 < int(number) <= _MOST_SHARES:
            raise ValueError(f"{text!r} is no share; 1/1000 is one block in a thousand")
        return int(number)


class Option(NamedTuple):
    """An option by its name, as in `--json`; one without a `reading` is a flag.

    A `metavar` stands for its word in what is shown of it. `many`: it may stand several times, and has a tuple.
    """

    name: str
    help: str
    reading: WordKind | None = None
    default: Any = None
    metavar: str | None = None
    many: bool = False

    @property
    def opposite(self) -> str:
        """What turns a flag off again, which other settings may have turned on."""
        bare = self.name.removeprefix("--")
        return f"--{bare.removeprefix('no-')}" if bare.startswith("no-") else f"--no-{bare}"

    @property
    def parameter(self) -> str:
        """What its value is called in a program."""
        return self.name.removeprefix("--").replace("-", "_")

    @property
    def initial(self) -> Any:
        """Its value where it does not stand."""
        if self.many:
            return ()
        return False if self.reading is None else self.default


FILE = FilePath(stdout=True)
_PLAIN_FILE = FilePath()

FORMAT = Option("--format", "Show each finding in full, or in one line.", OneOf(("short", "full")), "full")

DOCUMENTS = (
    Option("--html", "Write the report as one HTML page.", FILE, metavar="FILE"),
    Option("--sarif", "Write the report as SARIF 2.1.0, for forges and editors.", FILE, metavar="FILE"),
    Option("--junit", "Write the report as JUnit XML.", FILE, metavar="FILE"),
    Option(
        "--annotations",
        "Print a line for each finding that a CI shows at the source line; by itself where the CI is known.",
        OneOf(("github", "azure", "plain", "none")),
    ),
    Option(
        "--source-root",
        "The repository: paths in SARIF and annotations are relative to it. By itself the CI's checkout, or here.",
        FilePath(directory=True),
        metavar="DIR",
    ),
)

ACCEPTING = (
    Option(
        "--suppressions",
        "Count the findings that a line of this file speaks of, and do not fail for them. Repeatable.",
        _PLAIN_FILE,
        metavar="FILE",
        many=True,
    ),
    Option(
        "--baseline",
        "Fail for findings only that are not in this JSON report of an earlier run.",
        _PLAIN_FILE,
        metavar="FILE",
    ),
)
"""What is known already: counted, and neither shown in full nor a failure."""

QUIET = Option("--quiet", "Say nothing when nothing was found.")

RUNNING = (
    Option(
        "--on-error",
        "After a finding: repair and go on; die by SIGABRT; or wait for a debugger.",
        OneOf(("continue", "abort", "stop")),
        "continue",
    ),
    Option(
        "--stacks",
        "How much of the call stack is kept for each block.",
        OneOf(("caller", "fast", "full")),
        "fast",
    ),
    Option(
        "--check-every",
        "Check the next 256 KiB of the heap every N allocations and releases of a thread; 0 for never.",
        Whole(0),
        0,
        metavar="N",
    ),
    Option("--check-signal", "Check the whole heap when the program gets this signal.", SignalName()),
    Option(
        "--trap-sample",
        "Let one block in N, of any site, end where nothing may be touched; 1/1: as many as can be.",
        OneIn(),
        0,
    ),
    Option(
        "--trap-kind",
        "Where trapped blocks lie: their end at a guard, their start, or their very last byte; watch lets the "
        "processor watch bytes beside some of them.",
        OneOf(("auto", *TRAP_KINDS)),
        "auto",
    ),
    Option(
        "--wait",
        "How long a thread that found something waits for heapwitness before it goes on by itself.",
        Real(0.1, 3600),
        10.0,
        metavar="SECONDS",
    ),
    Option("--no-python-lines", "Keep no Python lines of blocks: Python programs run faster."),
    Option("--json", "Write the report to a file, as JSON; - for stdout.", FILE, metavar="FILE"),
    *DOCUMENTS,
    Option("--map", "Add maps of the heap to the report: at the first finding, at a check signal, at exit."),
    FORMAT,
    Option("--output", "Write the report's text to a file instead of stderr.", _PLAIN_FILE, metavar="FILE"),
    Option("--log", "Where findings are recorded that heapwitness is not there to hear.", _PLAIN_FILE, metavar="FILE"),
    Option(
        "--error-exitcode",
        "Exit status when there was a finding; 0 for the program's own.",
        Whole(0, 255),
        99,
        metavar="N",
    ),
    *ACCEPTING,
    QUIET,
)
"""What all commands have that run a program, but for `--poison`, which is not the same for each."""

RUN = (
    *RUNNING,
    Option("--poison", "Hold released blocks back and look for writes anywhere in them."),
    Option(
        "--trap",
        "Let the blocks of an allocation site end where nothing may be touched; `hunt` finds and names sites.",
        AnyWord(),
        metavar="SITE",
        many=True,
    ),
    Option(
        "--traps",
        "The same of the sites of a file: one on a line, or the report of a run, as JSON.",
        _PLAIN_FILE,
        metavar="FILE",
    ),
    Option("--trap-found", "Trap what a site allocates after damage of its blocks was found."),
)
"""All options of `run`."""
