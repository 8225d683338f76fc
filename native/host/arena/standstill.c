#define _GNU_SOURCE
#include "arena/standstill.h"

#include "arena/arena.h"

enum { PATIENCE_MS = 100 };

_Atomic uint32_t hw_forking;

/* Threads between hw_change_begin and hw_change_end. */
static _Atomic uint32_t changing;
/* In shared memory: somebody went on while a fork was under way. NULL: that cannot be told. */
static _Atomic uint32_t *impatient;

void hw_standstill_init(void)
{
    impatient = hw_map_shared(sizeof *impatient);
}

bool hw_give_up_on_fork(uint64_t since)
{
    if (!atomic_load(&hw_forking))
        return false;
    if (impatient && atomic_load(impatient))
        return true;
    if (hw_milliseconds() - since <= PATIENCE_MS)
        return false;
    if (impatient)
        atomic_store(impatient, 1);
    return true;
}

void hw_change_begin(void)
{
    atomic_fetch_add(&changing, 1);
    if (HW_UNLIKELY(hw_is_foreign()))
        return;
    for (uint64_t since = 0; HW_UNLIKELY(atomic_load(&hw_forking)) && !hw_this_thread.forks;) {
        since = since ? since : hw_milliseconds();
        if (hw_give_up_on_fork(since))
            break;
        atomic_fetch_sub(&changing, 1);
        hw_wait_while(&hw_forking, 1, 50);
        atomic_fetch_add(&changing, 1);
    }
    hw_this_thread.changes++;
}

void hw_change_end(void)
{
    if (HW_LIKELY(!hw_is_foreign()))
        hw_this_thread.changes--;
    atomic_fetch_sub(&changing, 1);
}

void hw_stand_still(unsigned most)
{
    if (impatient)
        atomic_store(impatient, 0);
    hw_this_thread.forks = true;
    atomic_store(&hw_forking, 1);
    for (uint64_t since = hw_milliseconds(); hw_others_change();) {
        if (hw_milliseconds() - since > most)
            break;
        hw_sleep(0);
    }
}

void hw_go_on(void)
{
    hw_this_thread.forks = false;
    atomic_store(&hw_forking, 0);
    hw_wake(&hw_forking);
}

bool hw_somebody_went_on(void)
{
    return !impatient || atomic_load(impatient);
}

bool hw_others_change(void)
{
    return atomic_load(&changing) != hw_this_thread.changes;
}

void hw_standstill_in_child(void)
{
    atomic_store(&changing, hw_this_thread.changes);
    if (impatient)
        hw_unmap((void *)impatient, sizeof *impatient);
    hw_standstill_init();
}
