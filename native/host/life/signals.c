#define _GNU_SOURCE
#include "life/signals.h"

#include "life/lifecycle.h"
#include "os/system.h"

#include <dlfcn.h>
#include <errno.h>
#include <string.h>

/* Flags that the engine's functions may have and the program's action has not, or the other way round. */
enum { OURS = SA_SIGINFO | SA_ONSTACK };

/* What the program set, or found, where the engine's function is installed in its place. */
typedef struct seen {
    hw_handler handler;
    int flags;
    uint64_t mask;
    void (*restorer)(void);
} seen;
static seen seen_of[HW_SIGNALS];
static hw_signal_entry *entry_of[HW_SIGNALS];
static int flags_of[HW_SIGNALS];

typedef int action_function(int, const struct sigaction *, struct sigaction *);

int hw_action(int number, const struct sigaction *action, struct sigaction *old)
{
    static action_function *_Atomic next;
    action_function *real = atomic_load_explicit(&next, memory_order_relaxed);
    if (HW_UNLIKELY(!real)) {
        *(void **)&real = dlsym(RTLD_NEXT, "sigaction");
        if (!real) {
            errno = ENOSYS;
            return -1;
        }
        atomic_store_explicit(&next, real, memory_order_relaxed);
    }
    return real(number, action, old);
}

static hw_signal_entry *entry_for(int number)
{
    return number > 0 && number < HW_SIGNALS ? entry_of[number] : NULL;
}

static struct sigaction action_of(int number)
{
    struct sigaction action = {.sa_sigaction = entry_of[number], .sa_flags = flags_of[number]};
    if (!(action.sa_flags & SA_NODEFER))
        sigfillset(&action.sa_mask);
    return action;
}

static void remember(int number, const struct sigaction *was, int flags)
{
    seen *s = &seen_of[number];
    s->handler = SIG_DFL;
    s->flags = (was->sa_flags & ~OURS) | flags;
    memcpy(&s->mask, &was->sa_mask, sizeof s->mask);
    s->restorer = was->sa_restorer;
}

static bool is_ours(int number, const struct sigaction *action)
{
    return entry_of[number] && action->sa_sigaction == entry_of[number];
}

static void show(const seen *as, int number, struct sigaction *action)
{
    if (!is_ours(number, action))
        return;
    action->sa_handler = as->handler;
    action->sa_flags = as->flags;
    memcpy(&action->sa_mask, &as->mask, sizeof as->mask);
    action->sa_restorer = as->restorer;
}

void hw_signal_take(int number, hw_signal_entry *entry, int flags, bool always)
{
    struct sigaction was, ours;
    entry_of[number] = entry;
    flags_of[number] = flags | SA_SIGINFO;
    ours = action_of(number);
    if (hw_action(number, &ours, &was) != 0)
        return;
    if (was.sa_handler != SIG_DFL && !always) {
        hw_action(number, &was, NULL);
        return;
    }
    remember(number, &was, was.sa_flags & OURS);
    if (was.sa_handler == SIG_IGN)
        seen_of[number].handler = SIG_IGN;
}

bool hw_signal_is_taken(int number)
{
    struct sigaction now;
    return entry_for(number) && hw_action(number, NULL, &now) == 0 && is_ours(number, &now);
}

void hw_signal_let_go(int number)
{
    struct sigaction none = {.sa_handler = SIG_DFL};
    hw_action(number, &none, NULL);
}

void hw_signal_let_all_go(void)
{
    for (int number = 1; number < HW_SIGNALS; number++) {
        if (hw_signal_is_taken(number))
            hw_signal_let_go(number);
        entry_of[number] = NULL;
    }
}

/* The program's default action: of a vfork's child, which shares this memory and soon becomes another program, it
   is the kernel's. */
static bool is_default_for(int number, hw_handler handler)
{
    return handler == SIG_DFL && entry_for(number) && hw_process_is_ours();
}

int hw_signal_change(int number, const struct sigaction *action, struct sigaction *old)
{
    if (!entry_for(number))
        return hw_action(number, action, old);
    seen before = seen_of[number];
    if (!action || !is_default_for(number, action->sa_handler)) {
        int result = hw_action(number, action, old);
        if (result == 0 && old)
            show(&before, number, old);
        return result;
    }
    /* At no time is the default action installed: a signal that comes meanwhile is not lost. */
    int flags = action->sa_flags & OURS;
    struct sigaction asked = *action, ours = action_of(number), was;
    asked.sa_sigaction = entry_of[number];
    asked.sa_flags |= flags_of[number] & OURS;
    int result = hw_action(number, &asked, old);
    if (result != 0)
        return result;
    if (old)
        show(&before, number, old);
    if (hw_action(number, &ours, &was) == 0)
        remember(number, &was, flags);
    return 0;
}

hw_handler hw_signal_change_by(hw_handler (*function)(int, hw_handler), int number, hw_handler handler)
{
    hw_signal_entry *entry = entry_for(number);
    if (!entry)
        return function(number, handler);
    hw_handler before = seen_of[number].handler, ours, old;
    memcpy(&ours, &entry, sizeof ours);
    if (is_default_for(number, handler)) {
        struct sigaction full = action_of(number), was;
        old = function(number, ours);
        if (old != SIG_ERR && hw_action(number, &full, &was) == 0)
            remember(number, &was, 0);
    } else {
        old = function(number, handler);
    }
    return old == ours ? before : old;
}

int hw_signal_interrupt_by(int (*function)(int, int), int number, int flag)
{
    int result = function(number, flag);
    if (result == 0 && hw_signal_is_taken(number) && hw_process_is_ours()) {
        struct sigaction ours = action_of(number);
        seen *s = &seen_of[number];
        s->flags = flag ? s->flags & ~SA_RESTART : s->flags | SA_RESTART;
        hw_action(number, &ours, NULL);
    }
    return result;
}
