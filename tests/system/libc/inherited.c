/* Programs that are started under a filter (seccomp) which is not their own, and end as they would without the engine.

   program MODE ENGINE LOG: for each of many calls, a copy forbids it to itself and becomes the program that works,
   first plainly. `launched`: at once; `by_a_parent`: its child does, under the same filter; `signals`: the call is
   answered by a signal. With a further word the program damages its heap. */
#define _GNU_SOURCE
#include "check.h"

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>

extern char **environ;

static const int each[] = {
    SYS_socket,        SYS_connect,       SYS_sendto,      SYS_recvfrom,       SYS_setsockopt,
    SYS_getsockopt,    SYS_getpid,        SYS_gettid,      SYS_getppid,        SYS_membarrier,
    SYS_futex,         SYS_madvise,       SYS_sigaltstack, SYS_rt_sigaction,   SYS_timer_create,
    SYS_rt_sigpending, SYS_clock_gettime, SYS_nanosleep,   SYS_rt_sigprocmask, SYS_process_vm_readv,
    SYS_fcntl,         SYS_mremap,        SYS_prctl,       SYS_ppoll,          SYS_clone,
    SYS_wait4,         SYS_tgkill,        SYS_readlinkat,  SYS_geteuid,        SYS_pipe2,
};
enum { CALLS = sizeof each / sizeof each[0] };

static void work(bool damages)
{
    enum { BLOCKS = 400 };
    char *block[BLOCKS];
    for (int i = 0; i < BLOCKS; i++)
        CHECK(block[i] = malloc(opaque((size_t)i * 37 % 5000)));
    for (int i = 0; i < BLOCKS; i++)
        CHECK(block[i] = realloc(block[i], opaque((size_t)i * 91 % 9000 + 1)));
    for (int i = 0; i < BLOCKS; i++)
        free(block[i]);
    free(malloc(opaque(3000000)));
    char *last = malloc(opaque(24));
    if (damages)
        memset(hidden(last), 'x', opaque(25));
    free(last);
    _exit(7);
}

static void forbid(int number, unsigned answer)
{
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned)number, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, answer),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog filter = {sizeof code / sizeof code[0], code};
    CHECK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 && prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) == 0);
}

/* By a call that is not among them. */
static int status_of(pid_t child)
{
    siginfo_t ended;
    CHECK(waitid(P_PID, (id_t)child, &ended, WEXITED) == 0);
    return ended.si_code == CLD_EXITED ? ended.si_status : 128 + ended.si_status;
}

static int outcome(char **words, int number, const char *engine)
{
    bool by_a_parent = strcmp(words[1], "by_a_parent") == 0;
    pid_t child = fork();
    if (child)
        return status_of(child);
    if (engine) {
        setenv("LD_PRELOAD", engine, 1);
        setenv("HEAPWITNESS_LOG", words[3], 1);
    }
    forbid(number, strcmp(words[1], "signals") == 0 ? SECCOMP_RET_TRAP : SECCOMP_RET_KILL_PROCESS);
    if (by_a_parent && (child = fork()) != 0)
        _exit(status_of(child));
    char *next[] = {words[0], "work", words[4], NULL};
    execve("/proc/self/exe", next, environ);
    _exit(100);
}

int main(int count, char **words)
{
    if (count > 1 && strcmp(words[1], "work") == 0)
        work(count > 2);
    int cases = 0;
    for (int i = 0; i < CALLS; i++) {
        int plainly = outcome(words, each[i], NULL), checked = outcome(words, each[i], words[2]);
        if (plainly == 7 && checked != 7)
            dprintf(2, "call %d: %d\n", each[i], checked);
        cases += plainly == 7;
    }
    printf("%d\n", cases);
    return 0;
}
