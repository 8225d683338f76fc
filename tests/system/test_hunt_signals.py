"""A program whose blocks are trapped notices nothing: its handlers, masks and crashes are its own."""

import pytest
from hunt_support import heapwitness_hunt
from run_support import FOUND, compiled, needs_engine

pytestmark = needs_engine

HEAD = """
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>
#define APART __attribute__((noinline))
APART volatile char *make(void) { return calloc(1, 24); }
APART void spoil(volatile char *block) { block[24] = 'x'; }
static void wrong(void) { volatile char *block = make(); spoil(block); free((void *)block); }
static sigjmp_buf back;
static volatile sig_atomic_t calls, code;
static void *volatile where;
static char *volatile nothing;
static void jumps(int number, siginfo_t *about, void *context) {
    calls++; code = about->si_code; where = about->si_addr;
    siglongjmp(back, 1);
}
static void counts(int number) { calls++; }
static int set(int number, void (*handler)(int, siginfo_t *, void *), int flags) {
    struct sigaction action = {.sa_sigaction = handler, .sa_flags = SA_SIGINFO | flags};
    sigfillset(&action.sa_mask);
    return sigaction(number, &action, NULL);
}
"""

PROGRAMS = {
    "its own handler takes its own faults": """
int main(void) {
    set(SIGSEGV, jumps, 0);
    wrong();
    if (sigsetjmp(back, 1) == 0) { nothing[5] = 1; puts("not reached"); }
    printf("calls %d code %d at %p\\n", (int)calls, (int)code == SEGV_MAPERR, where);
    wrong();
    if (sigsetjmp(back, 1) == 0) nothing[6] = 1;
    printf("calls %d at %p\\n", (int)calls, where);
}
""",
    "a handler on a stack of its own": """
static volatile long depth;
static void inside(int number, siginfo_t *about, void *context) {
    char here; stack_t now; sigaltstack(NULL, &now);
    depth = &here > (char *)now.ss_sp && &here < (char *)now.ss_sp + now.ss_size;
    siglongjmp(back, 1);
}
int main(void) {
    stack_t stack = {.ss_sp = malloc(65536), .ss_size = 65536};
    sigaltstack(&stack, NULL);
    for (int flags = 0; flags <= SA_ONSTACK; flags += SA_ONSTACK) {
        set(SIGSEGV, inside, flags);
        wrong();
        if (sigsetjmp(back, 1) == 0) nothing[5] = 1;
        printf("on its own stack: %ld\\n", depth);
    }
}
""",
    "what it set is what it sees": """
int main(void) {
    struct sigaction now;
    set(SIGSEGV, jumps, SA_RESTART);
    wrong();
    sigaction(SIGSEGV, NULL, &now);
    printf("%d %d %d\\n", now.sa_sigaction == jumps, now.sa_flags & SA_RESTART, sigismember(&now.sa_mask, SIGTRAP));
    printf("%d\\n", signal(SIGTRAP, counts) == SIG_DFL);
    wrong();
    raise(SIGTRAP);
    printf("%d %d\\n", signal(SIGTRAP, SIG_IGN) == counts, (int)calls);
    raise(SIGTRAP);
    printf("%d\\n", signal(SIGTRAP, SIG_DFL) == SIG_IGN);
    printf("%d\\n", signal(SIGSEGV, SIG_DFL) == (void *)jumps);
    sigaction(SIGSEGV, NULL, &now);
    printf("%d\\n", now.sa_handler == SIG_DFL);
}
""",
    "a thread with all signals blocked": """
static void *work(void *unused) {
    sigset_t all, now;
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, NULL);
    wrong();
    pthread_sigmask(SIG_BLOCK, NULL, &now);
    printf("%d %d %d\\n", sigismember(&now, SIGSEGV), sigismember(&now, SIGTRAP), sigismember(&now, SIGUSR1));
    sigemptyset(&all);
    pthread_sigmask(SIG_SETMASK, &all, NULL);
    pthread_sigmask(SIG_BLOCK, NULL, &now);
    printf("%d %d\\n", sigismember(&now, SIGSEGV), sigismember(&now, SIGUSR1));
    return NULL;
}
int main(void) {
    pthread_t thread;
    pthread_create(&thread, NULL, work, NULL);
    pthread_join(thread, NULL);
}
""",
    "a store in the handler of another signal": """
static void late(int number, siginfo_t *about, void *context) { wrong(); calls++; }
int main(void) {
    set(SIGUSR1, late, 0);
    raise(SIGUSR1);
    sigset_t now;
    sigprocmask(SIG_BLOCK, NULL, &now);
    printf("%d %d\\n", (int)calls, sigismember(&now, SIGUSR2));
}
""",
    "a stack of its own whose end leads nowhere": """
static _Alignas(16) char own[64 << 10];
static jmp_buf home;
static volatile char *block;
static void on_own_stack(void) { spoil(block); longjmp(home, 1); }
int main(void) {
    char *top = own + sizeof own - 24;
    *(long *)top = 1; /* where it would return to: unwinding faults there */
    block = make();
    if (setjmp(home) == 0) __asm__ volatile("movq %0, %%rsp; jmp *%1" : : "r"(top), "r"(on_own_stack));
    free((void *)block);
    puts("came back");
}
""",
    "errno and the mask are as they were": """
int main(void) {
    volatile char *block = make();
    sigset_t before = {0}, after = {0};
    sigprocmask(SIG_BLOCK, NULL, &before);
    errno = 77;
    spoil(block);
    printf("%d\\n", errno);
    sigprocmask(SIG_BLOCK, NULL, &after);
    printf("%d\\n", memcmp(&before, &after, sizeof before));
    free((void *)block);
}
""",
    "a process that it starts and that blocks nothing": """
int main(int count, char **words) {
    if (count > 1) { wrong(); puts("child"); return 0; }
    fflush(stdout);
    if (fork() == 0) execl(words[0], words[0], "again", NULL);
    wait(NULL);
}
""",
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_program_does_the_same_with_traps_as_without(name: str) -> None:
    options = ("--tries", "2", "--no-trap-found")

    hunted = heapwitness_hunt(compiled(HEAD + PROGRAMS[name], "-pthread"), options=options)

    assert (hunted.status, hunted.tries) == (FOUND, 2), hunted.stderr
    assert [one["store"]["stack"][0]["function"] for one in hunted.stores] == ["spoil"]
    first, second = hunted.stdout[: len(hunted.stdout) // 2], hunted.stdout[len(hunted.stdout) // 2 :]
    assert first == second != ""


CONFINED = """
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
int main(void) {
    volatile char *one = make(), *other = make();
    free((void *)other);
    struct sock_filter filter[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_mprotect, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {.len = 4, .filter = filter};
    spoil(one);
    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program);
    spoil(one);
    other[3] = 1;
    free((void *)one);
    volatile char *third = make();
    spoil(third);
    puts("done");
}
"""


def test_program_that_forbids_itself_what_traps_need_goes_on_without_them() -> None:
    hunted = heapwitness_hunt(compiled(HEAD + CONFINED), options=("--tries", "2", "--no-trap-found"))

    assert (hunted.status, hunted.stdout.count("done")) == (FOUND, 2), hunted.stderr
    assert [one["store"]["stack"][0]["function"] for one in hunted.stores] == ["spoil"]


CRASH = """
int main(void) {
    wrong();
    fflush(stdout);
    nothing[5] = 1;
}
"""


def test_crash_of_its_own_stays_its_own() -> None:
    hunted = heapwitness_hunt(compiled(HEAD + CRASH), options=("--tries", "2", "--error-exitcode", "0"))

    assert hunted.status == 128 + 11
    (crash,) = hunted.report["crashes"]
    assert (crash["signal"], crash["address"], crash["access"]) == ("SIGSEGV", 5, "write")
    assert crash["stack"][0]["function"] == "main"
    assert [one["store"]["stack"][0]["function"] for one in hunted.stores] == ["spoil"]


FAULTHANDLER = """
import ctypes, faulthandler
faulthandler.enable()
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
block = libc.malloc(ctypes.c_size_t(24))
ctypes.memset(block, 1, 27)
libc.free(ctypes.c_void_p(block))
ctypes.string_at(0)
"""


def test_pythons_faulthandler_tells_a_crash_as_without_traps() -> None:
    options = ("--tries", "2", "--error-exitcode", "0")

    hunted = heapwitness_hunt("python3", "-c", FAULTHANDLER, options=options)

    assert hunted.status == 128 + 11
    assert hunted.stderr.count("Fatal Python error: Segmentation fault") == hunted.tries
    assert hunted.stores
    assert {one["signal"] for one in hunted.report["crashes"]} == {"SIGSEGV"}
