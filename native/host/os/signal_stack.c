#define _GNU_SOURCE
#include "os/signal_stack.h"

#include "os/process.h"
#include "os/signals.h"
#include "os/system.h"

#include <sys/auxv.h>
#include <sys/syscall.h>

#ifndef AT_MINSIGSTKSZ
#define AT_MINSIGSTKSZ 51
#endif

#if defined(__x86_64__)
#include <cpuid.h>

/* Everything else in a signal's frame: its registers, who sent it, and what aligning takes. */
enum { FRAME = 640, LEGACY_STATE = 576, STATES = 0xD, FIRST_EXTENDED = 2, GET_PERMITTED = 0x1022 };

/* The registers that this process may use: AT_MINSIGSTKSZ counts those, too, that a process must ask for first, which
   are 8 KiB. */
static size_t frame_bytes(void)
{
    uint64_t permitted = 0;
    size_t most = LEGACY_STATE;
    if (hw_call(SYS_arch_prctl, GET_PERMITTED, (long)&permitted, 0, 0, 0, 0) != 0)
        return getauxval(AT_MINSIGSTKSZ);
    for (unsigned state = FIRST_EXTENDED; state < 64; state++) {
        unsigned size, start, flags, none;
        if (!(permitted >> state & 1))
            continue;
        __cpuid_count(STATES, state, size, start, flags, none);
        if (!(flags & 1) && start + size > most) /* else it is the kernel's alone */
            most = start + size;
    }
    return FRAME + most;
}
#else
static size_t frame_bytes(void)
{
    return getauxval(AT_MINSIGSTKSZ);
}
#endif

void hw_signal_stack_is_set(const stack_t *stack)
{
    enum { ALWAYS_ENOUGH = 32 << 10, LEAST = 2048 };
    if (!stack || (stack->ss_flags & SS_DISABLE) || stack->ss_size >= ALWAYS_ENOUGH || !hw_process_is_ours())
        return;
    size_t frame = frame_bytes();
    if (stack->ss_size < (frame > LEAST ? frame : LEAST) + HW_SIGNAL_ROOM)
        hw_signals_spare_stacks();
}

static stack_t lent;

void hw_signal_stack_lend(size_t bytes)
{
    stack_t now;
    if (hw_call(SYS_sigaltstack, 0, (long)&now, 0, 0, 0, 0) != 0 || !(now.ss_flags & SS_DISABLE))
        return;
    char *room = hw_reserve(hw_page() + bytes);
    stack_t ours = {.ss_sp = room + hw_page(), .ss_size = bytes};
    if (room && hw_commit(room + hw_page(), bytes) && hw_call(SYS_sigaltstack, (long)&ours, 0, 0, 0, 0, 0) == 0)
        lent = ours;
}

int hw_signal_stack_change(hw_stack_setter *next, const stack_t *stack, stack_t *old)
{
    static const stack_t none = {.ss_flags = SS_DISABLE};
    hw_signal_stack_is_set(stack);
    bool again = lent.ss_sp && stack && (stack->ss_flags & SS_DISABLE) && hw_thread_id() == hw_process_id();
    int result = next(again ? &lent : stack, old);
    if (result == 0 && old && lent.ss_sp && old->ss_sp == lent.ss_sp && !(old->ss_flags & SS_ONSTACK))
        *old = none;
    return result;
}
