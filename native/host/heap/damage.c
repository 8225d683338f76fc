#define _GNU_SOURCE
#include "heap/damage.h"

#include "arena/standstill.h"
#include "heap/cache.h"
#include "heap/delayed.h"
#include "heap/heap.h"
#include "heap/small.h"
#include "os/room.h"
#include "os/signals.h"

#include <signal.h>
#include <string.h>
#include <sys/syscall.h>

enum { FAULTS = 4096, FEW = 16, REMEMBERED = 1024 }; /* FEW: without memory for more */

static void stop_or_abort(char answer)
{
    if (answer == 's') {
        hw_call_anyway(SYS_kill, (long)hw_process_id(), SIGSTOP, 0, 0, 0, 0);
    } else if (answer == 'a') {
        sigset_t only;
        hw_tell_end(SIGABRT);
        hw_signal_let_go(SIGABRT);
        sigemptyset(&only);
        sigaddset(&only, SIGABRT);
        sigprocmask(SIG_UNBLOCK, &only, NULL);
        hw_call_anyway(SYS_tgkill, (long)hw_process_id(), (long)hw_thread_id(), SIGABRT, 0, 0, 0);
    }
}

typedef struct finding {
    const hw_context *context;
    const hw_where *where;
    const hw_fault *fault;
    const hw_released *released;
} finding;

static void tell_it(void *argument)
{
    const finding *f = argument;
    stop_or_abort(hw_tell_finding(f->context, f->where, f->fault, f->released));
}

static void tell_at(const hw_context *context, const hw_where *where, const hw_fault *fault,
                    const hw_released *released)
{
    finding f = {context, where, fault, released};
    /* What is counted must be told: no handler leaves this by a jump. */
    uint64_t signals = hw_signals_wait();
    if (!hw_tell_exceeds_budget())
        hw_with_room(tell_it, &f);
    hw_signals_come(signals);
}

static hw_where where_of(const hw_descriptor *descriptor)
{
    hw_where where = {0};
    if (descriptor)
        where = (hw_where){.pool = descriptor->pool, .bytes = descriptor->bytes, .region = descriptor->region};
    return where;
}

static void tell(const hw_context *context, const hw_descriptor *descriptor, const hw_fault *fault)
{
    hw_where where = where_of(descriptor);
    tell_at(context, &where, fault, NULL);
}

_Atomic bool hw_families_mixed;

bool hw_is_mismatch(uint32_t meta, unsigned family)
{
    if (hw_family_matches(meta, family))
        return false;
    if (!hw_families_mix || !hw_families_mix())
        return true;
    atomic_store(&hw_families_mixed, true);
    return false;
}

void hw_tell_fault(const hw_context *context, const hw_descriptor *descriptor, const hw_fault *fault)
{
    tell(context, descriptor, fault);
}

void hw_tell_damage(const hw_context *context, const hw_where *where, const hw_fault *fault)
{
    tell_at(context, where, fault, NULL);
}

void hw_tell_wrong_release_at(const hw_context *context, const hw_where *where, unsigned reason, uint32_t node,
                              const hw_released *released)
{
    hw_fault fault = {.reason = reason, .node = node};
    tell_at(context, where, &fault, released);
}

void hw_tell_wrong_release(const hw_context *context, const hw_descriptor *descriptor, unsigned reason, uint32_t node,
                           const hw_released *released)
{
    hw_where where = where_of(descriptor);
    hw_tell_wrong_release_at(context, &where, reason, node, released);
}

/* A node that was cached or held back may be part of a quarantined stretch now. */
static void forget_lost_nodes(hw_arena *arena, const hw_descriptor *descriptor)
{
    if (descriptor == arena->first)
        hw_cache_check(arena);
    hw_delayed_check(arena, descriptor);
}

static bool control_is_right(const hw_descriptor *descriptor)
{
    return memcmp(descriptor->pool, descriptor->fixed, HW_FIXED) == 0;
}

static unsigned find(const hw_descriptor *descriptor, hw_fault *faults, unsigned most)
{
    return hw_check(descriptor->pool, descriptor->bytes, HW_FIXED_GRANULE_LOG2, faults, most);
}

