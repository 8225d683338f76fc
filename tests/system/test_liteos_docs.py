"""Every command of docs/liteos.md works as it is written, and prints what is written there."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "liteos.md").read_text()
GUIDE = ROOT / "tests" / "data" / "liteos" / "guide"
BLOCKS = re.findall(r"^```\n\$ (.*)\n((?:(?!```).*\n)*)```", PAGE, re.MULTILINE)


def test_commands_print_what_is_written(tmp_path: Path) -> None:
    for file in GUIDE.iterdir():
        shutil.copy(file, tmp_path)
    command = tmp_path / "bin" / "heapwitness"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m heapwitness "$@"\n')
    command.chmod(0o755)
    path = f"{command.parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "PYTHONPATH": os.pathsep.join(sys.path), "COLUMNS": "100"}

    assert len(BLOCKS) > 7
    for line, written in BLOCKS:
        done = subprocess.run(
            ["bash", "-c", line], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60
        )
        printed = (done.stdout + done.stderr).splitlines()
        assert_in_order([one for one in written.splitlines() if one != "..."], printed, line)


def assert_in_order(written: list[str], printed: list[str], line: str) -> None:
    left = iter(printed)
    for one in written:
        assert one in left, (line, one)


KERNEL = """
#include <stdio.h>
#include <stdlib.h>
typedef struct { void *pool; unsigned int poolSize; } LosMemPoolInfo;
LosMemPoolInfo *g_pool;
unsigned char *m_aucSysMem1;
__attribute__((noinline)) void LOS_Panic(const char *text) { puts(text); exit(1); }
int main(void) {
    FILE *file = fopen("dump.bin", "rb");
    m_aucSysMem1 = malloc(16384);
    if (file == NULL || fread(m_aucSysMem1, 1, 16384, file) != 16384) return 2;
    g_pool = (LosMemPoolInfo *)m_aucSysMem1;
    g_pool->poolSize = 16384;
    LOS_Panic("cur node is broken");
}
"""


@pytest.mark.skipif(not all(map(shutil.which, ("gcc", "gdb"))), reason="needs gcc and gdb")
def test_the_debuggers_lines_dump_the_pool_where_the_kernel_panics(tmp_path: Path) -> None:
    (script,) = re.findall(r"^```gdb\n(.*?)```", PAGE, re.MULTILINE | re.DOTALL)
    (tmp_path / "early.gdb").write_text(script.replace("continue", "run"))
    (tmp_path / "kernel.c").write_text(KERNEL)
    memory = os.urandom(16384)
    (tmp_path / "dump.bin").write_bytes(memory)
    subprocess.run(["gcc", "-g", "-O0", "kernel.c", "-o", "firmware.elf"], cwd=tmp_path, check=True)

    command = ["gdb", "-nx", "-batch", "-x", "early.gdb", "firmware.elf"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)

    if "ptrace" in done.stderr:
        pytest.skip("a debugger may not be used here")
    assert (tmp_path / "pool.bin").read_bytes()[12:] == memory[12:]


@pytest.mark.parametrize("name", ["inspect", "restore", "simulate"])
def test_every_option_is_described(name: str) -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    shown = subprocess.run(
        [sys.executable, "-m", "heapwitness", name, "--help"], capture_output=True, text=True, env=environment
    )

    for option in re.findall(r"^  (?:-\w, )?(--[a-z-]+)", shown.stdout, re.MULTILINE):
        assert option in ("--help", "--output") or option in PAGE, option
