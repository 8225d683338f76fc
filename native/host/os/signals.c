#define _GNU_SOURCE
#include "os/signals.h"

#include "os/next.h"
#include "os/process.h"
#include "os/system.h"

#include <string.h>
#include <sys/syscall.h>

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
static int on_stack = SA_ONSTACK; /* 0: not on a signal stack */
/* The program's actions that fronts stand for; NULL: there is no front. */
static struct sigaction *_Atomic fronted[HW_SIGNALS];

typedef int action_function(int, const struct sigaction *, struct sigaction *);

int hw_action(int number, const struct sigaction *action, struct sigaction *old)
{
    NEXT("sigaction", action_function, -1);
    return next(number, action, old);
}

static hw_signal_entry *entry_for(int number)
{
    return number > 0 && number < HW_SIGNALS ? entry_of[number] : NULL;
}

static struct sigaction action_of(int number)
{
    int flags = flags_of[number] & (~SA_ONSTACK | on_stack);
    struct sigaction action = {.sa_sigaction = entry_of[number], .sa_flags = flags};
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
    const struct sigaction *behind = number > 0 && number < HW_SIGNALS ? atomic_load(&fronted[number]) : NULL;
    if (behind)
        return behind->sa_handler == SIG_DFL && entry_for(number);
    return entry_for(number) && hw_action(number, NULL, &now) == 0 && is_ours(number, &now);
}

/* --- fronts -------------------------------------------------------------------------------------- */

/* The program's actions that fronts stand for: each is written before it is named, and stays as it is for a while. */
enum { ACTIONS = 64 };
static struct sigaction actions[ACTIONS];
static _Atomic uint32_t actions_used;
static hw_signal_first *first_of[HW_SIGNALS];
static uint64_t let_in;

static struct sigaction *fronted_for(int number)
{
    return number > 0 && number < HW_SIGNALS ? atomic_load_explicit(&fronted[number], memory_order_acquire) : NULL;
}

static void publish(int number, const struct sigaction *action)
{
    struct sigaction *kept = &actions[atomic_fetch_add(&actions_used, 1) % ACTIONS];
    *kept = *action;
    atomic_store_explicit(&fronted[number], kept, memory_order_release);
}

/* A fault whose action is to be the default one happens again, and ends the process; a signal that was sent, or that
   the kernel forces, is sent again. */
static void end_by(int number, const siginfo_t *information)
{
    hw_signal_let_go(number);
    if (information->si_code <= 0 || information->si_code == SI_KERNEL || number == SIGTRAP)
        hw_call(SYS_tgkill, (long)hw_process_id(), (long)hw_thread_id(), number, 0, 0, 0);
}

/* The program's function is gone on to by a jump: it finds the stack as the kernel made it. */
__attribute__((optimize("O2", "optimize-sibling-calls"))) static void front(int number, siginfo_t *information,
                                                                            void *context)
{
    if (first_of[number](information, context))
        return;
    const struct sigaction *action = fronted_for(number);
    void (*handler)(int, siginfo_t *, void *) = action->sa_sigaction;
    if (action->sa_handler == SIG_IGN && information->si_code <= 0)
        return;
    if (action->sa_handler == SIG_IGN || (action->sa_handler == SIG_DFL && !entry_of[number])) {
        end_by(number, information);
        return;
    }
    if (action->sa_handler == SIG_DFL)
        handler = entry_of[number];
    else if (action->sa_flags & (int)SA_RESETHAND)
        publish(number, &(struct sigaction){.sa_handler = SIG_DFL});
    handler(number, information, context);
}

hw_signal_entry *hw_front_entry(void)
{
    return front;
}

/* Without the signals that must get through. */
static struct sigaction let_through(const struct sigaction *action)
{
    struct sigaction with = *action;
    uint64_t mask;
    memcpy(&mask, &with.sa_mask, sizeof mask);
    mask &= ~let_in;
    memcpy(&with.sa_mask, &mask, sizeof mask);
    return with;
}

