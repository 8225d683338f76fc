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
    const hw_arena *arena = hw_me.arena;
    if (!hw_is_engaged())
        return false;
    if (!arena || hw_me.forks || sp < arena->sites.stack_low || sp >= arena->sites.stack_high)
        return true;
    uint32_t left = hw_me.visits ? hw_me.frame : atomic_load(&arena->busy);
    /* At that frame itself the operation goes on: a function's frame may begin where the stack ends. */
    if ((int32_t)((uint32_t)sp - (left & ~1u)) <= 0)
        return true;
    hw_caller here = HW_HERE;
    hw_abandon(&here);
    return false;
}

bool hw_still_engaged(const hw_caller *caller)
{
    const hw_arena *arena = hw_me.arena;
    uint32_t frame = (uint32_t)(uintptr_t)caller->frame, left;
    if (!hw_is_engaged())
        return false;
    if (!arena || hw_me.forks || !on_the_threads_own_stack(arena, (uintptr_t)caller->frame))
        return true;
    left = hw_me.visits ? hw_me.frame : atomic_load(&arena->busy);
    if ((int32_t)(frame - (left & ~1u)) < 0)
        return true;
    hw_abandon(caller);
    return false;
}

void hw_abandon(const hw_caller *caller)
{
    if (hw_me.checks)
        hw_check_abandoned();
    if (hw_me.held) {
        hw_me.held->lost = true;
        hw_big_let_go(hw_me.held);
    }
    if (hw_me.visited) {
        hw_mend_left(hw_me.visited, caller);
        hw_yield(hw_me.visited);
    }
    hw_me.visits = 0;
    hw_ready_again();
    while (hw_me.changes)
        hw_change_end();
    if (hw_me.arena && atomic_load(&hw_me.arena->busy)) {
        hw_mend_left(hw_me.arena, caller);
        atomic_store_explicit(&hw_me.arena->busy, 0, memory_order_release);
    }
}
