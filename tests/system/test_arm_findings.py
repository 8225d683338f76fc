"""On AArch64, with pages of 4, 16 and 64 KiB, damage of every kind is told with its block and its stacks."""

import signal
from typing import Any

import pytest
from arm.harness import PAGES, build, compiled, functions, needs_emulator, run
from programs.harness import allocated_at, line_of

pytestmark = needs_emulator

MISMATCH = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
__attribute__((noinline)) void *make(void)
{
    void *(*operator_new)(size_t);
    *(void **)&operator_new = dlsym(RTLD_DEFAULT, "_Znwm");
    return operator_new(40);
}
int main(void)
{
    free(make());
    puts("done");
}
"""
HUGE = """
#include <stdio.h>
#include <stdlib.h>
int main(int count, char **words)
{
    size_t size = ((size_t)16 << 30) + 123;
    char *block = malloc(size);
    if (!block)
        return 3;
    block[size + strtoul(words[1], 0, 0)] = 'x';
    free(block);
    puts("done");
}
"""
RUNAWAY = """
#include <stdlib.h>
__attribute__((noinline)) char *make(void) { return malloc(3000000); }
__attribute__((noinline)) void spoil(volatile char *block) { for (long i = 3000000; ; i++) block[i] = 'x'; }
int main(void) { spoil(make()); }
"""
DEEP = """
#include <stdlib.h>
__attribute__((noinline)) char *make(void) { return malloc(24); }
__attribute__((noinline)) char *second(void) { char *volatile got = make(); return got; }
__attribute__((noinline)) char *first(void) { char *volatile got = second(); return got; }
int main(void) { volatile char *block = first(); block[24] = 'x'; free((void *)block); }
"""


def program(source: str) -> Any:
    return build(f"programs/{source}")


@pytest.mark.parametrize(
    ("size", "length", "page"),
    [
        *((size, 3, page) for size in (24, (1 << 20) + 5) for page in PAGES),
        (40, 40, 4096),
        (1000, 20, 4096),
        (100_000, 5, 4096),
    ],
)
def test_bytes_past_the_end_are_counted_exactly(size: int, length: int, page: int) -> None:
    outcome = run(program("overflow.c"), "how=loop", f"size={size}", f"extra={length}", "row=1", page=page)

    finding = outcome.finding
    assert (finding["kind"], finding["repaired"]) == ("heap-buffer-overflow", True)
    assert (finding["culprit"]["address"], finding["culprit"]["size"]) == (outcome.facts["culprit"], size)
    assert allocated_at(finding["culprit"], "overflow.c") == line_of("overflow.c", "culprit: malloc")
    assert (finding["damage"]["offset"], finding["damage"]["length"]) == (0, length)


@pytest.mark.parametrize("page", PAGES)
def test_bytes_before_the_start_are_counted_exactly(page: int) -> None:
    outcome = run(program("underflow.c"), "how=loop", "size=17", "extra=8", page=page)

    finding = outcome.finding
    assert (finding["kind"], finding["repaired"]) == ("heap-buffer-underflow", True)
    assert finding["culprit"]["address"] == outcome.facts["culprit"]
    assert (finding["damage"]["offset"], finding["damage"]["length"]) == (-8, 8)


@pytest.mark.parametrize(("size", "at", "poison"), [(24, 8, "0"), (1000, 0, "0"), (1000, 999, "1"), (5000, 40, "1")])
def test_a_write_after_free_is_told_with_both_stacks(size: int, at: int, poison: str) -> None:
    words = (f"size={size}", f"at={at}", "length=1", "found=exit")

    outcome = run(program("afterfree.c"), *words, HEAPWITNESS_POISON=poison)

    finding = outcome.finding
    assert (finding["kind"], finding["culprit"]["size"]) == ("use-after-free-write", size)
    assert (finding["damage"]["offset"], finding["damage"]["length"]) == (at, 1)
    assert "release" in functions(finding["culprit"]["freed"]["stack"])


@pytest.mark.parametrize("copy", ["header", "backup"])
def test_a_wild_store_is_located_and_repaired(copy: str) -> None:
    at = {"header": 1, "backup": 8}[copy]

    outcome = run(program("wild.c"), f"at={at}", "length=4", "found=free")

    finding = outcome.finding
    assert (finding["kind"], finding["repaired"]) == ("header-overwrite", True)
    assert finding["damage"]["address"] == outcome.facts["before"] + 48 + at
    assert finding["damage"]["copies"] == [copy]


@pytest.mark.parametrize(
    ("what", "size", "kind"),
    [
        ("cached", 24, "double-free"),
        ("merged", 40_000, "double-free"),
        ("thread", 24, "double-free"),
        ("cached", 3 << 20, "double-free"),
        ("interior", 200, "invalid-free"),
        ("stack", 48, "invalid-free"),
        ("mapped", 48, "invalid-free"),
    ],
)
def test_a_wrong_release_is_ignored_and_told(what: str, size: int, kind: str) -> None:
    outcome = run(program("release.c"), f"what={what}", f"size={size}")

    assert outcome.finding["kind"] == kind
    assert outcome.finding["pointer"] == outcome.facts["pointer"]
    assert "done" in outcome.stdout


def test_release_by_another_family_is_told() -> None:
    outcome = run(compiled(MISMATCH))

    assert outcome.finding["kind"] == "mismatched-free"
    assert "make" in functions(outcome.finding["culprit"]["allocated"]["stack"])
    assert outcome.stdout == "done\n"


@pytest.mark.parametrize("page", PAGES)
def test_slack_of_a_block_without_a_pool_ends_with_the_kernels_page(page: int) -> None:
    """The block ends 123 bytes into a page; the write hits the page's last byte."""
    outcome = run(compiled(HUGE), page - 124, page=page)

    finding = outcome.finding
    assert (finding["kind"], finding["damage"]["copies"]) == ("heap-buffer-overflow", ["slack"])
    assert (finding["damage"]["offset"], finding["damage"]["length"]) == (page - 124, 1)
    assert outcome.stdout == "done\n"


