"""Code that a program makes at run time has the names that the program tells debuggers."""

import re
import subprocess
from functools import cache
from pathlib import Path

import pytest
from run_support import FOUND, WORK, compiled, heapwitness_run, needs_engine

pytestmark = needs_engine

MADE = """
void made_fill(volatile char *block, long from, long to) {
    for (long i = from; i < to; i++) block[i] = 'x';
}
"""
MADE_CXX = (
    "namespace made { void fill(volatile char *block, long from, long to) { while (from < to) block[from++] = 1; } }"
)
# The list is as GDB reads it; what is registered is the file of the object, with the address of its code.
PROGRAM = """
#include <elf.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
struct entry { struct entry *next, *previous; const char *object; uint64_t size; };
struct { uint32_t version, action; struct entry *relevant, *first; } __jit_debug_descriptor = {1, 0, 0, 0};
static char object[1 << 16];
static struct entry entry, looped;
int main(int count, char **words) {
    FILE *file = fopen(words[1], "rb");
    size_t size = fread(object, 1, sizeof object, file);
    Elf64_Shdr *sections = (Elf64_Shdr *)(object + ((Elf64_Ehdr *)object)->e_shoff);
    Elf64_Shdr *code = sections + 1;
    while (!(code->sh_flags & SHF_EXECINSTR) || !code->sh_size) code++;
    char *to = mmap(0, 1 << 16, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    memcpy(to, object + code->sh_offset, code->sh_size);
    code->sh_addr = (uintptr_t)to;
    entry = (struct entry){0, 0, object, size};
    if (!strcmp(words[2], "looped")) entry = looped = (struct entry){&looped, &looped, words[2], UINT64_MAX};
    if (!strcmp(words[2], "wild")) entry.object = (char *)8;
    if (strcmp(words[2], "silent")) __jit_debug_descriptor.first = &entry;
    volatile char *block = malloc(3000000);
    ((void (*)(volatile char *, long, long))to)(block, 3000000, 7000000);
    puts("done");
}
"""


@cache
def _made(text: str, suffix: str) -> Path:
    source = WORK / f"made-{suffix}.{suffix}"
    source.write_text(text)
    target = source.with_suffix(".o")
    compiler = "gcc" if suffix.endswith("c") else "g++"
    subprocess.run([compiler, "-O1", "-fno-pic", "-fcf-protection=none", "-c", source, "-o", target], check=True)
    return target


def _told(made: Path, how: str) -> tuple[str | None, str]:
    """The function of the store's innermost frame, and the headline."""
    result = heapwitness_run(compiled(PROGRAM, "-w"), made, how)
    (finding,) = result.findings
    assert (result.status, finding["kind"]) == (FOUND, "heap-buffer-overflow"), result.stderr
    return finding["store"]["stack"][0]["function"], " ".join(result.stderr.split())


def test_a_store_of_code_made_at_run_time_names_its_function() -> None:
    function, text = _told(_made(MADE, "c"), "told")

    assert function == "made_fill"
    assert "made_fill, compiled at run time, wrote" in text


def test_its_name_is_told_as_its_source_has_it() -> None:
    function, text = _told(_made(MADE_CXX, "cpp"), "told")

    assert function == "made::fill(char volatile*, long, long)"
    assert "made::fill, compiled at run time" in text


def test_what_numba_puts_around_a_function_is_told_as_that() -> None:
    around = 'void made_fill(volatile char *, long, long) __asm__("__gufunc__._ZN4made4fillEd");' + MADE

    function, text = _told(_made(around, "around.c"), "told")

    assert function == "made::fill(double)"
    assert "made::fill, compiled at run time" in text


@pytest.mark.parametrize("how", ["silent", "looped", "wild"])
def test_a_list_that_tells_nothing_or_has_no_end_costs_the_name_only(how: str) -> None:
    function, text = _told(_made(MADE, "c"), how)

    assert function is None
    assert re.search(r"code in no file \(0x[0-9a-f]+\), such as a compiler makes at run time", text)
