#define _GNU_SOURCE
#include "os/inherited.h"

#include "os/confined.h"
#include "os/system.h"

#include <linux/filter.h>
#include <linux/prctl.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>

/* --- what /proc says ---------------------------------------------------------------------------- */

enum { TEXT = 4096, PATH = 64 };
typedef struct status {
    char text[TEXT];
} status;

/* The last number of a line that begins so; -1: there is none. */
static long number_in(const status *of, const char *name)
{
    const char *at = strstr(of->text, name);
    long number = -1;
    for (at = at ? at + strlen(name) : ""; *at && *at != '\n'; at++)
        if (*at >= '0' && *at <= '9')
            number = (at[-1] >= '0' && at[-1] <= '9' ? number * 10 : 0) + (*at - '0');
    return number;
}
#define FILTERED(status) (number_in(status, "\nSeccomp:") == SECCOMP_MODE_FILTER)
#define FILTERS(status) number_in(status, "\nSeccomp_filters:") /* Linux 5.9 and newer */

/* Then it is under the same filters: they are only ever added. */
static bool has_as_many(long process, long filters)
{
    static status theirs;
    char path[PATH] = "/proc/", digits[24];
    strcat(strcat(path, hw_decimal(digits + sizeof digits, (unsigned long)process)), "/status");
    return hw_read_text(path, theirs.text, sizeof theirs.text) && FILTERED(&theirs) && FILTERS(&theirs) == filters;
}

/* Who is under the same filters and has a child may have children. The first process of a container has been started
   by what made its filters, which is no launcher that forbids itself things. */
static bool may_have_children(const status *own)
{
    long parent = number_in(own, "\nPPid:"), filters = FILTERS(own);
    return parent == 0 || (parent > 0 && has_as_many(parent, filters)) || has_as_many(1, filters);
}

/* --- what can be tried -------------------------------------------------------------------------- */

/* Nothing comes of -1 in all places but an error. The first two are for the trial itself: no core, and an end to wait
   for. */
enum { NOTHING = -1, WAITS = 1 };
static const struct trial {
    short number;
    int a, b;
} trials[] = {
    {SYS_prctl, PR_SET_DUMPABLE, 0},
    {SYS_wait4, NOTHING, NOTHING},
    {SYS_socket, AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC},
    {SYS_prctl, PR_SET_PTRACER, 0},
    {SYS_getpid, NOTHING, NOTHING},
    {SYS_gettid, NOTHING, NOTHING},
    {SYS_getppid, NOTHING, NOTHING},
    {SYS_geteuid, NOTHING, NOTHING},
    {SYS_connect, NOTHING, NOTHING},
    {SYS_sendto, NOTHING, NOTHING},
    {SYS_recvfrom, NOTHING, NOTHING},
    {SYS_setsockopt, NOTHING, NOTHING},
    {SYS_getsockopt, NOTHING, NOTHING},
    {SYS_ppoll, NOTHING, NOTHING},
    {SYS_pselect6, NOTHING, NOTHING},
    {SYS_rt_sigaction, NOTHING, NOTHING},
    {SYS_rt_sigprocmask, NOTHING, NOTHING},
    {SYS_mincore, NOTHING, NOTHING},
    {SYS_rt_sigpending, NOTHING, NOTHING},
    {SYS_rt_sigtimedwait, NOTHING, NOTHING},
    {SYS_sigaltstack, NOTHING, NOTHING},
    {SYS_tgkill, NOTHING, NOTHING},
    {SYS_timer_create, NOTHING, NOTHING},
    {SYS_timer_settime, NOTHING, NOTHING},
    {SYS_timer_delete, NOTHING, NOTHING},
    {SYS_nanosleep, NOTHING, NOTHING},
    {SYS_clock_gettime, NOTHING, NOTHING},
    {SYS_futex, NOTHING, NOTHING},
    {SYS_membarrier, NOTHING, NOTHING},
    {SYS_getrandom, NOTHING, NOTHING},
    {SYS_prlimit64, NOTHING, NOTHING},
    {SYS_madvise, NOTHING, NOTHING},
    {SYS_mremap, NOTHING, NOTHING},
    {SYS_process_vm_readv, NOTHING, NOTHING},
    {SYS_fcntl, NOTHING, NOTHING},
    {SYS_fstat, NOTHING, NOTHING},
    {SYS_newfstatat, NOTHING, NOTHING},
    {SYS_faccessat, NOTHING, NOTHING},
    {SYS_readlinkat, NOTHING, NOTHING},
    {SYS_lseek, NOTHING, NOTHING},
    {SYS_ftruncate, NOTHING, NOTHING},
    {SYS_write, NOTHING, NOTHING},
    {SYS_writev, NOTHING, NOTHING},
    {SYS_pread64, NOTHING, NOTHING},
    {SYS_pipe2, NOTHING, NOTHING},
#if defined(__x86_64__)
    {SYS_arch_prctl, NOTHING, NOTHING},
#endif
};
enum { TRIALS = sizeof trials / sizeof trials[0] };

