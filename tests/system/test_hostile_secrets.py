"""Every pool has a key of its own, and every process one for its runs, from the kernel's random numbers: no report
shows them."""

import os
import struct
import subprocess
from pathlib import Path

import pytest
from run_support import FOUND, SOURCE, compiled, heapwitness_command, needs_engine

from heapwitness.layout.process import VERSION
from heapwitness.native import library

pytestmark = needs_engine

# Writes the keys of its pools to a file, a pool a line; then it damages the first one's control block next to its key.
KEYS = r"""
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
static FILE *out;
static uint32_t *pool_of(void *payload)
{
    uintptr_t at = (uintptr_t)payload & ~(uintptr_t)((1 << 20) - 1);
    while (*(uint32_t *)at != 0x31505748)
        at -= 1 << 20;
    return (uint32_t *)at;
}
static void *tell(void *unused)
{
    void *block = malloc(10000); /* too large for a run */
    fwrite(pool_of(block) + 4, 16, 1, out);
    return block;
}
int main(int count, char **words)
{
    out = fopen(words[1], "wb");
    setvbuf(out, NULL, _IONBF, 0);
    char *block = tell(NULL);
    pthread_t thread;
    pthread_create(&thread, NULL, tell, NULL);
    pthread_join(thread, NULL);
    fclose(out);
    if (count > 2) {
        char *pool = (char *)pool_of(block), *at = pool + atoi(words[2]);
        if (at < pool)
            at += (size_t)((uint32_t *)pool)[2] * 16;
        memset(at, 0xEE, atoi(words[3]));
        free(block);
        memset(block, 0xEE, 8);
        free(block);
    }
    return 0;
}
"""

# Writes the key of its runs, and the salts of two runs of different threads, to a file; then it damages bytes beside a
# block of the first one, or beside that run's start.
RUN_KEYS = r"""
#define _GNU_SOURCE
#include <link.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
typedef struct region { uint64_t base, bytes; uint32_t kind, arena; uint64_t table, handed; } region;
typedef struct process {
    uint32_t magic, version;
    uint64_t sites, used;
    region *regions;
    uint64_t count, key[2];
} process;
static process *found;
static int look(struct dl_phdr_info *info, size_t size, void *unused)
{
    for (int i = 0; i < info->dlpi_phnum && strstr(info->dlpi_name, "heapwitness_preload"); i++) {
        const ElfW(Phdr) *part = &info->dlpi_phdr[i];
        char *from = (char *)info->dlpi_addr + part->p_vaddr;
        if (part->p_type == PT_LOAD && part->p_flags & PF_W)
            for (char *at = from; at + sizeof(process) <= from + part->p_memsz; at += 8)
                if (((process *)at)->magic == 0x52505748 && ((process *)at)->version == VERSION)
                    found = (process *)at;
    }
    return 0;
}
static FILE *out;
static void *tell(void *unused)
{
    char *block = malloc(100);
    for (uint64_t i = 0; i < found->count; i++) {
        region *r = &found->regions[i];
        uint64_t offset = (uint64_t)block - r->base;
        if (r->kind == 8 && offset < r->bytes)
            fwrite((char *)r->table + offset / 65536 * 256 + 8, 8, 1, out);
    }
    return block;
}
int main(int count, char **words)
{
    dl_iterate_phdr(look, NULL);
    out = fopen(words[1], "wb");
    setvbuf(out, NULL, _IONBF, 0);
    fwrite(found->key, 16, 1, out);
    char *block = tell(NULL);
    pthread_t thread;
    pthread_create(&thread, NULL, tell, NULL);
    pthread_join(thread, NULL);
    fclose(out);
    if (count > 2) {
        char *from = *words[2] == 'r' ? (char *)((uintptr_t)block & ~(uintptr_t)65535) : block;
        memset(from + atoi(words[3]), 0xEE, atoi(words[4]));
        free(block);
        memset(block, 0xEE, 3);
        free(block);
    }
    return 0;
}
"""


