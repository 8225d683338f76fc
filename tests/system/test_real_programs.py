"""Programs that people run: the same output with the heap as without, and no finding."""

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from programs.harness import Outcome, run_command

LINES = 4000


def need(name: str) -> str:
    path = shutil.which(name)
    if path is None:
        pytest.skip(f"{name} is not installed")
    return path


@pytest.fixture
def same(tmp_path: Path) -> "Same":
    return Same(tmp_path)


class Same:
    """Runs a command without and with the heap in a directory of the test's own, and compares."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def __call__(self, *command: str, made: tuple[str, ...] = ()) -> Outcome:
        """Run and compare standard output and the files `made`, which the command writes."""
        plain = self._plain(command)
        files = {name: self._take(name) for name in made}
        outcome = run_command(*command, options=("--output", str(self.directory / "report.txt")), cwd=self.directory)
        assert outcome.findings == []
        assert outcome.status == plain.returncode == 0, outcome.stderr
        assert outcome.stdout == plain.stdout
        assert {name: self._take(name) for name in made} == files
        return outcome

    def _plain(self, command: tuple[str, ...]) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command,
            cwd=self.directory,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
            env=os.environ | {"PYTHONMALLOC": "malloc"},
        )

    def _take(self, name: str) -> bytes:
        path = self.directory / name
        content = path.read_bytes()
        path.unlink()
        return content


@pytest.mark.parametrize(
    "modules",
    [
        ("test_json", "test_dict", "test_list", "test_set"),
        ("test_struct", "test_array", "test_bytes"),
        ("test_zlib", "test_bz2", "test_sqlite3"),
        ("test_thread", "test_queue", "test_ctypes"),
    ],
)
def test_pythons_own_tests_pass(modules: tuple[str, ...], tmp_path: Path) -> None:
    if importlib.util.find_spec("test.regrtest") is None or importlib.util.find_spec("test.test_json") is None:
        pytest.skip("this Python comes without its tests")
    command = (sys.executable, "-m", "test", "--tempdir", str(tmp_path), *modules)
    outcome = run_command(*command, options=("--output", str(tmp_path / "report.txt")), cwd=tmp_path, timeout=280)
    assert outcome.findings == []
    assert outcome.status == 0, outcome.stdout[-2000:]
    assert "SUCCESS" in outcome.stdout


def test_sqlite3_builds_and_queries_a_database(same: Same) -> None:
    script = same.directory / "build.sql"
    script.write_text(
        "CREATE TABLE t(id INTEGER PRIMARY KEY, name TEXT, kind INTEGER);\n"
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<50000)\n"
        "INSERT INTO t SELECT i, 'name ' || (i * 7919 % 10007), i % 97 FROM n;\n"
        "CREATE INDEX by_name ON t(name);\n"
        "UPDATE t SET name = name || kind WHERE id % 3 = 0; DELETE FROM t WHERE id % 11 = 0;\n"
        "PRAGMA integrity_check; VACUUM;\n"
        "SELECT kind, count(*), max(name), length(group_concat(name)) FROM t GROUP BY kind ORDER BY 2, 1;\n"
    )
    outcome = same(need("sqlite3"), "base.db", f".read {script}", made=("base.db",))
    assert outcome.stdout.startswith("ok\n")


def test_pythons_sqlite3_builds_and_queries_a_database(same: Same) -> None:
    script = same.directory / "build.py"
    script.write_text(
        "import sqlite3\n"
        "base = sqlite3.connect(':memory:')\n"
        "base.execute('CREATE TABLE t(a INTEGER, b TEXT)')\n"
        "base.executemany('INSERT INTO t VALUES (?, ?)', ((i, str(i) * (i % 50)) for i in range(20000)))\n"
        "base.create_function('twice', 1, lambda text: text + text)\n"
        "print(base.execute('SELECT count(*), sum(length(twice(b))) FROM t').fetchall())\n"
    )
    same(sys.executable, str(script))


def test_gcc_compiles_a_large_file_to_the_same_object(same: Same) -> None:
    source = same.directory / "large.c"
    source.write_text(
        "".join(
            f"int f{i}(int *a, int n) {{ int s = {i}; for (int k = 0; k < n; k++)"
            f" s = a[k] % {i % 7 + 2} ? s + a[k] : s ^ k; return s; }}\n"
            for i in range(300)
        )
    )
    same(need("gcc"), "-O2", "-g", "-c", "large.c", "-o", "large.o", made=("large.o",))


def test_gxx_compiles_and_links_a_program_that_runs(same: Same) -> None:
    source = same.directory / "words.cpp"
    source.write_text(
        "#include <algorithm>\n#include <iostream>\n#include <map>\n#include <sstream>\n#include <string>\n"
        "int main() { std::map<std::string, int> seen; for (int i = 0; i < 30000; i++) {"
        " std::ostringstream out; out << i % 1001; seen[out.str()]++; }\n"
        "for (auto &[word, count] : seen) std::cout << word << ' ' << count << '\\n'; }\n"
    )
    same(need("g++"), "-O1", "words.cpp", "-o", "words")
    same("./words")


@pytest.mark.parametrize(
    "script",
    [
        'my %h; push @{$h{$_ % 1009}}, "v$_" for 1 .. 60000;'
        " print join(',', map { scalar @{$h{$_}} } sort { $a <=> $b } keys %h), \"\\n\";",
        "my $t = 'word ' x 20000; my $n = () = $t =~ /\\bw(or)d\\b/g; $t =~ s/(o)(r)/$2$1/g;"
        " print $n, substr($t, 0, 30);",
        "use List::Util qw(sum); my @a = map { { k => $_, v => [1 .. $_ % 20] } } 1 .. 20000;"
        " print sum(map { scalar @{$_->{v}} } @a), \"\\n\"; my $s = sprintf('%s', 'x' x 1e6); print length $s;",
    ],
)
def test_perl_gives_the_same_output(script: str, same: Same) -> None:
    same(need("perl"), "-e", script)


def test_git_clones_checks_and_repacks_a_repository(same: Same) -> None:
    git = need("git")
    origin = same.directory / "origin"
    stream = "".join(
        f"commit refs/heads/main\ncommitter A <a@example.org> {1700000000 + i} +0000\ndata 2\nc\n"
        f"M 100644 inline file{i % 9}.txt\ndata <<END\n{'line ' * (i % 40)}{i}\n{i * i}\nEND\n\n"
        for i in range(300)
    )
    subprocess.run([git, "init", "-q", "-b", "main", str(origin)], check=True, timeout=60)
    subprocess.run([git, "fast-import", "--quiet"], input=stream, text=True, check=True, cwd=origin, timeout=60)
    options = ("--output", str(same.directory / "report.txt"))

    clone = run_command(git, "clone", "-q", "--no-local", "origin", "copy", options=options, cwd=same.directory)
    assert (clone.status, clone.findings) == (0, [])
    same(git, "-C", "copy", "log", "-p", "--stat", "main")
    same(git, "-C", "copy", "fsck", "--full", "--strict")
    same(git, "-C", "copy", "repack", "-adf", "-q")
    same(git, "-C", "copy", "blame", "-w", "-M", "main", "--", "file3.txt")


@pytest.mark.parametrize(
    "command",
    [
        ("bash", "-c", "declare -A a; for i in {1..5000}; do a[k$((i % 97))]+=$i; done; echo ${#a[@]} ${a[k7]}"),
        ("awk", "BEGIN { for (i = 0; i < 90000; i++) a[i % 1013] = a[i % 1013] i; print length(a[5]), length(a) }"),
        ("sort", "--parallel=2", "-k2", "lines.txt"),
        ("sed", "-E", "s/([0-9])([a-z]?)/<\\2\\1>/g", "lines.txt"),
        ("tar", "-czf", os.devnull, "lines.txt"),
        ("xz", "-T2", "-k", "-f", "lines.txt"),
        ("jq", "-n", '[range(20000) | {a: ., b: "v\\(.)"}] | group_by(.a % 97) | map(length)'),
        ("tclsh", "work.tcl"),
        ("make", "-s", "-f", "work.mk"),
        (
            "node",
            "-e",
            "let m = new Map(); for (let i = 0; i < 1e5; i++) m.set('k' + i % 997, [i]); console.log(m.size)",
        ),
    ],
    ids=lambda command: command[0],
)
def test_a_tool_gives_the_same_output(command: tuple[str, ...], same: Same) -> None:
    lines = "".join(f"{i} {i * 7919 % 10007} text{i % 13}\n" for i in range(LINES))
    (same.directory / "lines.txt").write_text(lines)
    (same.directory / "work.tcl").write_text(
        "for {set i 0} {$i < 30000} {incr i} { dict lappend d [expr {$i % 101}] v$i }\n"
        "puts [string length $d]; puts [llength [lsort [split [regsub -all v $d <>] <]]]\n"
    )
    (same.directory / "work.mk").write_text(
        "N := $(shell seq 1 2000)\nall: $(addprefix t,$(N))\n\t@echo $(words $^)\nt%: ; @:\n"
    )
    need(command[0])
    same(*command)
