#define _GNU_SOURCE
/* The engine in the life of a process: start, fork, signals, exit. */
#include "lifecycle.h"
#include "fork.h"
#include "heap.h"
#include "overrun.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <sys/syscall.h>

static uint32_t process; /* whose memory this is: a vfork child sees another id */

static void tell_exit(void)
{
    hw_heap_sums sums = hw_heap_sum();
    uint64_t stats[8] = {sums.operations,          sums.nodes, sums.nodes_peak, atomic_load(&hw_findings),
                         atomic_load(&hw_repairs), 1,          sums.big};
    hw_tell_exit(stats);
}

void hw_process_ends(hw_caller caller)
{
    static _Atomic uint32_t told;
    if (process != hw_process_id() || atomic_exchange(&told, process) == process)
        return;
    hw_heap_check(HW_AT_EXIT, caller);
    tell_exit();
}

/* --- signals ---------------------------------------------------------------------------------- */

static void check_is_asked_for(int number)
{
    int before = errno;
    (void)number;
    hw_heap_check(HW_AT_CHECK, HW_HERE);
    errno = before;
}

/* A crash is often the late end of an overwrite: look at the heap, then let it happen. */
static void crash(int number, siginfo_t *information, void *context)
{
    struct sigaction fatal = {.sa_handler = SIG_DFL};
    sigaction(number, &fatal, NULL);
    if (process == hw_process_id() && !hw_is_engaged()) {
        hw_trap trap = hw_trap_of(information, context);
        hw_tell_overrun(&trap, HW_HERE);
        hw_heap_check(HW_AT_CHECK, HW_HERE);
        tell_exit();
    }
    if (information->si_code <= 0) /* it was sent; a fault happens again on return */
        hw_call(SYS_tgkill, (long)hw_process_id(), (long)hw_thread_id(), number, 0, 0, 0);
}

static void watch_crashes(void)
{
    static const int fatal[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT};
    for (unsigned i = 0; i < sizeof fatal / sizeof fatal[0]; i++) {
        struct sigaction now, ours = {.sa_sigaction = crash, .sa_flags = SA_NODEFER | SA_ONSTACK | SA_SIGINFO};
        if (sigaction(fatal[i], NULL, &now) == 0 && !(now.sa_flags & SA_SIGINFO) && now.sa_handler == SIG_DFL)
            sigaction(fatal[i], &ours, NULL);
    }
}

/* --- fork ------------------------------------------------------------------------------------- */

static void in_parent(void)
{
    hw_after_fork(false);
}

static void in_child(void)
{
    hw_after_fork(true);
    process = hw_process_id();
    atomic_store(&hw_findings, 0);
    atomic_store(&hw_repairs, 0);
    hw_checks_after_fork();
    hw_tell_hello();
}

/* --- start and end ---------------------------------------------------------------------------- */

__attribute__((constructor(101))) static void start(void)
{
    int before = errno;
    hw_fence_init();
    hw_settings_read();
    hw_ready_again();
    hw_arenas_init();
    process = hw_process_id();
    if (hw_me.arena) /* the program allocated before this */
        hw_sites_renew(&hw_me.arena->sites, process);
    pthread_atfork(hw_before_fork, in_parent, in_child);
    if (hw_set.check_signal) {
        struct sigaction ask = {.sa_handler = check_is_asked_for, .sa_flags = SA_RESTART};
        sigaction(hw_set.check_signal, &ask, NULL);
    }
    watch_crashes();
    hw_tell_hello();
    errno = before;
}

__attribute__((destructor(101))) static void end(void)
{
    hw_process_ends(HW_HERE);
}