static bool mend(hw_arena *arena, hw_descriptor *descriptor, const hw_context *context, hw_fault *faults, unsigned most)
{
    hw_outcome outcome;
    uint64_t before = atomic_load(&hw_findings);
    bool control = !control_is_right(descriptor);
    if (control) { /* nothing can be found through it: tell it, put it right, look on */
        faults[0] = (hw_fault){.reason = HW_CONTROL_BLOCK};
        tell(context, descriptor, &faults[0]);
        memcpy(descriptor->pool, descriptor->fixed, HW_FIXED);
    }
    unsigned count = find(descriptor, faults, most);
    bool to_the_end = control;
    for (unsigned i = 0; i < count; i++)
        to_the_end |= faults[i].reason == HW_HEADERS && faults[i].high == hw_end(descriptor->pool);
    for (unsigned i = 0; i < count; i++) /* the control block's copy lies in the end node's payload */
        if (!to_the_end || faults[i].reason != HW_CONTROL_BLOCK)
            tell(context, descriptor, &faults[i]);
    if (count == most)
        atomic_fetch_add(&hw_findings, 1);
    if (!arena)
        hw_change_begin();
    descriptor->lost = !hw_repair(descriptor->pool, descriptor->bytes, HW_FIXED_GRANULE_LOG2, &outcome);
    if (!arena)
        hw_change_end();
    outcome.controls += control && !outcome.controls;
    if (arena) {
        arena->repairs++;
        forget_lost_nodes(arena, descriptor);
    }
    uint64_t told = atomic_load(&hw_findings) - before;
    if (told) {
        if (!descriptor->lost)
            atomic_fetch_add(&hw_repairs, told);
        hw_tell_outcome(&outcome);
    }
    return !descriptor->lost;
}

typedef struct mending {
    hw_arena *arena;
    hw_descriptor *descriptor;
    const hw_context *context;
    bool usable;
} mending;

static void mend_it(void *argument)
{
    mending *m = argument;
    hw_fault *faults = hw_map(FAULTS * sizeof *faults);
    if (faults) {
        m->usable = mend(m->arena, m->descriptor, m->context, faults, FAULTS);
        hw_unmap(faults, FAULTS * sizeof *faults);
        return;
    }
    hw_fault few[FEW];
    m->usable = mend(m->arena, m->descriptor, m->context, few, FEW);
}

HW_COLD bool hw_mend(hw_arena *arena, hw_descriptor *descriptor, const hw_context *context)
{
    mending m = {.arena = arena, .descriptor = descriptor, .context = context};
    if (!descriptor->lost)
        hw_with_room(mend_it, &m);
    return m.usable;
}

_Atomic uint64_t hw_left_places;

/* Whether one damage reaches up to a few nodes before the other, or nobody knows. */
static bool are_side_by_side(const hw_descriptor *descriptor, const hw_fault *one, const hw_fault *other)
{
    enum { NODES = 3 };
    uint32_t at = one->high ? one->high : one->node, to = other->low ? other->low : other->node;
    for (unsigned i = 0; i < NODES && at < to; i++) {
        hw_header h;
        if (!hw_header_at(descriptor->pool, at, &h))
            return true;
        at += h.size;
    }
    return at >= to;
}

/* The backup of the first node's header lies in the end node: what is wrong there goes with what is wrong at the first.
 */
static bool is_backup_of_first(const hw_descriptor *descriptor, const hw_fault *faults, const hw_fault *fault)
{
    uint32_t end = hw_end(descriptor->pool);
    return fault != faults && fault->reason == HW_HEADERS && fault->node == end && faults[0].reason == HW_HEADERS &&
           faults[0].low == end;
}

/* An operation changes nodes that follow each other, and links of others anywhere. */
static bool may_be_one_operations(const hw_descriptor *descriptor, const hw_fault *faults, unsigned count)
{
    const hw_fault *last = NULL;
    for (unsigned i = 0; i < count; i++) {
        if (faults[i].reason == HW_LINKS || faults[i].reason == HW_CONTROL_BLOCK ||
            is_backup_of_first(descriptor, faults, &faults[i]))
            continue;
        if (last && !are_side_by_side(descriptor, last, &faults[i]))
            return false;
        last = &faults[i];
    }
    return true;
}

/* More than the operation can have done is told: then somebody has written there, too. Else it is only counted. */
static void tell_what_was_left(const hw_descriptor *descriptor, const hw_caller *caller)
{
    hw_fault faults[FEW];
    hw_context context = {.when = HW_AT_CHECK, .caller = *caller, .left = true};
    unsigned count = find(descriptor, faults, FEW);
    if (may_be_one_operations(descriptor, faults, count)) {
        atomic_fetch_add(&hw_left_places, count);
        return;
    }
    for (unsigned i = 0; i < count; i++)
        if (faults[i].reason != HW_LINKS && faults[i].reason != HW_CONTROL_BLOCK)
            tell(&context, descriptor, &faults[i]);
}

