"""Programs that the Go runtime ends, by a system call past the C library, are checked like others."""

import os
import re
import shutil
import subprocess
from functools import cache
from pathlib import Path

import pytest
from run_support import FOUND, WORK, compiled, heapwitness_run, needs_engine

pytestmark = [
    needs_engine,
    pytest.mark.skipif(os.uname().machine != "x86_64", reason="the runtime's exit is known on x86-64 only"),
]
needs_go = pytest.mark.skipif(shutil.which("go") is None, reason="needs go")

GO = """
package main

/*
#include <stdlib.h>
#include <string.h>
static char *kept;
__attribute__((noinline)) static void spoil(char *block, int bytes) { memset(block, 'x', bytes); }
static void over(int bytes) { kept = malloc(24); spoil(kept, bytes); }
*/
import "C"

import (
    "fmt"
    "os"
    "os/exec"
    "runtime"
    "strconv"
    "syscall"
)

func deep(n int) int {
    if n == 0 {
        os.Exit(3)
    }
    return deep(n-1) + 1
}

func main() {
    bytes, _ := strconv.Atoi(os.Args[2])
    C.over(C.int(bytes))
    switch os.Args[1] {
    case "exit":
        go func() { os.Exit(3) }()
        select {}
    case "deep":
        go deep(1000)
        select {}
    case "crowd":
        for i := 0; i < 20; i++ {
            go func() { runtime.LockOSThread(); C.free(C.malloc(100)); os.Exit(3) }()
        }
        select {}
    case "panic":
        panic("at the end")
    case "children":
        nowhere := exec.Command("/bin/true")
        nowhere.SysProcAttr = &syscall.SysProcAttr{Chroot: "/nonexistent"}
        fmt.Println(nowhere.Run() != nil, exec.Command("/etc/passwd").Run() != nil, exec.Command("/bin/true").Run())
    }
}
"""
STATUS = {"return": 0, "exit": 3, "deep": 3, "crowd": 3, "panic": 2, "children": 0}

LIKE_GO = """
#include <asm/prctl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>
#ifndef SECOND
#define SECOND
#endif
__asm__(".pushsection .note.go.buildid,\\"a\\",@note\\n.long 4, 4, 4\\n.asciz \\"Go\\\\0\\"\\n.long 0\\n.popsection\\n"
        ".pushsection .text\\n"
        ".macro go_exit name\\n.p2align 5, 0xcc\\n"
        "\\\\name: movl 8(%rsp), %edi\\nmovl $231, %eax\\nsyscall\\nret\\n.p2align 5, 0xcc\\n.endm\\n"
        "go_exit first\\n"
        SECOND
        ".popsection");
static long stack[100], storage[20];
__attribute__((noinline)) void leave(void) {
    stack[98] = 7;
    __asm__ volatile("movq %0, %%rsp\\n\\tcall first" : : "r"(&stack[98]) : "memory");
}
__attribute__((noinline)) void spoil(char *block, int bytes) { memset(block, 'x', bytes); }
int main(int count, char **words) {
#ifdef CHILD
    if (vfork() == 0)
        leave();
#endif
    spoil(malloc(24), atoi(words[1]));
    puts("done");
    fflush(stdout);
#ifdef OTHER_STORAGE
    __asm__ volatile("syscall" : : "a"(SYS_arch_prctl), "D"(ARCH_SET_FS), "S"(&storage[10]) : "rcx", "r11", "memory");
#endif
    leave();
    return 1;
}
"""
"""Ends as Go does, on a stack of 800 bytes, with status 7; SECOND is another place where it could."""

SHUT_IN = """
#include <sys/prctl.h>
#include <unistd.h>
int main(int count, char **words) {
    if (prctl(65, 1, 0, 0, 0) != 0)
        return 77;
    execv(words[1], words + 1);
    return 78;
}
"""
"""Executes a program that may make no code writable (PR_SET_MDWE); 77 where the kernel does not know it."""