@pytest.mark.parametrize("page", PAGES)
def test_a_runaway_loop_is_told_at_its_store(page: int) -> None:
    outcome = run(compiled(RUNAWAY), page=page)

    finding = outcome.finding
    assert outcome.status == -signal.SIGSEGV
    assert (finding["kind"], finding["detected"]["when"]) == ("heap-buffer-overflow", "trap")
    assert finding["culprit"]["size"] == 3_000_000
    assert functions(finding["detected"]["stack"])[0] == "spoil"


@pytest.mark.parametrize("signing", ["none", "standard"])
@pytest.mark.parametrize("stacks", ["fast", "full"])
def test_stacks_are_whole_whether_return_addresses_are_signed_or_not(stacks: str, signing: str) -> None:
    frames = {"fast": ("-fno-omit-frame-pointer",), "full": ("-fomit-frame-pointer",)}[stacks]
    signed = compiled(DEEP, "-fasynchronous-unwind-tables", f"-mbranch-protection={signing}", *frames)

    outcome = run(signed, HEAPWITNESS_STACKS=stacks)

    stack = functions(outcome.finding["culprit"]["allocated"]["stack"])
    assert stack[:4] == ["make", "second", "first", "main"]


@pytest.mark.parametrize(
    "words",
    [
        ("overflow.c", "size=24", "extra=0"),
        ("underflow.c", "size=17", "extra=0"),
        ("afterfree.c", "size=24", "length=16", "found=exit", "clean=1"),
        ("release.c", "what=cached", "size=200", "clean=1"),
        ("threads.c", "what=crowd", "clean=1"),
    ],
)
@pytest.mark.parametrize("page", PAGES)
def test_the_clean_twin_gives_no_finding(words: tuple[str, ...], page: int) -> None:
    run(program(words[0]), *words[1:], page=page).assert_clean()
