"""What a run writes beside its text: documents, maps, annotations."""

import json
import signal
import subprocess
from pathlib import Path

import jsonschema
import pytest
from run_support import FOUND, HEAPWITNESS, OVERFLOW, compiled, environment, heapwitness_command, needs_engine

from heapwitness.findings.model import Report
from heapwitness.report import json as report_json

pytestmark = needs_engine

SCHEMA = Path(__file__).parents[1] / "data" / "sarif" / "sarif-2.1.0-rtm.5.json"

MANY = """
#include <signal.h>
#include <stdlib.h>
#include <string.h>
__attribute__((noinline)) static char *text(int n) { char *t = malloc(n); memset(t, 'x', n); return t; }
__attribute__((noinline)) static void spoil(char *t, int n) { memset(t, 'y', n + 5); }
static char *kept[2000];
int main(int count, char **words) {
    for (int i = 0; i < 2000; i++) kept[i] = text(20 + i % 200);
    for (int i = 0; i < 2000; i += 4) { free(kept[i]); kept[i] = NULL; }
    if (count > 1 && strcmp(words[1], "damage") == 0) { spoil(kept[1001], 21); free(kept[1001]); }
    if (count > 1 && strcmp(words[1], "signal") == 0) raise(SIGUSR2);
    return 0;
}
"""
"""Keeps 1,500 blocks of `text`; damages one, or asks for a check, by its argument."""

BUSY = """
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
static volatile int stop;
static void *churn(void *seed) {
    char *kept[256] = {0};
    for (unsigned n = (unsigned)(size_t)seed; !stop; n = n * 1103515245u + 12345u) {
        free(kept[n >> 24]);
        kept[n >> 24] = malloc(1 + (n >> 8) % 500);
    }
    return NULL;
}
__attribute__((noinline)) static void spoil(char *block) { memset(block, 'x', 27); }
int main(void) {
    pthread_t threads[3];
    for (size_t i = 0; i < 3; i++) pthread_create(&threads[i], NULL, churn, (void *)(i + 1));
    char *block = malloc(24);
    spoil(block);
    free(block);
    stop = 1;
    for (size_t i = 0; i < 3; i++) pthread_join(threads[i], NULL);
    return 0;
}
"""
"""Finds something while three threads allocate and release."""

HOSTILE_FILE = """
#include <stdlib.h>
#include <string.h>
#line 7 "/src/</style><script>alert(1)</script>\\033[31m\\n::set-env name=x::y\\342\\200\\256.c"
__attribute__((noinline)) static void *make(void) { return malloc(24); }
__attribute__((noinline)) static void spoil(char *block) { memset(block, 'x', 27); }
int main(void) { char *block = make(); spoil(block); free(block); return 0; }
"""
HOSTILE_FUNCTION = HOSTILE_FILE.replace(
    "#line", 'static void *make(void) __asm__("\\"</style><script>alert(1)</script>\\342\\200\\256\\"");\n#line'
)
"""A program whose file, and one whose function, has a name that is meant to do harm."""


def run(*words: str | Path, **more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*HEAPWITNESS, "run", *words], capture_output=True, text=True, timeout=120, env=environment(**more), input=""
    )


def report_of(tmp_path: Path, *words: str, options: tuple[str, ...] = ()) -> Report:
    file = tmp_path / "report.json"
    done = run("--map", "--json", file, *options, "--", compiled(MANY), *words)
    assert file.exists(), done.stderr
    return report_json.decode(file.read_bytes())


def test_a_run_writes_every_document(tmp_path: Path) -> None:
    files = {name: tmp_path / f"report.{name}" for name in ("html", "sarif", "junit", "json")}
    options = [word for name, file in files.items() for word in (f"--{name}", str(file))]

    done = run(*options, "--", compiled(OVERFLOW))

    assert done.returncode == FOUND
    sarif = json.loads(files["sarif"].read_text())
    jsonschema.Draft4Validator(json.loads(SCHEMA.read_text())).validate(sarif)
    assert [one["ruleId"] for one in sarif["runs"][0]["results"]] == ["heap-buffer-overflow"]
    assert "char *make(void)" in files["html"].read_text()
    assert 'failures="1"' in files["junit"].read_text()


def test_a_document_on_stdout_comes_after_the_programs_own_output() -> None:
    done = run("--json", "-", "--quiet", "--", "echo", "hello")

    first, _, rest = done.stdout.partition("\n")
    assert first == "hello"
    assert json.loads(rest)["schema"] == "heapwitness-report/1"


def test_a_ci_that_is_known_gets_its_lines_with_paths_of_the_repository() -> None:
    program = compiled(OVERFLOW)

    done = run("--", program, GITHUB_ACTIONS="true", GITHUB_WORKSPACE=str(program.parent))

    (line,) = [one for one in done.stderr.splitlines() if one.startswith("::")]
    assert line.startswith("::error file=source.c,line=6,")


def test_a_short_run_has_one_line_for_its_finding() -> None:
    done = run("--format", "short", "--", compiled(OVERFLOW))

    lines = done.stderr.splitlines()
    assert len(lines) == 2
    assert "source.c:6: heap-buffer-overflow: 3 bytes past the end of a 24-byte block" in lines[0]


def test_a_document_that_cannot_be_written_is_refused_before_the_program_runs() -> None:
    done = run("--sarif", "/nonexistent/report.sarif", "--", "echo", "hello")

    assert done.returncode == 2
    assert done.stdout == ""
    assert "/nonexistent/report.sarif cannot be written" in done.stderr


