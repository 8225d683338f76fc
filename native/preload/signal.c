/* The functions by which programs set what signals do. The engine's own are never seen (signals.h). */
#define _GNU_SOURCE
#include "os/next.h"
#include "os/signal_stack.h"
#include "os/signals.h"

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

/* All of them: what they set differs, and libc has no way from one to another that could be taken here. */
#define SETTER(name)                                                                                                   \
    EXPORT hw_handler name(int, hw_handler);                                                                           \
    EXPORT hw_handler name(int number, hw_handler handler)                                                             \
    {                                                                                                                  \
        NEXT(#name, setter, SIG_ERR);                                                                                  \
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
    typedef int interrupter(int, int);
    NEXT("siginterrupt", interrupter, -1);
    return hw_signal_interrupt_by(next, number, flag);
}

EXPORT int sigaltstack(const stack_t *stack, stack_t *old)
{
    NEXT("sigaltstack", hw_stack_setter, -1);
    return hw_signal_stack_change(next, stack, old);
}
