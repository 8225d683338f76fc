"""The real programs: each prepares its input once, into a directory that is removed afterwards."""

import json
import os
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import debian
import texts
from kernels import ADDRESS_SANITIZER, compile_source, sanitized
from measure import Row
from tools import tool

HERE = Path(__file__).parent
# Each measured program makes its own arena; a fixed seed gives the same input each time.
SEED = 20240229


def sqlite(work: Path, scale: int) -> Row:
    """Builds a table with two indexes in memory, and queries it."""
    script = work / "sqlite.sql"
    rows = 50_000 * scale
    script.write_text(
        "CREATE TABLE item(id INTEGER PRIMARY KEY, name TEXT, kind INTEGER, price REAL);\n"
        f"WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<{rows})\n"
        "INSERT INTO item SELECT i, 'item ' || (i * 7919 % 100003), i % 97, i * 0.37 FROM n;\n"
        "CREATE INDEX by_name ON item(name); CREATE INDEX by_kind ON item(kind, price);\n"
        "SELECT kind, count(*), sum(price), max(name) FROM item GROUP BY kind ORDER BY 3 DESC LIMIT 5;\n"
        "SELECT count(*) FROM item a JOIN item b ON a.name = b.name WHERE a.kind < b.kind;\n"
        "SELECT substr(group_concat(name), 1, 40) FROM item WHERE name LIKE '%99%';\n"
    )
    words = (":memory:", f".read {script}")
    return Row("sqlite3", (tool("sqlite3"), *words), builds=_sqlite_sanitized(words))


def _sqlite_sanitized(words: tuple[str, ...]) -> dict[str, Callable[[], tuple[str, ...]]]:
    """AddressSanitizer's build, from Debian's source where the campaign has fetched and configured that."""
    made = next(debian.SOURCES.glob("sqlite3-*/b/sqlite3.c"), None)
    if made is None:
        return {}
    program = made.with_name("sqlite3-asan")  # a minute's work, kept
    flags = ("-O2", *ADDRESS_SANITIZER, "-DSQLITE_THREADSAFE=1", "-DSQLITE_ENABLE_MATH_FUNCTIONS")

    def build() -> tuple[str, ...]:
        if not program.exists():
            sources = (str(made), str(made.with_name("shell.c")))
            debian.run("gcc", *flags, *sources, "-o", str(program), "-lm", "-lpthread", "-ldl", directory=made.parent)
        return (str(program), *words)

    return {"asan": build}


def gcc(work: Path, scale: int) -> Row:
    """Compiles a C file of many functions, with optimisation."""
    source = work / "large.c"
    functions = "\n".join(
        f"int f{i}(int *a, int n) {{ int s = {i}; for (int k = 0; k < n; k++) {{"
        f" if (a[k] % {i % 7 + 2}) s += a[k] * {i % 13 + 1}; else s ^= g(a[k] + {i}, s); }} return s; }}"
        for i in range(40 * scale)
    )
    source.write_text(f"static int g(int x, int y) {{ return x * 31 + y; }}\n{functions}\n")
    return Row("gcc -O2", (tool("gcc"), "-O2", "-c", "-o", os.devnull, str(source)))


def gxx(work: Path, scale: int) -> Row:
    """Compiles a C++ file that makes heavy use of templates."""
    source = work / "large.cpp"
    kinds = "".join(
        f"struct T{i} {{ int v; bool operator<(T{i} o) const {{ return v < o.v; }} }};\n"
        f'int use{i}() {{ std::map<T{i}, std::vector<std::string>> m; m[T{i}{{1}}].push_back("x");'
        f" return static_cast<int>(m.size()); }}\n"
        for i in range(4 * scale)
    )
    source.write_text(f"#include <map>\n#include <string>\n#include <vector>\n{kinds}")
    return Row("g++ -O1", (tool("g++"), "-O1", "-c", "-o", os.devnull, str(source)))


def git(work: Path, scale: int) -> Row:
    """Repacks a repository of generated history, from scratch."""
    program = tool("git")
    repository = work / "repository"
    repository.mkdir()
    stream = work / "history"
    generator = random.Random(SEED)
    lines = [f"line {i} {generator.random()}" for i in range(400)]
    with stream.open("w") as out:
        for commit in range(400 * scale):
            lines[generator.randrange(len(lines))] = f"changed in {commit} {generator.random()}"
            text = "\n".join(lines)
            out.write(
                f"commit refs/heads/main\ncommitter A <a@example.org> {1700000000 + commit} +0000\n"
                f"data 1\nc\nM 100644 inline file{commit % 7}.txt\ndata {len(text)}\n{text}\n"
            )
    quiet = {"cwd": repository, "check": True, "timeout": 120, "capture_output": True}
    subprocess.run([program, "init", "-q"], **quiet)  # type: ignore[call-overload]
    subprocess.run([program, "fast-import", "--quiet"], stdin=stream.open(), **quiet)  # type: ignore[call-overload]
    command = (program, "-c", "pack.threads=1", "repack", "-adfq", "--depth=50", "--window=20")
    return Row("git repack", command, directory=repository)


