#define _GNU_SOURCE
#include "life/raised.h"

#include "os/guard.h"
#include "os/system.h"

#include <string.h>
#include <unwind.h>

enum { FRAMES_MOST = 256 };

/* As the kernel puts it on the stack, from where the stack pointer is in the code that a handler returns to. */
#if defined(__x86_64__)
enum { INFORMATION = 304, CONTEXT = 0 };
#define PC(context) ((context)->uc_mcontext.gregs[REG_RIP])
#elif defined(__aarch64__)
enum { INFORMATION = 0, CONTEXT = 128 };
#define PC(context) ((context)->uc_mcontext.pc)
#endif

typedef struct search {
    int number;
    unsigned frames, signals;
    uintptr_t below; /* the stack pointer one frame further in */
    bool found;
    siginfo_t information;
    ucontext_t context;
} search;

#ifdef PC
/* For a handler that did not ask for it the kernel leaves that place as it was. */
static bool has_information(const search *s)
{
    return s->information.si_signo == s->number && s->information.si_code > 0;
}

/* Then the processor's words tell the same. */
static bool tell_from_trap(search *s)
{
#if defined(__x86_64__)
    enum { PROTECTION = 13, PAGE_FAULT = 14, PRESENT = 1 };
    const greg_t *all = s->context.uc_mcontext.gregs;
    if (s->number != SIGSEGV || (all[REG_TRAPNO] != PROTECTION && all[REG_TRAPNO] != PAGE_FAULT))
        return false;
    bool page = all[REG_TRAPNO] == PAGE_FAULT;
    memset(&s->information, 0, sizeof s->information);
    s->information.si_signo = s->number;
    s->information.si_code = !page ? SI_KERNEL : all[REG_ERR] & PRESENT ? SEGV_ACCERR : SEGV_MAPERR;
    s->information.si_addr = (void *)(uintptr_t)(page ? all[REG_CR2] : 0);
    return true;
#else
    (void)s;
    return false;
#endif
}

/* What was interrupted is known by its address, which unwinding and the kernel's words must both give. `own`: it is the
   signal that is handled now. */
static bool is_fault(search *s, uint64_t pc, bool own)
{
    memset(&s->context, 0, sizeof s->context);
    size_t all = offsetof(ucontext_t, uc_mcontext) + sizeof s->context.uc_mcontext;
    return !own && hw_peek(&s->information, s->below + INFORMATION, sizeof s->information) == sizeof s->information &&
           hw_peek(&s->context, s->below + CONTEXT, all) == all && (uint64_t)PC(&s->context) == pc &&
           (has_information(s) || tell_from_trap(s));
}

static _Unwind_Reason_Code look(struct _Unwind_Context *unwound, void *argument)
{
    search *s = argument;
    int interrupted = 0;
    uint64_t pc = _Unwind_GetIPInfo(unwound, &interrupted);
    if (interrupted) {
        s->found = is_fault(s, pc, s->signals++ == 0);
        if (s->found)
            return _URC_END_OF_STACK;
    }
    s->below = _Unwind_GetCFA(unwound);
    return ++s->frames < FRAMES_MOST ? _URC_NO_REASON : _URC_END_OF_STACK;
}

static void go(void *argument)
{
    _Unwind_Backtrace(look, argument);
}
#else
static void go(void *argument)
{
    (void)argument;
}
#endif

bool hw_fault_before(int number, siginfo_t *information, ucontext_t *context)
{
    search s = {.number = number};
    hw_guarded(go, &s);
    if (!s.found)
        return false;
    *information = s.information;
    *context = s.context;
    return true;
}
