#define _GNU_SOURCE
#include "tell/held.h"

#include <elf.h>
#include <string.h>

/* As a section of the event tells it: the general registers as DWARF numbers them. */
static void take_registers(hw_crash *crash, const ucontext_t *context)
{
#if defined(__x86_64__)
    static const unsigned char order[] = {REG_RAX, REG_RDX, REG_RCX, REG_RBX, REG_RSI, REG_RDI, REG_RBP, REG_RSP,
                                          REG_R8,  REG_R9,  REG_R10, REG_R11, REG_R12, REG_R13, REG_R14, REG_R15};
    const greg_t *all = context->uc_mcontext.gregs;
    crash->machine = EM_X86_64;
    crash->pc = (uint64_t)all[REG_RIP];
    crash->sp = (uint64_t)all[REG_RSP];
    crash->trap = (uint64_t)all[REG_TRAPNO];
    crash->error = (uint64_t)all[REG_ERR];
    for (unsigned i = 0; i < sizeof order; i++)
        crash->registers[i] = (uint64_t)all[order[i]];
#elif defined(__aarch64__)
    const mcontext_t *all = &context->uc_mcontext;
    crash->machine = EM_AARCH64;
    crash->pc = all->pc;
    crash->sp = all->sp;
    for (unsigned i = 0; i < 31; i++)
        crash->registers[i] = all->regs[i];
    const unsigned char *at = all->__reserved, *end = at + sizeof all->__reserved;
    while ((size_t)(end - at) >= sizeof(struct esr_context)) {
        struct esr_context part;
        memcpy(&part, at, sizeof part);
        if (part.head.magic == ESR_MAGIC)
            crash->error = part.esr;
        if (part.head.size < sizeof part.head || part.head.size > (size_t)(end - at))
            break;
        at += part.head.size;
    }
#else
    (void)crash;
    (void)context;
#endif
}

hw_caller hw_interrupted(const ucontext_t *context)
{
#if defined(__x86_64__)
    const greg_t *all = context->uc_mcontext.gregs;
    return (hw_caller){(void *)(uintptr_t)all[REG_RIP], (void **)(uintptr_t)all[REG_RSP]};
#elif defined(__aarch64__)
    return (hw_caller){(void *)(uintptr_t)context->uc_mcontext.pc, (void **)(uintptr_t)context->uc_mcontext.sp};
#else
    (void)context;
    return (hw_caller){0};
#endif
}

hw_crash hw_crash_words(const siginfo_t *information, const ucontext_t *context)
{
    hw_crash crash = {.signal = (uint64_t)information->si_signo, .code = (uint64_t)information->si_code};
    if (information->si_code > 0)
        crash.address = (uint64_t)(uintptr_t)information->si_addr;
    else
        crash.sender = (uint64_t)information->si_pid;
    take_registers(&crash, context);
    return crash;
}
