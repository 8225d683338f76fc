#define _GNU_SOURCE
#include "os/guard.h"

#include "os/system.h"

#include <dlfcn.h>
#include <setjmp.h>
#include <signal.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>

enum { APART_MS = 1000, MASK_BYTES = 8 };

#ifdef DLFO_STRUCT_HAS_EH_DBASE
/* glibc 2.35 and newer. */
extern int _dl_find_object(void *pc, struct dl_find_object *result) __attribute__((weak));
#endif

/* As the kernel has it; the library's own sigaction may belong to the program. */
typedef struct action {
    uint64_t handler, flags, restorer, mask;
} action;

/* A guard lies on the stack. One that was left by a jump of the program's, out of a signal handler, is known by what it
   does not hold any more, or by where the stack is. */
typedef struct guard {
    uint64_t mark;
    struct guard *outer;
    sigjmp_buf back;
} guard;
enum { DEEPEST = 256 << 10 };
#define MARK(guard) ((uint64_t)(uintptr_t)(guard) ^ UINT64_C(0x6472617567647268))

/* Code that guarded work runs in: the engine, the loader, libc. */
typedef struct code {
    uintptr_t low, high;
} code;
static code codes[3];
static uintptr_t ours;
static __thread guard *innermost;

static void note_code(unsigned number, void *within)
{
    code *c = &codes[number];
#ifdef DLFO_STRUCT_HAS_EH_DBASE
    struct dl_find_object found;
    if (&_dl_find_object && _dl_find_object(within, &found) == 0)
        *c = (code){(uintptr_t)found.dlfo_map_start, (uintptr_t)found.dlfo_map_end};
#else
    (void)within;
    *c = (code){0, UINTPTR_MAX};
#endif
}

void hw_guard_handler(uintptr_t handler)
{
    ours = handler;
    note_code(0, (void *)handler);
    note_code(1, (void *)(uintptr_t)&strlen);
    note_code(2, (void *)getauxval(AT_BASE));
}

static bool comes_to_us(int number)
{
    action now = {0};
    return ours && hw_call(SYS_rt_sigaction, number, 0, (long)&now, MASK_BYTES, 0, 0) == 0 && now.handler == ours;
}

static bool is_guarded_code(uintptr_t pc)
{
    for (unsigned i = 0; i < sizeof codes / sizeof codes[0]; i++)
        if (pc >= codes[i].low && pc < codes[i].high)
            return true;
    return false;
}

void hw_guard_caught(int code, uintptr_t pc, uintptr_t sp)
{
    guard *g = innermost;
    innermost = NULL;
    if (g && code > 0 && (uintptr_t)g - sp < DEEPEST && g->mark == MARK(g) && is_guarded_code(pc))
        siglongjmp(g->back, 1);
}

bool hw_guarded(hw_work *work, void *argument)
{
    guard here = {.mark = MARK(&here), .outer = innermost};
    if (here.outer < &here) /* it was left */
        here.outer = NULL;
    bool whole = sigsetjmp(here.back, 0) == 0;
    if (whole) {
        innermost = &here;
        atomic_signal_fence(memory_order_seq_cst);
        work(argument);
        atomic_signal_fence(memory_order_seq_cst);
    }
    innermost = here.outer;
    here.mark = 0;
    return whole;
}

/* No other handler runs meanwhile, and a fault is not blocked, which would end the process. */
static bool guarded_with_faults_let_in(hw_work *work, void *argument)
{
    uint64_t others = ~(UINT64_C(1) << (SIGSEGV - 1) | UINT64_C(1) << (SIGBUS - 1)), before = 0;
    hw_call(SYS_rt_sigprocmask, SIG_SETMASK, (long)&others, (long)&before, MASK_BYTES, 0, 0);
    bool whole = hw_guarded(work, argument);
    hw_call(SYS_rt_sigprocmask, SIG_SETMASK, (long)&before, 0, MASK_BYTES, 0, 0);
    return whole;
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
    if (comes_to_us(SIGSEGV) && comes_to_us(SIGBUS))
        return guarded_with_faults_let_in(work, argument);
    size_t room = hw_round_up(sizeof(shared) + bytes, hw_page());
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
