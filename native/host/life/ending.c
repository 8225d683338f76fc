#define _GNU_SOURCE
#include "life/ending.h"

#include "heap/abandon.h"
#include "heap/heap.h"
#include "life/lifecycle.h"
#include "os/signals.h"

#include <errno.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <ucontext.h>

/* Milliseconds. MOST: of a check that a signal asks for. GRACE: after which a further signal cuts it short; some
   programs send the same signal to a process and to its group. */
enum { MOST = 5000, GRACE = 500, AGAIN = 50, PATIENCE = 2000 };
/* Bytes of stack: what a check needs at least, and what it gets where there is less. */
enum { NEEDED = 64 << 10, STACK = 256 << 10 };

/* All but the crashes, whose default action ends the process; and those from HW_REALTIME on, which libc does not use.
 */
static const int ending[] = {SIGHUP,   SIGINT,  SIGQUIT,   SIGTRAP, SIGUSR1, SIGUSR2, SIGPIPE, SIGALRM,
                             SIGTERM,  SIGXCPU, SIGVTALRM, SIGXFSZ, SIGPROF, SIGIO,   SIGPWR,  SIGSYS,
#ifdef SIGSTKFLT
                             SIGSTKFLT
#endif
};
enum { HW_REALTIME = 34 };

/* --- once ------------------------------------------------------------------------------------- */

static _Atomic uint32_t claimed_by; /* the thread that does it */
static _Atomic uint64_t began;
static _Atomic bool finished;
static int by; /* the signal that it is done for, 0 for none */
static uint64_t blocked_before;

static uint64_t block_all(void)
{
    uint64_t all = UINT64_MAX, before = 0;
    hw_call(SYS_rt_sigprocmask, SIG_BLOCK, (long)&all, (long)&before, sizeof all, 0, 0);
    return before;
}

static void set_mask(uint64_t mask)
{
    hw_call(SYS_rt_sigprocmask, SIG_SETMASK, (long)&mask, 0, sizeof mask, 0, 0);
}

static uint64_t bit(int number)
{
    return UINT64_C(1) << (number - 1);
}

/* Another signal that ends the process waits: who sent it does not want to wait. */
static bool is_urged(void)
{
    uint64_t pending = 0;
    if (hw_call(SYS_rt_sigpending, (long)&pending, sizeof pending, 0, 0, 0, 0) != 0)
        return false;
    pending &= ~blocked_before;
    for (int number = 1; pending && number < HW_SIGNALS; number++)
        if (pending & bit(number) && hw_signal_is_taken(number))
            return true;
    return false;
}

static bool is_enough(void)
{
    uint64_t lasts = hw_milliseconds() - atomic_load(&began);
    return (by && lasts > MOST) || (lasts > GRACE && is_urged());
}

static void wait_for_another(void)
{
    while (!atomic_load(&finished) && hw_milliseconds() - atomic_load(&began) < PATIENCE)
        hw_sleep(1);
}

/* False: it was done before, or another thread was at it and has had its time. */
static bool check(hw_caller caller, int number)
{
    uint32_t none = 0, self = hw_thread_id();
    uint64_t before = block_all();
    if (!atomic_compare_exchange_strong(&claimed_by, &none, self)) {
        if (none != self)
            wait_for_another();
        set_mask(before);
        return false;
    }
    atomic_store(&began, hw_milliseconds());
    by = number;
    blocked_before = before;
    bool all = hw_heap_check_last(caller, is_enough);
    hw_tell_end((uint64_t)number | (all ? 0 : HW_CUT_SHORT));
    atomic_store(&finished, true);
    set_mask(before);
    return true;
}

void hw_last_check(hw_caller caller)
{
    check(caller, 0);
}

void hw_endings_after_fork(void)
{
    atomic_store(&claimed_by, 0);
    atomic_store(&finished, false);
    hw_this_thread.postponed = 0;
    if (hw_process_id() == 1) /* whom the default action does not end */
        hw_signal_let_all_go();
}

/* --- by a signal ------------------------------------------------------------------------------ */

/* Comes back where the default action does not end the process: for the first one of a pid namespace. */
static void die(int number)
{
    uint64_t only = bit(number);
    hw_signal_let_go(number);
    hw_call_anyway(SYS_tgkill, (long)hw_process_id(), (long)hw_thread_id(), number, 0, 0, 0);
    hw_call(SYS_rt_sigprocmask, SIG_UNBLOCK, (long)&only, 0, sizeof only, 0, 0);
}

typedef struct asked {
    ucontext_t here, there;
    hw_caller caller;
    int number;
} asked;

static void check_there(unsigned high, unsigned low)
{
    asked *a;
    uintptr_t at = (uintptr_t)((uint64_t)high << 32 | low);
    memcpy(&a, &at, sizeof a);
    check(a->caller, a->number);
}