typedef struct progress {
    _Atomic unsigned at; /* the trial that is under way */
} progress;

static void try_from(progress *p, unsigned first)
{
    for (unsigned i = first; i < TRIALS; i++) {
        atomic_store(&p->at, i);
        hw_call_anyway(trials[i].number, trials[i].a, trials[i].b, trials[i].a == NOTHING ? NOTHING : 0, NOTHING,
                       NOTHING, NOTHING);
    }
    atomic_store(&p->at, TRIALS);
    for (;;)
        hw_call_anyway(SYS_exit_group, 0, 0, 0, 0, 0, 0);
}

/* A copy of the process makes the calls, and a further one goes on behind the call that was its end. The process stands
   still meanwhile, and none of its handlers hears of it. Returns how many numbers are the end; -1: no copy is to be
   had. */
static int try_all(long ends[TRIALS])
{
    progress *p = hw_map_shared(sizeof *p);
    int count = 0;
    if (!p)
        return -1;
    for (unsigned first = 0; first < TRIALS; first = atomic_load(&p->at) + 1) {
        long copy = hw_call_anyway(SYS_clone, CLONE_VFORK, 0, 0, 0, 0, 0);
        if (copy == 0)
            try_from(p, first);
        if (copy < 0) {
            count = -1;
            break;
        }
        bool waits = atomic_load(&p->at) > WAITS;
        for (int i = 0; i < count; i++)
            waits = waits && ends[i] != SYS_wait4;
        if (waits)
            hw_call_anyway(SYS_wait4, copy, 0, __WALL, 0, 0, 0);
        if (atomic_load(&p->at) < TRIALS)
            ends[count++] = trials[atomic_load(&p->at)].number;
    }
    hw_unmap(p, sizeof *p);
    return count;
}

/* --- as a filter of the program's own ----------------------------------------------------------- */

/* These numbers are answered by `listed`, all others by `others`. */
static void confine(const long *numbers, int count, uint32_t listed, uint32_t others)
{
    enum { MOST = 64 };
    struct sock_filter code[MOST + 3] = {BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr))};
    unsigned short used = 1;
    for (int i = 0; i < count && i < MOST; i++)
        code[used++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)numbers[i],
                                                    (unsigned char)(count - i), 0);
    code[used++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, others);
    code[used++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, listed);
    hw_confines(&(struct sock_fprog){.len = used, .filter = code}, true);
}

/* The dynamic linker has made these; and those with which a record is written, which no program is asked for that is
   right. */
static const long shown[] = {SYS_mmap,  SYS_munmap, SYS_mprotect,   SYS_openat, SYS_read,      SYS_pread64,   SYS_close,
                             SYS_fstat, SYS_write,  SYS_newfstatat, SYS_lseek,  SYS_prlimit64, SYS_exit_group};
enum { SHOWN = sizeof shown / sizeof shown[0] };
static bool quiet;

void hw_inherited_look(void)
{
    static bool looked;
    static status own;
    static long ends[TRIALS];
    if (looked)
        return;
    looked = true;
    if (!hw_read_text("/proc/self/status", own.text, sizeof own.text) || !FILTERED(&own))
        return;
    int count = may_have_children(&own) ? try_all(ends) : -1;
    quiet = count < 0;
    if (quiet) {
        hw_process_id_is((uint32_t)number_in(&own, "\nNSpid:"));
        confine(shown, SHOWN, SECCOMP_RET_ALLOW, SECCOMP_RET_KILL_PROCESS);
    } else if (count > 0) {
        confine(ends, count, SECCOMP_RET_KILL_PROCESS, SECCOMP_RET_ALLOW);
    }
}

bool hw_is_quiet(void)
{
    return quiet;
}
