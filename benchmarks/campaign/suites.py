"""Programs' own test suites, from the sources of their Debian packages: sqlite3, perl and tcl.

sqlite3's tests need a build of its own (testfixture), and perl's a perl that was not installed; both are made once.
"""

import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from task import Skip, Task

sys.path.append(str(Path(__file__).parents[1]))
import debian  # in the directory above

# Files of sqlite3's tests by a common beginning of their names: what they are about, and how long they take, differs.
SQLITE = {
    "select, join, where": "select* join* where* orderby* distinct* subquery* view*",
    "insert, update, delete, trigger": "insert* update* delete* trigger* fkey* upsert* returning*",
    "alter, index, analyze": "alter* index* analyze* reindex* vacuum* autovac*",
    "expressions, functions, types": "expr* func* cast* types* date* like* collate* between* in*",
    "json, window, with": "json* window* with* cte*",
    "full text search": "fts3* fts4*",
    "journal, wal, pager": "wal* pager* journal* savepoint* crash* backup* incr* memjournal*",
    "memory that runs out": "malloc* mallocA* memsubsys* softheap* zeroblob*",
    "damaged files": "corrupt* fuzz*",
    "blobs, pragmas, shared caches": "blob* pragma* shared* temp* lock* auth* capi* thread*",
}
PERL = ("base", "cmd", "comp", "io", "re", "opbasic", "op", "uni", "mro", "class", "lib")
# Of tcl's tests these are about the network, other programs or the clock.
TCL_WITHOUT = "http*.test socket*.test exec.test clock.test winPipe.test winTime.test event.test async.test"


def tasks() -> Iterator[Task]:
    """A task for each part of a suite."""
    for name, patterns in SQLITE.items():
        yield Task(
            "sqlite3's tests", name, ("/bin/sh", "-ec", _SQLITE, "sh", patterns), _sqlite, _sqlite_words, timeout=1800
        )
    for name in PERL:
        command = ("/bin/sh", "-ec", f"cd built/t && ./perl TEST {name}/*.t")
        yield Task("perl's tests", name, command, _perl, _perl_words, timeout=1800)
    command = ("/bin/sh", "-ec", f"tclsh built/tests/all.tcl -tmpdir . -notfile '{TCL_WITHOUT}'")
    yield Task("tcl's tests", "all but network and clock", command, _tcl, _tcl_words, timeout=1800)


_SQLITE = """
fixture=$PWD/built/b/testfixture
for pattern in $1; do
    for file in built/test/$pattern.test; do
        [ -e "$file" ] || continue
        "$fixture" "$file" >output 2>&1 || true
        grep -E 'errors out of|^! ' output || tail -n 3 output
        rm -rf test.db* testdir
    done
done
"""


def _built(package: str, build: Callable[[Path], None]) -> Callable[[Path], None]:
    """Prepares a task that finds the source of a package, built, as `built`."""

    def prepare(work: Path) -> None:
        try:
            source = debian.source(package)
            build(source)
        except debian.Unavailable as error:
            raise Skip(str(error)) from error
        (work / "built").symlink_to(source)

    return prepare


def _build_sqlite(source: Path) -> None:
    if not (source / "b" / "testfixture").exists():
        (source / "b").mkdir(exist_ok=True)
        debian.run("../configure", "--enable-all", directory=source / "b")
        debian.run("make", "testfixture", "sqlite3.c", "shell.c", directory=source / "b")


def _build_perl(source: Path) -> None:
    if not (source / "t" / "perl").exists():
        debian.run("sh", "Configure", "-des", "-Dusethreads", "-Dprefix=/nowhere", directory=source)
        debian.run("make", "test_prep", directory=source)


def _need_tcl(source: Path) -> None:
    if shutil.which("tclsh") is None:
        raise Skip("tclsh is not installed")


_sqlite = _built("sqlite3", _build_sqlite)
_perl = _built("perl", _build_perl)
_tcl = _built("tcl8.6", _need_tcl)


def _sqlite_words(output: str) -> str:
    """How many errors each file had, and which. How many tests there were depends on malloc_usable_size: those that
    let memory run out do so once for each allocation."""
    return "\n".join(
        line.split(" out of ")[0] for line in output.splitlines() if "errors out of" in line or line[:2] == "! "
    )


def _perl_words(output: str) -> str:
    """Which tests passed; the rest is times and what they say on the way."""
    return "\n".join(line for line in output.splitlines() if line.startswith("t/") or "FAILED" in line)


def _tcl_words(output: str) -> str:
    """Which tests failed, and how many there were."""
    return "\n".join(line for line in output.splitlines() if line.endswith("FAILED") or "\tTotal\t" in line)
