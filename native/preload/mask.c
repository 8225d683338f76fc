/* The functions by which programs block signals. Those that stand for a trap's fault get through all the same: a fault
   whose signal is blocked ends the process. The program sees what it set. */
#define _GNU_SOURCE
#include "os/next.h"
#include "os/signals.h"
#include "os/system.h"
#include "stacks/named.h"

#include <signal.h>
#include <string.h>

#define EXPORT __attribute__((visibility("default"), optimize("O2", "optimize-sibling-calls")))

typedef int masker(int, const sigset_t *, sigset_t *);

/* Of the signals that get through, those that the thread has blocked as far as it knows. */
static __thread uint64_t blocked;

static uint64_t word_of(const sigset_t *set)
{
    uint64_t word;
    memcpy(&word, set, sizeof word);
    return word;
}

static void set_word(sigset_t *set, uint64_t word)
{
    memcpy(set, &word, sizeof word);
}

static inline __attribute__((always_inline)) int change(masker *next, int how, const sigset_t *set, sigset_t *old)
{
    uint64_t in = hw_signals_let_in(), before = blocked, asked = set ? word_of(set) & in : 0;
    sigset_t with;
    if (set && how != SIG_UNBLOCK) {
        with = *set;
        set_word(&with, word_of(set) & ~in);
        set = &with;
    }
    sigset_t was; /* where the kernel stores it does not fault at a trap */
    int result = next(how, set, old ? &was : NULL);
    if (result != 0)
        return result;
    if (old)
        set_word(old, (word_of(&was) & ~in) | before);
    if (set)
        blocked = how == SIG_BLOCK ? before | asked : how == SIG_UNBLOCK ? before & ~asked : asked;
    return 0;
}

EXPORT int sigprocmask(int how, const sigset_t *set, sigset_t *old)
{
    NEXT("sigprocmask", masker, -1);
    return HW_UNLIKELY(hw_traps_on) ? change(next, how, set, old) : next(how, set, old);
}

EXPORT int pthread_sigmask(int how, const sigset_t *set, sigset_t *old)
{
    NEXT("pthread_sigmask", masker, ENOSYS);
    return HW_UNLIKELY(hw_traps_on) ? change(next, how, set, old) : next(how, set, old);
}
