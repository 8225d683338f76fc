#define _GNU_SOURCE
/* The engine in the life of a process: start, fork, signals, exit. */
#include "life/lifecycle.h"
#include "heap/abandon.h"
#include "heap/damage.h"
#include "heap/heap.h"
#include "life/crash.h"
#include "life/ending.h"
#include "life/fork.h"
#include "life/go_exit.h"
#include "os/confined.h"
#include "os/inherited.h"
#include "os/record.h"
#include "os/signals.h"
#include "stacks/named.h"
#include "stacks/python_frames.h"
#include "traps/blocks.h"
#include "traps/fault.h"
#include "traps/watch.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/syscall.h>

void hw_process_ends(hw_caller caller)
{
    if (hw_process_is_ours() && hw_has_libcs_storage())
        hw_last_check(caller);
}

/* The operations that the only thread of a fork's child had done before. */
static uint64_t before_fork;
static bool is_forked;

static uint64_t own_operations(void)
{
    return hw_this_thread.arena ? hw_this_thread.arena->operations : 0;
}

void hw_program_is_replaced(hw_caller caller)
{
    enum { NEXT_TO_NOTHING = 1000 };
    if (!hw_process_is_ours() || !hw_has_libcs_storage() ||
        (is_forked && own_operations() - before_fork < NEXT_TO_NOTHING))
        return;
    int before = errno;
    hw_heap_check(HW_AT_EXIT, caller);
    errno = before;
}

/* --- signals ---------------------------------------------------------------------------------- */

static void check_is_asked_for(int number, siginfo_t *information, void *context)
{
    int before = errno;
    (void)number;
    (void)information;
    (void)context;
    if (hw_heap_check(HW_AT_CHECK, HW_HERE))
        hw_tell_checked();
    errno = before;
}

/* --- fork ------------------------------------------------------------------------------------- */

static void in_parent(void)
{
    hw_after_fork(false);
    hw_end_postponed();
}

static void in_child(void)
{
    hw_after_fork(true);
    hw_process_note();
    hw_memory_init();
    is_forked = true;
    before_fork = own_operations();
    atomic_store(&hw_findings, 0);
    atomic_store(&hw_repairs, 0);
    hw_checks_after_fork();
    hw_endings_after_fork();
    hw_crash_after_fork();
    hw_watch_after_fork();
    hw_tell_hello();
}

/* --- start and end ---------------------------------------------------------------------------- */

static void end(void);

static void thread_ends(void *arena)
{
    hw_caller here = HW_HERE;
    hw_abandon(&here); /* what it was in the middle of when it was cancelled */
    hw_heap_thread_ends(here);
    hw_arena_disown(arena);
}

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "heapwitness's engine reads and writes its headers as words of little-endian processors only."
#endif

static void watch_signals(void)
{
    hw_endings_watch();
    if (hw_setting.check_signal)
        hw_signal_take(hw_setting.check_signal, check_is_asked_for, SA_RESTART | SA_NODEFER, true);
    hw_crash_watch();
}

__attribute__((constructor(101))) static void start(void)
{
    int before = errno;
    hw_inherited_look();
    hw_fence_init();
    hw_settings_read();
    hw_traps_read(hw_setting.traps, hw_setting.trap_found, hw_setting.trap_sample);
    if (!hw_is_quiet())
        hw_say_init();
    hw_memory_init();
    hw_ready_again();
    hw_arenas_init(thread_ends);
    hw_process_note();
    hw_python_look();
    if (hw_this_thread.arena) /* the program allocated before this */
        hw_sites_renew(&hw_this_thread.arena->sites, hw_process_id());
    pthread_atfork(hw_before_fork, in_parent, in_child);
    if (!hw_confined || hw_may_end_by_signal())
        watch_signals();
    if (!hw_confined || hw_may_trap())
        hw_traps_watch();
    hw_go_exit_watch();
    at_quick_exit(end);
    if (hw_confined && !hw_is_quiet() && !hw_may_tell())
        hw_record_keep();
    hw_tell_hello();
    errno = before;
}

__attribute__((destructor(101))) static void end(void)
{
    hw_process_ends(HW_HERE);
}
