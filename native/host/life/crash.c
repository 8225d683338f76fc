#define _GNU_SOURCE
#include "life/crash.h"

#include "heap/heap.h"
#include "life/lifecycle.h"
#include "life/overrun.h"
#include "life/raised.h"
#include "os/guard.h"
#include "os/room.h"
#include "os/signal_stack.h"
#include "os/signals.h"
#include "tell/evidence.h"
#include "tell/held.h"

#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <ucontext.h>

enum { MAIN_SIGNAL_STACK = 256 << 10 };

static uint32_t process;          /* a vfork child sees another id */
static _Atomic uint32_t crashing; /* the thread that was first; 0: none was */

/* --- looking, on a stack of our own ------------------------------------------------------------- */

typedef struct look {
    hw_crash crash;
    hw_caller caller;
    hw_trap trap;
    bool whole;
    uint32_t site;
} look;

static look look_at(const siginfo_t *information, const ucontext_t *context)
{
    return (look){.crash = hw_crash_words(information, context),
                  .caller = hw_interrupted(context),
                  .trap = hw_trap_of(information, context)};
}

static void find_site(void *argument)
{
    look *l = argument;
    l->site = hw_noticed_at(&l->caller);
}

static void check(void *argument)
{
    look *l = argument;
    hw_tell_overrun(&l->trap, l->caller);
    l->whole = hw_heap_check_crashed(l->caller);
    l->crash.nodes = hw_heap_sum().nodes;
}

/* The crash itself is told first: whatever comes after may be the last. */
static void look_at_heap(look *l)
{
    siginfo_t information;
    ucontext_t context;
    uint64_t others = ~(UINT64_C(1) << (SIGSEGV - 1) | UINT64_C(1) << (SIGBUS - 1));
    hw_call(SYS_rt_sigprocmask, SIG_SETMASK, (long)&others, 0, sizeof others, 0, 0);
    hw_tell_crash(&l->crash, &l->caller, 0);
    if (l->crash.sender == process && hw_fault_before((int)l->crash.signal, &information, &context))
        *l = look_at(&information, &context);
    if (hw_is_engaged())
        l->crash.state |= HW_CRASH_ENGAGED;
    uint64_t before = atomic_load(&hw_findings);
    if (!hw_guarded(check, l))
        l->crash.state |= HW_CRASH_BROKE;
    else if (l->whole)
        l->crash.state |= HW_CRASH_CHECKED;
    if (atomic_load(&hw_findings) != before)
        l->crash.state |= HW_CRASH_FOUND;
    l->crash.state |= HW_CRASH_LOOKED;
    if (!hw_guarded(find_site, l))
        l->site = 0;
    hw_tell_crash(&l->crash, &l->caller, l->site);
    hw_tell_end(l->crash.signal);
}

typedef struct signalled {
    const siginfo_t *information;
    const ucontext_t *context;
} signalled;

static void look_around(void *argument)
{
    const signalled *s = argument;
    look l = look_at(s->information, s->context);
    look_at_heap(&l);
}

/* --- the handler ------------------------------------------------------------------------------- */

/* Another thread looks at the heap, and then the process ends. */
static void let_the_first_end_it(void)
{
    for (uint64_t end = hw_milliseconds() + hw_patience(0); hw_milliseconds() < end;)
        hw_sleep(10);
}

/* A crash is often the late end of an overwrite: look at the heap, then let it happen. A second fault of the thread, in
   what is not guarded, ends it at once. */
static void on_crash(int number, siginfo_t *information, void *context)
{
    signalled s = {information, context};
    hw_caller at = hw_interrupted(context);
    hw_guard_caught(information->si_code, (uintptr_t)at.pc, (uintptr_t)at.frame);
    uint32_t nobody = 0, self = hw_thread_id();
    if (process == hw_process_id()) {
        if (atomic_compare_exchange_strong(&crashing, &nobody, self)) {
            hw_with_room(look_around, &s);
        } else if (nobody != self) {
            let_the_first_end_it();
        }
    }
    hw_signal_let_go(number);
    /* A fault happens again on return, but not what was sent, nor what the kernel forces where it finds no room on the
       stack for the frame of a signal. */
    if (information->si_code <= 0 || information->si_code == SI_KERNEL)
        hw_call_anyway(SYS_tgkill, (long)hw_process_id(), (long)hw_thread_id(), number, 0, 0, 0);
}

void hw_crash_watch(void)
{
    static const int fatal[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT};
    process = hw_process_id();
    for (unsigned i = 0; i < sizeof fatal / sizeof fatal[0]; i++)
        hw_signal_take(fatal[i], on_crash, SA_NODEFER | SA_ONSTACK, false);
    hw_guard_handler((uintptr_t)on_crash);
    hw_signal_stack_lend(MAIN_SIGNAL_STACK);
}

void hw_crash_after_fork(void)
{
    process = hw_process_id();
    atomic_store(&crashing, 0);
}
