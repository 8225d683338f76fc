"""Every pool has a key of its own, from the kernel's random numbers, that no report shows."""

import os
import struct
import subprocess
from pathlib import Path

import pytest
from run_support import FOUND, SOURCE, compiled, heapwitness_command, needs_engine

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
    void *block = malloc(100);
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
    for key in keys(file):
        for place in range(0, 16, 4):
            word = key[place : place + 4]
            number = int.from_bytes(word, "little")
            assert not [form for form in (word.hex(), word.hex(" "), str(number), f"{number:x}") if form in shown]
