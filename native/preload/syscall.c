/* The end of a process by libc's syscall(). All else goes on to the real one by a jump, so that what is special about
   it (a vfork's child that comes back, a clone's that has another stack) stays so. */
#define _GNU_SOURCE
#include "life/lifecycle.h"
#include "os/system.h"

#include <dlfcn.h>
#include <errno.h>
#include <sys/syscall.h>

typedef long caller(long, long, long, long, long, long, long);
static caller *known;

/* Early: looking it up needs libc's thread storage, which a sandbox's child of clone does not have. */
static HW_COLD caller *find(void)
{
    caller *found;
    *(void **)&found = dlsym(RTLD_NEXT, "syscall");
    __atomic_store_n(&known, found, __ATOMIC_RELAXED);
    return found;
}

__attribute__((constructor(102))) static void find_early(void)
{
    find();
}

long program_syscall(long, long, long, long, long, long, long) __asm__("syscall")
    __attribute__((visibility("default"), optimize("O2", "optimize-sibling-calls")));

long program_syscall(long number, long a, long b, long c, long d, long e, long f)
{
    if (HW_UNLIKELY(number == SYS_exit_group))
        hw_process_ends(HW_HERE);
    caller *next = __atomic_load_n(&known, __ATOMIC_RELAXED);
    if (HW_UNLIKELY(!next) && !(next = find())) {
        errno = ENOSYS;
        return -1;
    }
    return next(number, a, b, c, d, e, f);
}
