#define _GNU_SOURCE
#include "guard.h"

#include "system.h"

#include <setjmp.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>

enum { APART_MS = 1000, MASK_BYTES = 8 };

/* As the kernel has it; the library's own sigaction may belong to the program. */
typedef struct action {
    uint64_t handler, flags, restorer, mask;
} action;

static uintptr_t ours;
static __thread sigjmp_buf *back;

void hw_guard_handler(uintptr_t handler)
{
    ours = handler;
}

static bool comes_to_us(int number)
{
    action now = {0};
    return ours && hw_call(SYS_rt_sigaction, number, 0, (long)&now, MASK_BYTES, 0, 0) == 0 && now.handler == ours;
}

static bool faults_come_to_us(void)
{
    return comes_to_us(SIGSEGV) && comes_to_us(SIGBUS);
}

void hw_guard_caught(int code)
{
    sigjmp_buf *to = back;
    if (!to || code <= 0)
        return;
    back = NULL;
    siglongjmp(*to, 1);
}

/* No other handler runs meanwhile: it could leave by a jump of its own, or fault itself. */
static bool jump_back_on_fault(hw_work *work, void *argument)
{
    sigjmp_buf here, *outer = back;
    uint64_t others = ~(UINT64_C(1) << (SIGSEGV - 1) | UINT64_C(1) << (SIGBUS - 1)), before = 0;
    hw_call(SYS_rt_sigprocmask, SIG_SETMASK, (long)&others, (long)&before, MASK_BYTES, 0, 0);
    bool whole = sigsetjmp(here, 0) == 0;
    if (whole) {
        back = &here;
        work(argument);
    }
    back = outer;
    hw_call(SYS_rt_sigprocmask, SIG_SETMASK, (long)&before, 0, MASK_BYTES, 0, 0);
    return whole;
}

bool hw_guarded(hw_work *work, void *argument)
{
    if (faults_come_to_us())
        return jump_back_on_fault(work, argument);
    work(argument);
    return true;
}

/* --- in a copy of the process ------------------------------------------------------------------ */

typedef struct shared {
    _Atomic bool done;
    _Alignas(16) unsigned char argument[];
} shared;

/* It leaves no core, and ends by whatever happens to it. */
static void work_in_copy(shared *with, hw_work *work)
{
    static const int fatal[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT, SIGTRAP};
    action usual = {0};
    uint64_t faults = 0;
    hw_call(SYS_prctl, PR_SET_DUMPABLE, 0, 0, 0, 0, 0);
    for (unsigned i = 0; i < sizeof fatal / sizeof fatal[0]; i++) {
        hw_call(SYS_rt_sigaction, fatal[i], (long)&usual, 0, MASK_BYTES, 0, 0);
        faults |= UINT64_C(1) << (fatal[i] - 1);
    }
    uint64_t others = ~faults;
    hw_call(SYS_rt_sigprocmask, SIG_SETMASK, (long)&others, 0, MASK_BYTES, 0, 0);
    work(with->argument);
    atomic_store(&with->done, true);
    hw_call(SYS_exit_group, 0, 0, 0, 0, 0, 0);
}

static void await_copy(long copy)
{
    for (uint64_t end = hw_milliseconds() + APART_MS; hw_milliseconds() < end; hw_sleep(0))
        if (hw_call(SYS_wait4, copy, 0, WNOHANG | __WALL, 0, 0, 0) != 0)
            return;
    hw_call(SYS_kill, copy, SIGKILL, 0, 0, 0, 0);
    hw_call(SYS_wait4, copy, 0, __WALL, 0, 0, 0);
}

bool hw_guarded_apart(hw_work *work, void *argument, size_t bytes)
{
    if (faults_come_to_us())
        return jump_back_on_fault(work, argument);
    size_t room = hw_round_up(sizeof(shared) + bytes, HW_PAGE);
    shared *with = hw_map_shared(room);
    if (!with)
        return false;
    memcpy(with->argument, argument, bytes);
    /* Without a signal at its end, the program's own waiting does not see it. */
    long copy = hw_call(SYS_clone, 0, 0, 0, 0, 0, 0);
    if (copy == 0)
        work_in_copy(with, work);
    if (copy > 0)
        await_copy(copy);
    bool done = atomic_load(&with->done);
    memcpy(argument, with->argument, bytes);
    hw_unmap(with, room);
    if (copy < 0) { /* as many processes as may be: then without a guard */
        work(argument);
        return true;
    }
    return done;
}
