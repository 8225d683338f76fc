#define _GNU_SOURCE
#include "life/overrun.h"

#include "heap/big.h"
#include "heap/damage.h"
#include "heap/graves.h"
#include "heap/huge.h"

#include <ucontext.h>

hw_trap hw_trap_of(const siginfo_t *information, const void *context)
{
    const ucontext_t *at = context;
    hw_trap trap = {0};
    if (information->si_signo != SIGSEGV || information->si_code <= 0)
        return trap;
    trap.address = (uint64_t)(uintptr_t)information->si_addr;
#ifdef __x86_64__
    enum { WRITES = 2 };
    trap.pc = (uint64_t)at->uc_mcontext.gregs[REG_RIP];
    trap.access = at->uc_mcontext.gregs[REG_ERR] & WRITES ? HW_WRITES : HW_READS;
#elif defined __aarch64__
    trap.pc = at->uc_mcontext.pc;
#else
    (void)at;
#endif
    return trap;
}

static bool guards(const hw_descriptor *descriptor, uintptr_t address)
{
    const hw_space *space = &descriptor->space;
    return space->guarded && address - (uintptr_t)space->mapping < space->mapped &&
           address - (uintptr_t)space->start >= space->bytes;
}

/* The descriptor of the big block whose guard holds the address, held; NULL for none. *huge: it has no pool. */
static hw_descriptor *hold_guarded(uintptr_t address, bool *huge)
{
    uint32_t used = (uint32_t)atomic_load(&hw_this_process.regions_used);
    for (uint32_t region = 1; region < used; region++) {
        uint32_t kind = atomic_load_explicit(&hw_region_at(region)->kind, memory_order_acquire);
        *huge = kind == HW_HUGE;
        if ((!*huge && kind != HW_BIG_POOL) || !guards(hw_big_descriptor(region), address))
            continue;
        hw_descriptor *descriptor = *huge ? hw_huge_claim(region) : hw_big_claim(region);
        if (descriptor && guards(descriptor, address))
            return descriptor;
        if (descriptor)
            hw_big_unclaim(descriptor);
    }
    return NULL;
}

static void tell_overrun_of_pool(hw_descriptor *descriptor, const hw_context *context)
{
    uint64_t before = atomic_load(&hw_findings);
    hw_inspect(NULL, descriptor, context);
    if (atomic_load(&hw_findings) == before) {
        hw_fault fault = {.reason = HW_GUARD, .node = descriptor->block};
        hw_tell_fault(context, descriptor, &fault);
    }
}

void hw_tell_overrun(const hw_trap *trap, hw_caller caller)
{
    hw_context context = {.when = HW_AT_TRAP, .caller = caller};
    hw_trap full = *trap;
    hw_released gone;
    bool huge;
    if (!trap->address || !hw_visit_begins(&caller))
        return;
    hw_descriptor *descriptor = hold_guarded((uintptr_t)trap->address, &huge);
    full.pool = descriptor && !huge ? (uint64_t)(uintptr_t)descriptor->pool : 0;
    hw_tell_with(&full);
    if (descriptor) {
        if (huge)
            hw_huge_tell_overrun(descriptor, &context);
        else
            tell_overrun_of_pool(descriptor, &context);
        hw_big_unclaim(descriptor);
    } else if (hw_grave_at(trap->address, &gone)) {
        hw_tell_wrong_release(&context, NULL, HW_GUARD, 0, &gone);
    }
}