@cache
def go_program(*options: str) -> Path:
    source, program = WORK / "ends.go", WORK / f"go{len(options)}"
    source.write_text(GO)
    subprocess.run(["go", "build", *options, "-o", program, source], check=True)
    return program


@needs_go
@pytest.mark.parametrize("way", STATUS)
def test_overflow_in_a_program_with_cgo_is_found_however_it_ends(way: str) -> None:
    result = heapwitness_run(go_program(), way, "27", options=("--error-exitcode", "0"))

    assert result.status == STATUS[way]
    assert [(one["kind"], one["count"]) for one in result.findings] == [("heap-buffer-overflow", 1)]
    assert "unchecked" not in result.stderr


@needs_go
@pytest.mark.parametrize("way", STATUS)
def test_healthy_program_with_cgo_is_counted_and_ends_as_it_would(way: str) -> None:
    plain = subprocess.run([go_program(), way, "24"], capture_output=True, text=True, check=False)

    result = heapwitness_run(go_program(), way, "24")

    assert (result.status, result.stdout, result.findings) == (plain.returncode, plain.stdout, [])
    assert "unchecked" not in result.stderr
    assert re.search(r"0 findings, 0 repaired; [1-9][\d,]* operations checked", result.stderr)


@needs_go
def test_program_with_cgo_that_was_linked_without_a_note_is_checked() -> None:
    program = go_program("-ldflags=-s -w -buildid=")

    assert heapwitness_run(program, "return", "27").status == FOUND


@pytest.mark.parametrize("options", [("-no-pie",), ("-fPIE", "-pie")])
def test_program_that_ends_as_go_does_is_checked(options: tuple[str, ...]) -> None:
    program = compiled(LIKE_GO, *options)

    found, healthy = heapwitness_run(program, "27"), heapwitness_run(program, "24")

    assert (found.status, found.stdout, len(found.findings)) == (FOUND, "done\n", 1)
    assert (healthy.status, healthy.stdout, healthy.findings) == (7, "done\n", [])
    assert "unchecked" not in found.stderr + healthy.stderr


def test_code_of_the_program_is_not_left_writable() -> None:
    show = 'FILE *maps = fopen("/proc/self/maps", "r"); for (int c; (c = getc(maps)) != EOF;) putchar(c);'
    program = compiled(LIKE_GO.replace('puts("done");', show))

    result = heapwitness_run(program, "24")

    modes = [line.split()[1] for line in result.stdout.splitlines() if line.endswith("/program")]
    assert "r-xp" in modes
    assert not [mode for mode in modes if mode.startswith("rwx")]


def test_program_of_which_it_is_not_sure_how_it_ends_is_left_as_it_is() -> None:
    result = heapwitness_run(compiled(LIKE_GO, '-DSECOND="go_exit second\\n"'), "24")

    assert (result.status, result.stdout) == (7, "done\n")
    assert re.search(r"process \d+ \(program\) ended unchecked: ", result.stderr)


def test_child_that_shares_memory_is_not_taken_for_the_process() -> None:
    result = heapwitness_run(compiled(LIKE_GO, "-DCHILD"), "27")

    assert (result.status, len(result.findings)) == (FOUND, 1)


def test_threads_without_the_storage_of_the_c_library_end_unchecked() -> None:
    result = heapwitness_run(compiled(LIKE_GO, "-DOTHER_STORAGE"), "24")

    assert (result.status, result.stdout) == (7, "done\n")
    assert re.search(r"process \d+ \(program\) ended unchecked: ", result.stderr)


def test_program_whose_code_must_not_be_changed_is_left_as_it_is() -> None:
    result = heapwitness_run(compiled(SHUT_IN), compiled(LIKE_GO), "24")
    if result.status == 77:
        pytest.skip("needs Linux 6.3")

    assert (result.status, result.stdout) == (7, "done\n")
    assert re.search(r"process \d+ \(program\) ended unchecked: ", result.stderr)