def test_a_finding_and_the_end_of_the_program_are_mapped(tmp_path: Path) -> None:
    report = report_of(tmp_path, "damage")

    assert [one.taken for one in report.maps] == ["finding", "exit"]
    before, after = report.maps
    assert before.live_blocks - after.live_blocks == 1
    assert before.whole and after.whole
    site = max(before.sites, key=lambda one: one.blocks)
    assert site.blocks == 1500
    assert site.stack[0].function == "text"


def test_the_map_shows_the_damaged_block_and_its_neighbours(tmp_path: Path) -> None:
    report = report_of(tmp_path, "damage")

    culprit = report.findings[0].culprit
    assert culprit is not None
    (pool,) = (one for one in report.maps[0].pools if one.address <= culprit.address < one.address + one.size)
    before_payload = sum(part.size for part in pool.parts)
    found = {}
    for stretch in pool.stretches:
        at = stretch.address
        for size, state, requested in zip(stretch.sizes, stretch.states, stretch.requested, strict=True):
            found[at + before_payload] = (state, requested)
            at += size
    assert found[culprit.address] == ("u", culprit.size)


def test_a_check_signal_is_mapped(tmp_path: Path) -> None:
    report = report_of(tmp_path, "signal", options=("--check-signal", "USR2"))

    assert [one.taken for one in report.maps] == ["check", "exit"]
    assert report.findings == ()
    assert 1500 <= report.maps[0].live_blocks < 1550


def test_a_process_that_a_signal_ends_is_mapped(tmp_path: Path) -> None:
    file = tmp_path / "report.json"
    source = MANY.replace("SIGUSR2", "SIGTERM")

    done = run("--map", "--json", file, "--", compiled(source), "signal")

    assert done.returncode == 128 + signal.SIGTERM
    assert [one.taken for one in report_json.decode(file.read_bytes()).maps] == ["exit"]


def test_a_crash_is_mapped(tmp_path: Path) -> None:
    file = tmp_path / "report.json"
    source = MANY.replace("raise(SIGUSR2)", "*(volatile int *)8 = 1")

    run("--map", "--json", file, "--", compiled(source), "signal")

    report = report_json.decode(file.read_bytes())
    assert len(report.crashes) == 1
    assert [one.taken for one in report.maps] == ["crash"]
    assert report.maps[0].live_blocks >= 1500


def test_a_heap_that_other_threads_change_is_mapped_as_it_is_caught(tmp_path: Path) -> None:
    file = tmp_path / "report.json"

    done = run("--map", "--json", file, "--", compiled(BUSY, "-pthread"))

    assert done.returncode == FOUND
    maps = report_json.decode(file.read_bytes()).maps
    assert [one.taken for one in maps] == ["finding", "exit"]
    assert all(one.live_blocks > 0 for one in maps)


@pytest.mark.parametrize(("source", "debug"), [(HOSTILE_FILE, "-g"), (HOSTILE_FUNCTION, "-g0")])
def test_hostile_names_of_a_program_are_text_in_each_document(source: str, debug: str, tmp_path: Path) -> None:
    files = {name: tmp_path / f"report.{name}" for name in ("html", "sarif", "junit", "json")}
    options = [word for name, file in files.items() for word in (f"--{name}", str(file))]

    done = run("--annotations", "github", *options, "--", compiled(source, debug))

    assert done.returncode == FOUND
    page = files["html"].read_text()
    assert "&lt;script&gt;alert(1)" in page
    assert "<script>alert(1)" not in page and "</style><script>" not in page
    for text in (done.stderr, *(file.read_text() for file in files.values() if file.suffix != ".json")):
        assert "\x1b" not in text and "\u202e" not in text
    assert len([line for line in done.stderr.splitlines() if line.startswith("::error")]) == 1


def test_a_hunt_shows_the_very_store_in_its_documents(tmp_path: Path) -> None:
    log, page = tmp_path / "log.sarif", tmp_path / "page.html"

    done = heapwitness_command("hunt", "--sarif", log, "--html", page, "--", compiled(OVERFLOW))

    assert done.returncode == FOUND
    (result, *_) = json.loads(log.read_text())["runs"][0]["results"]
    assert result["locations"][0]["physicalLocation"]["region"]["startLine"] == 7
    assert "Stored by" in page.read_text()


def test_without_asking_there_is_no_map(tmp_path: Path) -> None:
    file = tmp_path / "report.json"

    run("--json", file, "--", compiled(MANY), "damage")

    assert report_json.decode(file.read_bytes()).maps == ()


def test_a_map_is_in_the_page_and_a_report_makes_it_again(tmp_path: Path) -> None:
    page, file = tmp_path / "report.html", tmp_path / "report.json"
    run("--map", "--html", page, "--json", file, "--", compiled(MANY), "damage")

    again = heapwitness_command("report", file, "--format", "html")

    assert "The heap when something was found" in page.read_text()
    assert again.stdout == page.read_text()


@pytest.mark.parametrize("command", ["run", "hunt", "report", "inspect"])
def test_each_command_with_a_report_has_the_same_options(command: str) -> None:
    text = heapwitness_command(command, "--help").stdout

    for option in ("--json", "--html", "--sarif", "--junit", "--annotations", "--source-root", "--format", "--quiet"):
        assert option in text