void hw_mend_left(hw_arena *arena, const hw_caller *caller)
{
    hw_small_mend_left(arena, caller);
    for (uint32_t i = 0; i < arena->descriptors; i++) {
        hw_descriptor *descriptor = &arena->descriptor[i];
        hw_outcome outcome;
        if (descriptor->lost)
            continue;
        /* It may have stopped while the pool was growing. */
        if (!hw_control_is_valid(descriptor->pool))
            memcpy(descriptor->pool, descriptor->fixed, HW_FIXED);
        else if ((size_t)descriptor->pool->size << HW_FIXED_GRANULE_LOG2 <= descriptor->space.bytes)
            hw_descriptor_note(descriptor);
        uint64_t before = atomic_load(&hw_findings);
        tell_what_was_left(descriptor, caller);
        descriptor->lost = !hw_repair(descriptor->pool, descriptor->bytes, HW_FIXED_GRANULE_LOG2, &outcome);
        arena->repairs++;
        forget_lost_nodes(arena, descriptor);
        uint64_t told = atomic_load(&hw_findings) - before;
        if (told && !descriptor->lost)
            atomic_fetch_add(&hw_repairs, told);
        if (told)
            hw_tell_outcome(&outcome);
    }
    hw_delayed_left(arena);
}

void hw_lose(hw_arena *arena)
{
    hw_runs_lose(arena);
    hw_delayed_check_runs(arena);
    for (uint32_t i = 0; i < arena->descriptors; i++) {
        atomic_store(&arena->descriptor[i].lost, true);
        forget_lost_nodes(arena, &arena->descriptor[i]);
    }
}

void hw_inspect(hw_arena *arena, hw_descriptor *descriptor, const hw_context *context)
{
    if (!descriptor->lost &&
        (!control_is_right(descriptor) || !hw_sound(descriptor->pool, descriptor->bytes, HW_FIXED_GRANULE_LOG2)))
        hw_mend(arena, descriptor, context);
}

/* What a small pool counts is compared, too. */
void hw_inspect_part(hw_arena *arena, hw_descriptor *descriptor, const hw_context *context, uint32_t *node,
                     size_t *left)
{
    bool whole = descriptor->lost || (*node == 0 && descriptor->bytes <= *left);
    for (uint32_t before = *node; !whole && *left;) {
        if (!control_is_right(descriptor) ||
            !hw_sound_part(descriptor->pool, descriptor->bytes, HW_FIXED_GRANULE_LOG2, node)) {
            whole = true;
            break;
        }
        size_t done = (size_t)((*node ? *node : descriptor->pool->size) - before) << HW_FIXED_GRANULE_LOG2;
        *left -= done < *left ? done : *left;
        before = *node;
        if (!before)
            return;
    }
    if (!whole)
        return;
    hw_inspect(arena, descriptor, context);
    *left -= descriptor->bytes < *left ? descriptor->bytes : *left;
    *node = 0;
}

/* A ring without a lock: a torn entry fails its own check and is not believed. */
static struct {
    _Atomic uint64_t address, size, site, origin, check;
} ring[REMEMBERED];
static _Atomic uint32_t next;

static uint64_t check_of(const hw_released *r)
{
    return (r->address * 3 ^ r->size * 5 ^ r->site * 7 ^ r->origin * 11) + 1;
}

void hw_remember_released(const hw_released *released)
{
    uint32_t at = atomic_fetch_add(&next, 1) % REMEMBERED;
    atomic_store(&ring[at].check, 0);
    atomic_store(&ring[at].address, released->address);
    atomic_store(&ring[at].size, released->size);
    atomic_store(&ring[at].site, released->site);
    atomic_store(&ring[at].origin, released->origin);
    atomic_store(&ring[at].check, check_of(released));
}

bool hw_recall_released(const void *pointer, hw_released *released)
{
    uint32_t newest = atomic_load(&next);
    for (uint32_t back = 1; back <= REMEMBERED; back++) {
        uint32_t at = (newest - back) % REMEMBERED;
        if (atomic_load(&ring[at].address) != (uint64_t)(uintptr_t)pointer)
            continue;
        *released = (hw_released){atomic_load(&ring[at].address), atomic_load(&ring[at].size),
                                  atomic_load(&ring[at].site), atomic_load(&ring[at].origin)};
        return atomic_load(&ring[at].check) == check_of(released);
    }
    return false;
}
