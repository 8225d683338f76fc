#define _GNU_SOURCE
#include "heap/abandon.h"

#include "arena/standstill.h"
#include "heap/big.h"

#include <signal.h>
#include <sys/syscall.h>

static bool on_the_threads_own_stack(const hw_arena *arena, uintptr_t frame)
{
    stack_t other;
    return frame >= arena->sites.stack_low && frame < arena->sites.stack_high &&
           hw_call(SYS_sigaltstack, 0, (long)&other, 0, 0, 0, 0) == 0 && !(other.ss_flags & SS_ONSTACK);
}

bool hw_is_engaged_at(uintptr_t sp)
{
    const hw_arena *arena = hw_this_thread.arena;
    if (!hw_is_engaged())
        return false;
    if (!arena || hw_this_thread.forks || sp < arena->sites.stack_low || sp >= arena->sites.stack_high)
        return true;
    uint32_t left = hw_this_thread.visits ? hw_this_thread.frame : atomic_load(&arena->busy);
    /* At that frame itself the operation goes on: a function's frame may begin where the stack ends. */
    if ((int32_t)((uint32_t)sp - (left & ~1u)) <= 0)
        return true;
    hw_caller here = HW_HERE;
    hw_abandon(&here);
    return false;
}

bool hw_still_engaged(const hw_caller *caller)
{
    const hw_arena *arena = hw_this_thread.arena;
    uint32_t frame = (uint32_t)(uintptr_t)caller->frame, left;
    if (!hw_is_engaged())
        return false;
    if (!arena || hw_this_thread.forks || !on_the_threads_own_stack(arena, (uintptr_t)caller->frame))
        return true;
    left = hw_this_thread.visits ? hw_this_thread.frame : atomic_load(&arena->busy);
    if ((int32_t)(frame - (left & ~1u)) < 0)
        return true;
    hw_abandon(caller);
    return false;
}

static void abandon(const hw_caller *caller)
{
    if (hw_this_thread.checks)
        hw_check_abandoned();
    if (hw_this_thread.held) {
        hw_this_thread.held->lost = true;
        hw_big_unclaim(hw_this_thread.held);
    }
    if (hw_this_thread.visited) {
        hw_mend_left(hw_this_thread.visited, caller);
        hw_yield(hw_this_thread.visited);
    }
    hw_this_thread.visits = 0;
    hw_ready_again();
    while (hw_this_thread.changes)
        hw_change_end();
    if (hw_this_thread.arena && atomic_load(&hw_this_thread.arena->busy)) {
        hw_mend_left(hw_this_thread.arena, caller);
        atomic_store_explicit(&hw_this_thread.arena->busy, 0, memory_order_release);
    }
}

/* A handler that leaves this, too, would find what was left, and half of it put in order. */
void hw_abandon(const hw_caller *caller)
{
    uint64_t signals = hw_signals_wait();
    abandon(caller);
    hw_signals_come(signals);
}
