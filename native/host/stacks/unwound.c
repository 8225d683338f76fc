#define _GNU_SOURCE
#include "stacks/unwound.h"

#include "os/confined.h"
#include "os/guard.h"
#include "os/room.h"
#include "stacks/named.h"
#include "stacks/python_frames.h"
#include "stacks/trail.h"

#include <heapwitness/core.h>
#include <string.h>
#include <unwind.h>

enum { KNOWN = 1 << 16 };

/* A thread's memory. A signal handler may come at any time, and may call in itself. */
typedef struct hw_unwound {
    uintptr_t busy;              /* with the trail: the frame of the call that is; 0: none is */
    _Atomic uint32_t forgotten;  /* how often all that is known was */
    uint64_t pc[HW_FULL_FRAMES]; /* of the call that is busy, which has no room for them on its stack */
    hw_trail trail;
    hw_recent known[KNOWN]; /* sites by their stacks, wherever these lie, and by what they are about */
} hw_unwound;

#ifdef HW_COMPARE_UNWINDERS
/* For tests: die where libgcc unwinds otherwise. */
static void compare(uint32_t site, const hw_caller *caller)
{
    uint64_t other[HW_FULL_FRAMES];
    unsigned count = hw_unwind(other, HW_FULL_FRAMES, caller);
    other[0] |= hw_domain_bits((uint64_t)(uintptr_t)caller->pc);
    if (site && !hw_site_has(site, other, count))
        __builtin_trap();
}
#define COMPARE(site, caller) compare(site, caller)
#else
#define COMPARE(site, caller) ((void)0)
#endif

/* --- by libgcc ----------------------------------------------------------------------------------- */

/* Shared with a copy of the process: without pointers. */
typedef struct walk {
    uint64_t start;
    unsigned count, most;
    uint64_t pc[HW_MOST_FRAMES];
} walk;

static _Unwind_Reason_Code take(struct _Unwind_Context *context, void *argument)
{
    walk *w = argument;
    uint64_t pc = _Unwind_GetIP(context);
    if (pc == 0)
        return _URC_END_OF_STACK;
    if (w->count || pc == w->start)
        w->pc[w->count++] = pc;
    return w->count < w->most ? _URC_NO_REASON : _URC_END_OF_STACK;
}

static void go(void *argument)
{
    /* Its first use wakes who might wait for it. */
    static _Atomic bool used;
    if (hw_confined && !used && !hw_may_wake())
        return;
    _Unwind_Backtrace(take, argument);
    used = true;
}

/* A walk that was broken off has the frames up to there. */
static unsigned give(const walk *w, uint64_t *frames)
{
    if (w->count == 0)
        frames[0] = w->start;
    else
        memcpy(frames, w->pc, w->count * sizeof *frames);
    return w->count ? w->count : 1;
}

unsigned hw_unwind(uint64_t *frames, unsigned most, const hw_caller *caller)
{
    walk w = {.start = hw_address_of((uint64_t)(uintptr_t)caller->pc), .most = most};
    hw_guarded(go, &w);
    return give(&w, frames);
}

unsigned hw_unwind_surely(uint64_t *frames, unsigned most, const hw_caller *caller)
{
    walk w = {.start = hw_address_of((uint64_t)(uintptr_t)caller->pc), .most = most};
    hw_guarded_apart(go, &w, sizeof w);
    return give(&w, frames);
}

/* --- both ---------------------------------------------------------------------------------------- */

/* What names a stack, wherever it lies, while nothing is forgotten: a thread has sites of its own. */
static uint64_t key_of(const hw_unwound *known, const hw_site_cache *cache, const hw_followed *stack, uint64_t first)
{
    uint64_t age = atomic_load_explicit(&known->forgotten, memory_order_relaxed);
    uint64_t key = stack->sum - stack->pc[0] + first + ((uint64_t)cache->thread << 32) + (age << 58 | age << 24);
    return key ? key : 1;
}

static inline hw_recent *place_of(hw_unwound *known, uint64_t key, uint32_t prior)
{
    uint64_t hash = (key ^ prior) * HW_POWER;
    return &known->known[(hash ^ hash >> 32) % KNOWN];
}

