"""Frames that frame pointers lead to are believed where a call was seen, without looking at its code each time."""

import platform

import pytest
from run_support import FOUND, compiled, heapwitness_run, needs_engine

pytestmark = [
    needs_engine,
    pytest.mark.skipif(platform.machine() != "x86_64", reason="the programs have code of x86-64"),
]

FORBIDDEN = """
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#define KEEP(p) __asm__ volatile("" : : "r"(p) : "memory")
enum { DEPTH = 6, WAYS = 1 << DEPTH };
static char *go(unsigned way, unsigned depth);
__attribute__((noinline)) static char *left(unsigned way, unsigned depth) {
    char *p = go(way, depth); KEEP(p); return p;
}
__attribute__((noinline)) static char *right(unsigned way, unsigned depth) {
    char *p = go(way, depth); KEEP(p); return p;
}
__attribute__((noinline)) static char *go(unsigned way, unsigned depth) {
    char *p;
    if (depth) p = way & 1 ? right(way >> 1, depth - 1) : left(way >> 1, depth - 1);
    else p = malloc(24);
    KEEP(p);
    return p;
}
static void forbid_to_look(void) {
    struct sock_filter rules[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_process_vm_readv, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog filter = {sizeof rules / sizeof rules[0], rules};
    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter)) exit(7);
}
int main(void) {
    static char *block[WAYS];
    for (volatile unsigned way = 0; way < WAYS; way++) { /* the half of which the last turn is to the left */
        if (way == WAYS / 2) forbid_to_look();
        block[way] = go(way, DEPTH);
    }
    for (volatile int i = 0; i < 25; i++) block[WAYS - 1][i] = 'x';
    free(block[WAYS - 1]);
    return 0;
}
"""
"""The second half's stacks are new, and all of their return addresses are not."""

GONE = """
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
static const unsigned char code[] = {0x55, 0x48, 0x89, 0xE5, 0xFF, 0xD7, 0x5D, 0xC3};
enum { AFTER_CALL = 6 };
__attribute__((noinline)) static void *make(void) {
    void *p = malloc(24);
    __asm__ volatile("" : : "r"(p) : "memory");
    return p;
}
__attribute__((noinline)) static void *make_below(void **frame) {
    void *p;
    __asm__ volatile("mov %%rsp, %%rbx\\n\\tand $-16, %%rsp\\n\\tpush %%rbp\\n\\tsub $8, %%rsp\\n\\tmov %1, %%rbp\\n\\t"
                     "mov $24, %%edi\\n\\tcall *%2\\n\\tadd $8, %%rsp\\n\\tpop %%rbp\\n\\tmov %%rbx, %%rsp"
                     : "=a"(p) : "r"(frame), "r"(malloc)
                     : "rbx", "rcx", "rdx", "rsi", "rdi", "r8", "r9", "r10", "r11", "memory", "cc");
    return p;
}
int main(int count, char **words) {
    unsigned char *page = mmap(0, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    void *(*through)(void *(*)(void));
    memcpy(page, code, sizeof code);
    memcpy(&through, &page, sizeof page);
    for (int turn = 0; turn < 3; turn++) free(through(make));
    munmap(page, 4096);
    void *frame[6] = {&frame[2], page + AFTER_CALL, &frame[4], page + AFTER_CALL, 0, 0};
    for (int turn = 0; turn < 5000; turn++) {
        char *block = make_below(frame);
        frame[1] = turn % 2 ? page + AFTER_CALL : page + turn; /* new ones, too */
        free(block);
    }
    return 5;
}
"""


def test_new_stack_of_known_return_addresses_is_whole_where_code_cannot_be_looked_at() -> None:
    result = heapwitness_run(compiled(FORBIDDEN, "-fno-omit-frame-pointer", "-fno-optimize-sibling-calls"))

    assert (result.status, len(result.findings)) == (FOUND, 1), result.stderr
    stack = result.findings[0]["culprit"]["allocated"]["stack"]
    assert [frame["function"] for frame in stack] == ["go", "right"] * 4


def test_return_addresses_whose_code_has_gone_do_no_harm() -> None:
    result = heapwitness_run(compiled(GONE, "-fno-omit-frame-pointer", "-mno-red-zone"))

    assert (result.status, result.findings) == (5, []), result.stderr