def keys(file: Path) -> list[bytes]:
    data = file.read_bytes()
    return [data[at : at + 16] for at in range(0, len(data), 16)]


def test_each_pool_of_each_process_has_another_key(tmp_path: Path) -> None:
    found: list[bytes] = []
    for number in range(8):
        file = tmp_path / str(number)
        environment = {**os.environ, "LD_PRELOAD": str(library("preload"))}
        subprocess.run([compiled(KEYS, "-pthread"), file], env=environment, check=True)
        found += keys(file)

    assert len(found) == 16
    words = [word for key in found for word in struct.unpack("<4I", key)]
    assert len(set(words)) == len(words)
    ones = sum(word.bit_count() for word in words)
    assert 0.4 < ones / (32 * len(words)) < 0.6


@pytest.mark.parametrize(("at", "length"), [(4, 8), (12, 6), (20, 4), (28, 40), (-32, 12), (-12, 4), (-40, 14)])
def test_no_report_shows_a_key_though_the_damage_lies_beside_it(tmp_path: Path, at: int, length: int) -> None:
    file, report = tmp_path / "keys", tmp_path / "report.json"
    words = (compiled(KEYS, "-pthread"), file, str(at), str(length))

    done = heapwitness_command("run", "--json", report, "--", *words, PYTHONPATH=str(SOURCE))

    assert done.returncode == FOUND
    shown = done.stderr + report.read_text()
    assert "header-overwrite" in shown
    assert not [word for key in keys(file) for word in struct.unpack("<4I", key) if is_shown(word, shown)]


def test_each_process_has_another_key_for_its_runs_and_each_run_another_salt(tmp_path: Path) -> None:
    words: list[int] = []
    for number in range(8):
        file = tmp_path / str(number)
        environment = {**os.environ, "LD_PRELOAD": str(library("preload"))}
        subprocess.run([compiled(RUN_KEYS, "-pthread", f"-DVERSION={VERSION}"), file], env=environment, check=True)
        words += run_key(file)

    assert len(set(words)) == len(words) == 8 * 6
    ones = sum(word.bit_count() for word in words)
    assert 0.4 < ones / (32 * len(words)) < 0.6


@pytest.mark.parametrize(
    ("beside", "at", "length"),
    [
        *(
            ("block", at, length)
            for at, length in ((-16, 8), (-8, 8), (-13, 5), (-20, 20), (100, 13), (111, 4), (112, 12))
        ),
        *(("run", at, length) for at, length in ((0, 8), (4, 7), (0, 16), (8, 12))),
    ],
)
def test_no_report_shows_the_key_of_runs_though_the_damage_lies_beside_headers(
    tmp_path: Path, beside: str, at: int, length: int
) -> None:
    file, report = tmp_path / "key", tmp_path / "report.json"
    words = (compiled(RUN_KEYS, "-pthread", f"-DVERSION={VERSION}"), file, beside, str(at), str(length))

    done = heapwitness_command("run", "--json", report, "--", *words, PYTHONPATH=str(SOURCE))

    assert done.returncode == FOUND
    shown = done.stderr + report.read_text()
    assert "eeee" in shown
    assert not [word for word in run_key(file) if is_shown(word, shown)]


def run_key(file: Path) -> list[int]:
    """The halves of the key's two numbers, and the upper ones of two salts: the lower ones are their complements."""
    data = file.read_bytes()
    place_low, place, meta_low, meta, *salts = struct.unpack("<8I", data)
    assert place_low & meta_low & 1
    assert [low ^ 0xFFFFFFFF for low in salts[::2]] == salts[1::2]
    return [place_low, place, meta_low, meta, *salts[1::2]]


def is_shown(word: int, text: str) -> bool:
    """Whether four bytes of a key are in a text, as bytes or as a number."""
    data = word.to_bytes(4, "little")
    return any(form in text for form in (data.hex(), data.hex(" "), str(word), f"{word:x}"))