static __attribute__((noinline)) uint32_t intern(hw_unwound *known, const hw_site_cache *cache,
                                                 const hw_followed *stack, uint64_t first, uint32_t prior)
{
    hw_site_record record = {.prior = prior, .thread = hw_site_thread(cache), .count = (uint16_t)stack->count};
    memcpy(known->pc, stack->pc, stack->count * sizeof *stack->pc);
    known->pc[0] = first;
    return hw_site_intern_record(&record, known->pc);
}

static void keep(hw_recent *place, uint64_t key, uint32_t prior, uint32_t site)
{
    place->key = 0; /* whoever breaks off here leaves none */
    atomic_signal_fence(memory_order_seq_cst);
    place->prior = prior;
    place->site = site;
    atomic_signal_fence(memory_order_seq_cst);
    place->key = site && hw_site_may_be_kept(site) ? key : 0;
}

/* Whether a site may be found in passing: else somebody wants to know of it, and the call takes the long way. */
static bool may_pass(const hw_site_cache *cache, const hw_caller *caller, uint32_t prior)
{
    return !hw_traps_on && !hw_site_met && prior != HW_SITE_QUARANTINE &&
           (!hw_python_loads || cache->python || !hw_python_comes((uintptr_t)caller->pc));
}

/* On the thread's own stack. HW_SITE_UNKNOWN: there is no telling, or another call is at it, or it may not pass. */
static inline __attribute__((always_inline)) uint32_t by_rules(hw_site_cache *cache, const hw_caller *caller,
                                                               uint32_t prior, bool in_passing)
{
    uintptr_t low = (uintptr_t)caller->frame;
    hw_unwound *known = cache->unwound;
    if (HW_UNLIKELY(!known || low < cache->stack_low || low >= cache->stack_high - 2 * sizeof(uint64_t) ||
                    low < known->busy))
        return HW_SITE_UNKNOWN;
    known->busy = low;
    atomic_signal_fence(memory_order_seq_cst);
    uint32_t site = HW_SITE_UNKNOWN;
    hw_followed stack;
    if (HW_LIKELY(hw_trail_follow(&known->trail, caller, cache->stack_high, &stack))) {
        uint64_t first = (uint64_t)(uintptr_t)caller->pc, key = key_of(known, cache, &stack, first);
        hw_recent *place = place_of(known, key, prior);
        if (HW_LIKELY(place->key == key && place->prior == prior)) {
            site = place->site;
        } else if (!in_passing || may_pass(cache, caller, prior)) {
            site = intern(known, cache, &stack, first, prior);
            keep(place, key, prior, site);
            site = in_passing && !site ? HW_SITE_UNKNOWN : site;
        }
        if (site != HW_SITE_UNKNOWN)
            COMPARE(site, caller);
    }
    atomic_signal_fence(memory_order_seq_cst);
    known->busy = 0;
    return site;
}

uint32_t hw_unwound_recall(hw_site_cache *cache, hw_caller caller, uint32_t prior)
{
    return by_rules(cache, &caller, prior, true);
}

typedef struct unknown {
    const hw_site_cache *cache;
    const hw_caller *caller;
    uint32_t prior, site;
} unknown;

static void learn_by_libgcc(void *argument)
{
    unknown *u = argument;
    uint64_t pc[HW_FULL_FRAMES];
    unsigned count = hw_unwind(pc, HW_FULL_FRAMES, u->caller);
    pc[0] |= hw_domain_bits((uint64_t)(uintptr_t)u->caller->pc);
    u->site = hw_site_intern(u->cache, pc, count, u->prior);
}

__attribute__((noinline)) uint32_t hw_unwound_learn(hw_site_cache *cache, const hw_caller *caller, uint32_t prior)
{
    if (!cache->unwound)
        cache->unwound = hw_map(sizeof *cache->unwound);
    unknown u = {.cache = cache, .caller = caller, .prior = prior, .site = by_rules(cache, caller, prior, false)};
    if (u.site == HW_SITE_UNKNOWN)
        hw_with_room(learn_by_libgcc, &u);
    return u.site;
}

void hw_unwound_forget(hw_site_cache *cache)
{
    if (cache->unwound)
        atomic_fetch_add_explicit(&cache->unwound->forgotten, 1, memory_order_relaxed);
}

void hw_unwound_adopt(hw_site_cache *cache)
{
    if (!cache->unwound)
        return;
    cache->unwound->busy = 0;
    cache->unwound->trail.any = false;
}
