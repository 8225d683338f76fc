/* The functions by which programs set what signals do. The engine's own are never seen (signals.h). */
#define _GNU_SOURCE
#include "os/signal_stack.h"
#include "os/signals.h"
#include "os/system.h"

#include <dlfcn.h>
#include <errno.h>

#define EXPORT __attribute__((visibility("default")))

EXPORT int sigaction(int number, const struct sigaction *action, struct sigaction *old)
{
    return hw_signal_change(number, action, old);
}

EXPORT int __sigaction(int, const struct sigaction *, struct sigaction *);
EXPORT int __sigaction(int number, const struct sigaction *action, struct sigaction *old)
{
    return hw_signal_change(number, action, old);
}

typedef hw_handler setter(int, hw_handler);

static setter *next_of(const char *name, setter *_Atomic *known)
{
    setter *next = atomic_load_explicit(known, memory_order_relaxed);
    if (HW_UNLIKELY(!next)) {
        *(void **)&next = dlsym(RTLD_NEXT, name);
        atomic_store_explicit(known, next, memory_order_relaxed);
    }
    return next;
}

/* All of them: what they set differs, and libc has no way from one to another that could be taken here. */
#define SETTER(name)                                                                                                   \
    EXPORT hw_handler name(int, hw_handler);                                                                           \
    EXPORT hw_handler name(int number, hw_handler handler)                                                             \
    {                                                                                                                  \
        static setter *_Atomic known;                                                                                  \
        setter *next = next_of(#name, &known);                                                                         \
        if (HW_UNLIKELY(!next)) {                                                                                      \
            errno = ENOSYS;                                                                                            \
            return SIG_ERR;                                                                                            \
        }                                                                                                              \
        return hw_signal_change_by(next, number, handler);                                                             \
    }

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wpragmas"
#pragma GCC diagnostic ignored "-Wredundant-decls"
SETTER(signal)
SETTER(ssignal)
SETTER(bsd_signal)
SETTER(sysv_signal)
SETTER(__sysv_signal)
SETTER(sigset)
#pragma GCC diagnostic pop

EXPORT int siginterrupt(int number, int flag)
{
    int (*next)(int, int);
    *(void **)&next = dlsym(RTLD_NEXT, "siginterrupt");
    if (HW_UNLIKELY(!next)) {
        errno = ENOSYS;
        return -1;
    }
    return hw_signal_interrupt_by(next, number, flag);
}

static int (*next_sigaltstack)(const stack_t *, stack_t *);

/* Early: looking it up needs libc's thread storage. */
__attribute__((constructor(102))) static void find_next(void)
{
    *(void **)&next_sigaltstack = dlsym(RTLD_NEXT, "sigaltstack");
}

EXPORT int sigaltstack(const stack_t *stack, stack_t *old)
{
    if (HW_UNLIKELY(!next_sigaltstack))
        find_next();
    if (HW_UNLIKELY(!next_sigaltstack)) {
        errno = ENOSYS;
        return -1;
    }
    hw_signal_stack_is_set(stack);
    return next_sigaltstack(stack, old);
}
