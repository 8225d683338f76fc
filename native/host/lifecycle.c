#define _GNU_SOURCE
/* The engine in the life of a process: start, fork, signals, exit. */
#include "lifecycle.h"
#include "crash.h"
#include "fork.h"
#include "heap.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>

static uint32_t process; /* whose memory this is: a vfork child sees another id */

void hw_process_ends(hw_caller caller)
{
    static _Atomic uint32_t told;
    if (process != hw_process_id() || atomic_exchange(&told, process) == process)
        return;
    hw_heap_check(HW_AT_EXIT, caller);
    hw_heap_tell_end();
}

/* --- signals ---------------------------------------------------------------------------------- */

static void check_is_asked_for(int number)
{
    int before = errno;
    (void)number;
    hw_heap_check(HW_AT_CHECK, HW_HERE);
    errno = before;
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
    hw_crash_after_fork();
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
    hw_crash_watch();
    hw_tell_hello();
    errno = before;
}

__attribute__((destructor(101))) static void end(void)
{
    hw_process_ends(HW_HERE);
}
