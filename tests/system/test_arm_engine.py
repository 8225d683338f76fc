"""On AArch64 the heap keeps its promises: the core, the malloc family, threads, forks and signals."""

import signal

import pytest
from arm.harness import NATIVE, PAGES, build, compiled, emulate, needs_emulator, run
from libc.harness import case_names

pytestmark = needs_emulator

# The emulator is slow with many gigabytes and many threads, and ends where a program's first thread does.
_NOT_HERE = {"as_the_kernel_gives", "huge", "cancel_inside_of_malloc", "first_thread_ends", "ten_thousands_of_threads"}
CONTRACT = [case for case in case_names("contract.c") if case not in _NOT_HERE]
THREADS = [case for case in case_names("threads.c") if case not in _NOT_HERE]
_CORE = sorted((NATIVE / "core").glob("*.c"))
_HOST = [*_CORE, *sorted((NATIVE / "host").glob("*/*.c"))]
_INCLUDE = (f"-I{NATIVE / 'core'}", f"-I{NATIVE / 'host'}", "-std=gnu11", "-DHW_STRETCH=64")

ENDS = """
#include <stdlib.h>
#include <sys/time.h>
int main(int count, char **words)
{
    volatile char *block = malloc(24);
    block[24] = 'x';
    setitimer(ITIMER_REAL, &(struct itimerval){.it_value = {0, strtol(words[1], 0, 0)}}, NULL);
    for (;;)
        free(malloc(1000));
}
"""


@pytest.mark.parametrize("granule", [(), ("-DHW_FIXED_GRANULE_LOG2=4",)], ids=["any granule", "16 bytes"])
def test_random_operations_and_damage_of_the_core_come_out_right(granule: tuple[str, ...]) -> None:
    stress = build(str(NATIVE / "tests/core/stress.c"), *_INCLUDE, *granule, *map(str, _CORE))

    done = emulate(stress, 20240611, 60, engine_inside=False)

    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("page", "fences"),
    [*((page, ()) for page in PAGES), pytest.param(4096, ("-DHW_EVEN_FENCES",), id="even fences")],
)
def test_threads_share_blocks_without_a_finding(page: int, fences: tuple[str, ...]) -> None:
    sources = map(str, _HOST)
    stress = build(str(NATIVE / "tests/host/stress.c"), *_INCLUDE, "-DHW_FIXED_GRANULE_LOG2=4", *fences, *sources)

    done = emulate(stress, 1, 4, 300, page=page, engine_inside=False)

    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("case", CONTRACT)
def test_calls_keep_what_the_manual_promises(case: str) -> None:
    run(build("libc/contract.c"), case).assert_clean()


@pytest.mark.parametrize("page", PAGES[1:])
@pytest.mark.parametrize("case", ["aligned_families", "pages", "resizing", "growing", "cleared", "trimming"])
def test_they_do_with_larger_pages(case: str, page: int) -> None:
    run(build("libc/contract.c"), case, page=page).assert_clean()


@pytest.mark.parametrize("case", THREADS)
def test_threads_keep_their_blocks(case: str) -> None:
    run(build("libc/threads.c"), case).assert_clean()


@pytest.mark.parametrize("what", ["child", "own", "exit", "parent"])
def test_damage_on_one_side_of_a_fork_is_found_there_only(what: str) -> None:
    outcome = run(build("programs/forks.c"), f"what={what}")

    damaged = outcome.facts["pid" if what == "parent" else "child"]
    assert (outcome.finding["kind"], outcome.finding["detected"]["pid"]) == ("heap-buffer-overflow", damaged)


@pytest.mark.parametrize("after", [20_000, 21_337, 29_999])
def test_program_that_a_signal_ends_has_its_heap_checked_before(after: int) -> None:
    outcome = run(compiled(ENDS), after)

    assert outcome.status == -signal.SIGALRM
    assert outcome.findings[0]["detected"]["when"] == "exit"
    assert len(outcome.findings) == 1
