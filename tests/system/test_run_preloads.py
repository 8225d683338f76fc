"""Programs that preload libraries of their own for what they start: the engine stays with them."""

import subprocess
from pathlib import Path

import pytest
from run_support import FOUND, OVERFLOW, compiled, heapwitness_run, needs_engine

pytestmark = needs_engine

LIBRARY = """
#include <stdio.h>
int puts(const char *text) { return printf("it says %s\\n", text); }
"""
# glibc does not see this one.
SPOILED = OVERFLOW.replace("malloc(24)", "malloc(20)").replace("'x', 27", "'x', 23")

CALLS = {
    "a shell": 'LD_PRELOAD={library} {program}; exec env LD_PRELOAD={library} "{program}"',
    "a variable of the shell's": "export LD_PRELOAD={library}; {program}; exec {program}",
    "a library that is not there, too": "export LD_PRELOAD='{library} /nowhere.so'; {program}; exec {program}",
}


@pytest.fixture(scope="module")
def library() -> Path:
    return compiled(LIBRARY, "-shared", "-fPIC")


@pytest.mark.parametrize("call", CALLS)
def test_what_a_program_preloads_does_not_take_the_place_of_the_engine(call: str, library: Path) -> None:
    script = CALLS[call].format(library=library, program=compiled(SPOILED))

    result = heapwitness_run("sh", "-c", script)

    assert (result.status, result.stdout) == (FOUND, "it says done\n" * 2), result.stderr
    assert [one["count"] for one in result.findings] == [2]
    assert result.report["program"]["exit_status"] == 5


@pytest.mark.parametrize("list_", ["", " : "])
def test_who_empties_the_list_means_it(list_: str) -> None:
    result = heapwitness_run("sh", "-c", f"LD_PRELOAD='{list_}' {compiled(SPOILED)}")

    assert (result.status, result.stdout, result.findings) == (5, "done\n", [])


def test_a_sanitizer_of_the_program_s_stays_the_first() -> None:
    done = subprocess.run(["gcc", "-print-file-name=libasan.so"], capture_output=True, text=True, check=True)
    library = Path(done.stdout.strip()).resolve()
    if not library.is_absolute() or not library.exists():
        pytest.skip("this sanitizer is not installed")

    result = heapwitness_run("env", f"LD_PRELOAD={library}", "ls", "/proc/self/stat")

    assert (result.status, result.stdout) == (0, "/proc/self/stat\n"), result.stderr


GOES_ON = """
#include <stdio.h>
#include <time.h>
struct rlimit;
int setrlimit(int resource, const struct rlimit *limit) { return printf("its own setrlimit\\n"); }
int nanosleep(const struct timespec *a, struct timespec *b) { return printf("its own nanosleep\\n"); }
"""
CALLER = """
#include <sys/resource.h>
#include <time.h>
int main(void) {
    struct rlimit limit = {1, 1};
    struct timespec no_time = {0, 0};
    setrlimit(RLIMIT_CORE, &limit);
    return nanosleep(&no_time, 0) <= 0;
}
"""


@pytest.mark.parametrize("table", ["gnu", "sysv"])
def test_the_engines_functions_go_on_to_a_library_of_the_program_s(table: str) -> None:
    own = compiled(GOES_ON, "-shared", "-fPIC", f"-Wl,--hash-style={table}")

    result = heapwitness_run("env", f"LD_PRELOAD={own}", compiled(CALLER))

    assert (result.status, result.stdout) == (0, "its own setrlimit\nits own nanosleep\n"), result.stderr