/* On a stack of its own; it is not given back, as the process ends. */
static void check_on_another_stack(hw_caller caller, int number)
{
    asked *a = hw_map(STACK);
    if (!a || getcontext(&a->there) != 0)
        return;
    uint64_t at = (uint64_t)(uintptr_t)a;
    a->caller = caller;
    a->number = number;
    a->there.uc_link = &a->here;
    a->there.uc_stack = (stack_t){.ss_sp = (char *)a + sizeof *a, .ss_size = STACK - sizeof *a};
    void (*entry)(void);
    void (*with_words)(unsigned, unsigned) = check_there;
    memcpy(&entry, &with_words, sizeof entry);
    makecontext(&a->there, entry, 2, (unsigned)(at >> 32), (unsigned)at);
    swapcontext(&a->here, &a->there);
}

static hw_caller interrupted(const ucontext_t *context, uintptr_t *sp)
{
#if defined(__x86_64__)
    *sp = (uintptr_t)context->uc_mcontext.gregs[REG_RSP];
    return (hw_caller){(void *)(uintptr_t)context->uc_mcontext.gregs[REG_RIP], __builtin_frame_address(0)};
#elif defined(__aarch64__)
    *sp = context->uc_mcontext.sp;
    return (hw_caller){(void *)(uintptr_t)context->uc_mcontext.pc, __builtin_frame_address(0)};
#else
    (void)context;
    *sp = 0;
    return (hw_caller){__builtin_return_address(0), __builtin_frame_address(0)};
#endif
}

static bool has_room(const ucontext_t *context)
{
    uintptr_t here = (uintptr_t)__builtin_frame_address(0), low = (uintptr_t)context->uc_stack.ss_sp;
    if (!(context->uc_stack.ss_flags & SS_DISABLE) && here - low < context->uc_stack.ss_size)
        return here - low >= NEEDED;
    const hw_arena *arena = hw_this_thread.arena;
    return arena && here >= arena->sites.stack_low && here < arena->sites.stack_high &&
           here - arena->sites.stack_low >= NEEDED;
}

/* --- in the middle of an operation ------------------------------------------------------------ */

/* The same signal comes again and again, until the operation is over. */
static void come_again(int number)
{
    struct sigevent event = {.sigev_notify = SIGEV_THREAD_ID, .sigev_signo = number};
    struct itimerspec span = {.it_interval = {0, AGAIN * 1000000L}, .it_value = {0, AGAIN * 1000000L}};
    int timer;
    event._sigev_un._tid = (pid_t)hw_thread_id();
    if (hw_call(SYS_timer_create, CLOCK_MONOTONIC, (long)&event, (long)&timer, 0, 0, 0) != 0)
        return;
    hw_this_thread.postponed_timer = timer + 1;
    hw_call(SYS_timer_settime, timer, 0, (long)&span, 0, 0, 0);
}

static void come_no_more(void)
{
    if (hw_this_thread.postponed_timer)
        hw_call(SYS_timer_delete, hw_this_thread.postponed_timer - 1, 0, 0, 0, 0, 0);
    hw_this_thread.postponed_timer = 0;
    hw_this_thread.postponed = 0;
}

/* False: it has been for too long, the operation does not come to an end. */
static bool postpone(int number)
{
    if (!hw_this_thread.postponed) {
        hw_this_thread.postponed = number;
        hw_this_thread.postponed_since = hw_milliseconds();
        come_again(number);
    }
    if (hw_this_thread.arena)
        atomic_store(&hw_this_thread.arena->whole_check, true);
    return hw_milliseconds() - hw_this_thread.postponed_since < PATIENCE;
}

void hw_end_postponed(void)
{
    int number = hw_this_thread.postponed;
    if (!number || hw_is_engaged() || hw_this_thread.forks)
        return;
    uint64_t before = block_all();
    come_no_more();
    check(HW_HERE, number);
    die(number);
    set_mask(before);
}

/* --- the handler ------------------------------------------------------------------------------ */

static void ends(int number, siginfo_t *information, void *context)
{
    int before = errno;
    uintptr_t sp;
    hw_caller caller = interrupted(context, &sp);
    (void)information;
    if (hw_process_is_ours()) {
        if (hw_is_engaged_at(sp)) {
            if (postpone(number)) {
                errno = before;
                return;
            }
            hw_tell_end((uint64_t)number | HW_CUT_SHORT);
        } else {
            come_no_more();
            if (has_room(context))
                check(caller, number);
            else
                check_on_another_stack(caller, number);
        }
    }
    die(number);
    hw_endings_after_fork();
    errno = before;
}

static void take(int number)
{
    hw_signal_take(number, ends, SA_ONSTACK | SA_RESTART, false);
}

void hw_endings_watch(void)
{
    if (hw_process_id() == 1)
        return;
    for (unsigned i = 0; i < sizeof ending / sizeof ending[0]; i++)
        take(ending[i]);
    for (int number = HW_REALTIME; number < HW_SIGNALS; number++)
        take(number);
}
