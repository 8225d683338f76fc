#define _GNU_SOURCE
#include "life/fork.h"

#include "heap/big.h"

enum { PATIENCE_MS = 100, SEIZE_MS = 1000 };

_Atomic uint32_t hw_forking;

/* Threads between hw_change_begin and hw_change_end. */
static _Atomic uint32_t changing;
/* In shared memory: somebody went on while a fork was under way. NULL: that cannot be told. */
static _Atomic uint32_t *impatient;

void hw_fork_init(void)
{
    impatient = hw_map_shared(sizeof *impatient);
}

bool hw_fork_takes_too_long(uint64_t since)
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
    for (uint64_t since = 0; HW_UNLIKELY(atomic_load(&hw_forking)) && !hw_me.forks;) {
        since = since ? since : hw_milliseconds();
        if (hw_fork_takes_too_long(since))
            break;
        atomic_fetch_sub(&changing, 1);
        hw_wait_while(&hw_forking, 1, 50);
        atomic_fetch_add(&changing, 1);
    }
    hw_me.changes++;
}

void hw_change_end(void)
{
    if (HW_LIKELY(!hw_is_foreign()))
        hw_me.changes--;
    atomic_fetch_sub(&changing, 1);
}

/* A signal handler that interrupted an operation forks: in the child it will go on, too. */
static bool own_and_inside(const hw_arena *arena)
{
    return arena == hw_me.arena && hw_is_engaged();
}

void hw_before_fork(void)
{
    hw_arenas_hold();
    if (impatient)
        atomic_store(impatient, 0);
    hw_me.forks = true;
    atomic_store(&hw_forking, 1);
    for (uint64_t since = hw_milliseconds(); atomic_load(&changing) != hw_me.changes;) {
        if (hw_milliseconds() - since > SEIZE_MS)
            break;
        hw_sleep(0);
    }
    for (hw_arena *a = hw_arena_first(); a; a = a->next)
        a->seized = !own_and_inside(a) && hw_seize(a, SEIZE_MS);
}

static void leave_in_parent(void)
{
    for (hw_arena *a = hw_arena_first(); a; a = a->next) {
        if (a->seized)
            hw_yield(a);
        a->seized = false;
    }
}

/* `in_motion`: others may have been inside while memory was copied. */
static void leave_in_child(bool in_motion)
{
    uint32_t self = hw_thread_id();
    for (hw_arena *a = hw_arena_first(); a; a = a->next) {
        bool seized = a->seized, mine = a == hw_me.arena;
        a->seized = false;
        if (mine) {
            atomic_store(&a->owner, self);
            hw_sites_renew(&a->sites, self);
        }
        if (!seized && own_and_inside(a))
            continue;
        bool torn = !seized || atomic_load(&a->busy) || (in_motion && !mine && atomic_load(&a->owner));
        if (torn) /* its owner may have been in the middle of something, and does not exist here */
            hw_lose(a);
        if (seized)
            hw_visits_down();
        atomic_store(&a->wanted, 0);
        atomic_store(&a->waits, false);
        atomic_store(&a->visitors, 0);
        atomic_store(&a->busy, 0);
        if (!mine && atomic_load(&a->owner)) {
            if (torn)
                atomic_store(&a->owner, 0); /* and nobody takes it over */
            else
                hw_arena_free(a);
        }
    }
}

void hw_after_fork(bool child)
{
    if (child) {
        bool in_motion = !impatient || atomic_load(impatient);
        hw_big_after_fork(in_motion || atomic_load(&changing) != hw_me.changes);
        atomic_store(&changing, hw_me.changes);
        hw_arenas_see_process();
        leave_in_child(in_motion);
        if (impatient)
            hw_unmap((void *)impatient, sizeof *impatient);
        impatient = hw_map_shared(sizeof *impatient);
    } else {
        leave_in_parent();
    }
    hw_me.forks = false;
    atomic_store(&hw_forking, 0);
    hw_wake(&hw_forking);
    hw_arenas_let_go();
}