def perl(work: Path, scale: int) -> Row:
    """Counts words in hashes of arrays, sorts and joins them."""
    script = work / "words.pl"
    script.write_text(
        "my (%h, $x); $x = 7;\n"
        f"for my $i (1 .. {60_000 * scale}) {{ $x = ($x * 1103515245 + 12345) % 2147483648;"
        ' my $w = "w" . ($x % 20011); push @{$h{$w}}, "$i:$w"; }\n'
        "my @s = sort { @{$h{$b}} <=> @{$h{$a}} || $a cmp $b } keys %h;\n"
        "my $t = join ',', map { my $k = $_; map { s/(\\d+)/<$1>/gr } @{$h{$k}} } @s;\n"
        "my @p = split /,/, $t; print scalar(@p), ' ', length($t), \"\\n\";\n"
    )
    return Row("perl", (tool("perl"), str(script)))


def python(work: Path, scale: int) -> Row:
    """Parses and writes JSON, builds dictionaries, matches patterns; every object from malloc."""
    script = work / "objects.py"
    script.write_text(
        "import json, re, collections\n"
        f"n = {6_000 * scale}\n"
        "rows = [{'id': i, 'name': f'user {i*7919%10007}', 'tags': [str(i % k) for k in range(1, 12)]}"
        " for i in range(n)]\n"
        "text = json.dumps(rows)\n"
        "again = json.loads(text)\n"
        "by = collections.defaultdict(list)\n"
        "for row in again:\n"
        "    for tag in row['tags']:\n"
        "        by[tag].append((row['name'], row['id']))\n"
        "words = collections.Counter(re.findall(r'[a-z]+ \\d+', text))\n"
        "print(len(by), len(words), sum(len(sorted(each)) for each in by.values()))\n"
    )
    return Row("python", (sys.executable, str(script)), environment={"PYTHONMALLOC": "malloc"})


def jq(work: Path, scale: int) -> Row:
    """Groups and reshapes a JSON document."""
    document = work / "document.json"
    generator = random.Random(SEED)
    rows = [
        {"user": f"u{generator.randrange(500)}", "n": i, "tags": [f"t{generator.randrange(40)}" for _ in range(5)]}
        for i in range(6_000 * scale)
    ]
    document.write_text(json.dumps(rows))
    program = "group_by(.user) | map({user: .[0].user, n: (map(.n) | add), tags: (map(.tags[]) | unique)})"
    return Row("jq", (tool("jq"), program, str(document)))


def redis(work: Path, scale: int) -> Row:
    """A server with a client on the loopback; both under the allocator, the server saves at its end."""
    script = work / "redis.sh"
    server, client, cli = tool("redis-server"), tool("redis-benchmark"), tool("redis-cli")
    script.write_text(
        "set -e\n"
        f"cd {work}\nrm -f dump.rdb redis.sock\n"
        f"{server} --port 0 --unixsocket {work}/redis.sock --save 3600 1 --daemonize no >/dev/null & server=$!\n"
        f"until {cli} -s {work}/redis.sock ping >/dev/null 2>&1; do sleep 0.02; done\n"
        f"{client} -s {work}/redis.sock -q -n {5_000 * scale} -r 100000 -d 100 -P 16"
        " -t set,get,lpush,lrange_100,hset,zadd,mset\n"
        f"{cli} -s {work}/redis.sock shutdown save || true\n"
        "wait $server\n"
    )
    return Row("redis", ("/bin/sh", str(script)))


def containers(work: Path, scale: int) -> Row:
    """A C++ program that uses the standard library's containers, in one thread."""
    tool("g++")
    return _containers("C++ containers", work, "1", str(9 * scale))


def containers_threads(work: Path, scale: int) -> Row:
    """The same in eight threads."""
    tool("g++")
    return _containers("C++ containers, 8 threads", work, "8", str(scale))


def _containers(name: str, work: Path, *words: str) -> Row:
    program = compile_source("containers", work)
    return Row(name, (str(program), *words), builds={"asan": sanitized("containers", work, *words)})


PROGRAMS: dict[str, Callable[[Path, int], Row]] = {
    "sqlite3": sqlite,
    "gcc": gcc,
    "g++": gxx,
    "git": git,
    "perl": perl,
    "python": python,
    "jq": jq,
    "redis": redis,
    "c++": containers,
    "c++8": containers_threads,
    **texts.PROGRAMS,
}
