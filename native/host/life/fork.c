#define _GNU_SOURCE
#include "life/fork.h"

#include "arena/standstill.h"
#include "heap/big.h"
#include "heap/damage.h"
#include "heap/handed.h"

enum { SEIZE_MS = 1000 };

/* A signal handler that interrupted an operation forks: in the child it will go on, too. From before the fork, which
   seizes arenas and so is engaged itself, until after it; under the arenas' lock. */
static bool interrupted;

static bool own_and_inside(const hw_arena *arena)
{
    return arena == hw_this_thread.arena && interrupted;
}

void hw_before_fork(void)
{
    hw_arenas_lock();
    interrupted = hw_is_engaged();
    hw_stand_still(SEIZE_MS);
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
        bool seized = a->seized, mine = a == hw_this_thread.arena;
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
        else
            hw_small_handed_after_fork(a);
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
                hw_arena_orphan(a);
        }
    }
}

void hw_after_fork(bool child)
{
    if (child) {
        bool in_motion = hw_somebody_went_on();
        hw_big_after_fork(in_motion || hw_others_change());
        hw_arenas_see_process();
        leave_in_child(in_motion);
        hw_standstill_in_child();
    } else {
        leave_in_parent();
    }
    hw_go_on();
    hw_arenas_unlock();
}