/* What is installed for an action of the program's: the same stack, the same signals blocked, but for those. */
static struct sigaction front_of(int number, const struct sigaction *action)
{
    struct sigaction ours = let_through(action);
    if (action->sa_handler == SIG_DFL || action->sa_handler == SIG_IGN)
        ours = (struct sigaction){.sa_flags = on_stack | SA_NODEFER};
    if (action->sa_handler == SIG_DFL && entry_of[number])
        ours = action_of(number);
    ours.sa_sigaction = front;
    ours.sa_flags = (ours.sa_flags & ~(int)SA_RESETHAND) | SA_SIGINFO;
    return ours;
}

static bool is_front(const struct sigaction *action)
{
    return action->sa_sigaction == front;
}

void hw_signal_front(int number, hw_signal_first *first)
{
    struct sigaction was, program, ours;
    if (hw_action(number, NULL, &was) != 0)
        return;
    program = was;
    show(&seen_of[number], number, &program);
    first_of[number] = first;
    publish(number, &program);
    ours = front_of(number, &program);
    hw_action(number, &ours, NULL);
    let_in |= UINT64_C(1) << (number - 1);
}

bool hw_signal_is_fronted(int number)
{
    struct sigaction now;
    return fronted_for(number) && hw_action(number, NULL, &now) == 0 && is_front(&now);
}

uint64_t hw_signals_let_in(void)
{
    return let_in;
}

static int change_fronted(int number, const struct sigaction *action, struct sigaction *old)
{
    struct sigaction before = *fronted_for(number), ours, was;
    if (action && !hw_process_is_ours()) { /* a vfork's child, which shares this memory */
        int result = hw_action(number, action, old);
        if (result == 0 && old && is_front(old))
            *old = before;
        return result;
    }
    if (action) {
        ours = front_of(number, action);
        publish(number, action);
    }
    int result = hw_action(number, action ? &ours : NULL, &was);
    if (result == 0 && old)
        *old = is_front(&was) ? before : was;
    return result;
}

/* libc's function sets the action, which is then put behind the front. */
static hw_handler change_fronted_by(hw_handler (*function)(int, hw_handler), int number, hw_handler handler)
{
    hw_handler before = fronted_for(number)->sa_handler, old = function(number, handler), ours;
    struct sigaction set;
    void (*entry)(int, siginfo_t *, void *) = front;
    memcpy(&ours, &entry, sizeof ours);
    if (old != SIG_ERR && hw_process_is_ours() && hw_action(number, NULL, &set) == 0 && !is_front(&set))
        change_fronted(number, &set, NULL);
    return old == ours ? before : old;
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

void hw_signals_spare_stacks(void)
{
    if (!on_stack)
        return;
    on_stack = 0;
    for (int number = 1; number < HW_SIGNALS; number++) {
        const struct sigaction *behind = fronted_for(number);
        struct sigaction ours, now;
        if (!behind && (!entry_of[number] || hw_action(number, NULL, &now) != 0 || !is_ours(number, &now)))
            continue;
        ours = behind ? front_of(number, behind) : action_of(number);
        hw_action(number, &ours, NULL);
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
    struct sigaction with;
    if (fronted_for(number))
        return change_fronted(number, action, old);
    if (HW_UNLIKELY(let_in) && action) {
        with = let_through(action);
        action = &with;
    }
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
    asked.sa_flags |= ours.sa_flags & OURS;
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
    if (fronted_for(number))
        return change_fronted_by(function, number, handler);
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
    const struct sigaction *behind = fronted_for(number);
    if (result == 0 && behind && hw_process_is_ours()) {
        struct sigaction with = *behind;
        with.sa_flags = flag ? with.sa_flags & ~SA_RESTART : with.sa_flags | SA_RESTART;
        publish(number, &with);
        return 0;
    }
    if (result == 0 && hw_signal_is_taken(number) && hw_process_is_ours()) {
        struct sigaction ours = action_of(number), set;
        seen *s = &seen_of[number];
        s->flags = flag ? s->flags & ~SA_RESTART : s->flags | SA_RESTART;
        if (hw_action(number, &ours, &set) == 0) {
            s->flags |= set.sa_flags & ~(OURS | SA_RESTART);
            s->restorer = set.sa_restorer;
        }
    }
    return result;
}
