/* The end of a process by libc's syscall(), and what confines a process that libc has no function for. All else goes on
   to the real one by a jump, so that what is special about it (a vfork's child that comes back, a clone's that has
   another stack) stays so. */
#define _GNU_SOURCE
#include "life/lifecycle.h"
#include "life/shut_in.h"
#include "os/confined.h"
#include "os/next.h"
#include "os/record.h"
#include "os/signal_stack.h"
#include "os/system.h"

#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>

typedef long caller(long, long, long, long, long, long, long);

long program_syscall(long, long, long, long, long, long, long) __asm__("syscall")
    __attribute__((visibility("default"), optimize("O2", "optimize-sibling-calls")));

/* By number, with the words of seccomp() or of prctl(). */
static HW_COLD long confine(caller *call, long number, long a, long b, long c, long d, long e, long f)
{
    bool filtered = number == SYS_seccomp ? a == SECCOMP_SET_MODE_FILTER : b == SECCOMP_MODE_FILTER;
    const struct sock_fprog *filter = (const struct sock_fprog *)c;
    bool whole = number == SYS_seccomp && (b & SECCOMP_FILTER_FLAG_TSYNC);
    void *confinement = hw_shut_in_begins(filtered ? filter : NULL, whole);
    long result = call(number, a, b, c, d, e, f);
    hw_shut_in_ends(confinement, result >= 0);
    return result;
}

#ifndef SYS_landlock_restrict_self
#define SYS_landlock_restrict_self 446
#endif

static bool hides_files(long number)
{
    return number == SYS_chroot || number == SYS_pivot_root || number == SYS_landlock_restrict_self;
}

/* As in chroot.c. */
static HW_COLD long hide_files(caller *call, long number, long a, long b)
{
    if (!hw_has_libcs_storage())
        return call(number, a, b, 0, 0, 0, 0);
    hw_record_keep();
    long result = call(number, a, b, 0, 0, 0, 0);
    if (result < 0)
        hw_record_forget();
    return result;
}

/* As in limits.c. */
static HW_COLD void limit(long number, long a, long b, long c)
{
    long resource = number == SYS_setrlimit ? a : b, wanted = number == SYS_setrlimit ? b : c;
    hw_descriptors_limited(number == SYS_setrlimit ? 0 : (int)a, (int)resource, (const struct rlimit *)wanted);
}

static bool confines(long number, long a, long b)
{
    return (number == SYS_seccomp && (a == SECCOMP_SET_MODE_FILTER || a == SECCOMP_SET_MODE_STRICT)) ||
           (number == SYS_prctl && a == PR_SET_SECCOMP && (b == SECCOMP_MODE_FILTER || b == SECCOMP_MODE_STRICT));
}

/* A thread that may do nothing else ends the process with itself. */
static bool ends(long number)
{
    return number == SYS_exit_group || (number == SYS_exit && hw_confined && hw_is_strictly_confined());
}

long program_syscall(long number, long a, long b, long c, long d, long e, long f)
{
    if (HW_UNLIKELY(ends(number)))
        hw_process_ends(HW_HERE);
    NEXT("syscall", caller, -1);
    if (HW_UNLIKELY(number == SYS_prlimit64 || number == SYS_setrlimit))
        limit(number, a, b, c);
    if (HW_UNLIKELY(number == SYS_sigaltstack))
        hw_signal_stack_is_set((const stack_t *)a);
    if (HW_UNLIKELY(hides_files(number)))
        return hide_files(next, number, a, b);
    if (HW_UNLIKELY(confines(number, a, b)))
        return confine(next, number, a, b, c, d, e, f);
    return next(number, a, b, c, d, e, f);
}
