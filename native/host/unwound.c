#define _GNU_SOURCE
#include "unwound.h"

#include <string.h>
#include <unwind.h>

/* Sets of entries: the same call is reached by several ways. */
enum { SETS = 1024, WAYS = 4, ENTRIES = SETS * WAYS };

typedef struct hw_unwound {
    uint64_t pc;
    uintptr_t frame;
    uint32_t site, prior;
    uint32_t count; /* 0: not to be used */
    struct {
        uint64_t pc;
        uintptr_t at; /* where on the stack it lies */
    } step[HW_FULL_FRAMES];
} hw_unwound;

static inline hw_unwound *set_for(const hw_site_cache *cache, const hw_caller *caller, uint32_t prior)
{
    uint64_t h = ((uint64_t)(uintptr_t)caller->pc ^ (uint64_t)(uintptr_t)caller->frame << 17 ^ prior) *
                 UINT64_C(0x9E3779B97F4A7C15);
    return &cache->unwound[(h >> 40 & (SETS - 1)) * WAYS];
}

static bool is_same_stack(const hw_unwound *entry, const hw_caller *caller)
{
    if (entry->count == 0 || entry->pc != (uint64_t)(uintptr_t)caller->pc || entry->frame != (uintptr_t)caller->frame)
        return false;
    for (uint32_t i = 1; i < entry->count; i++)
        if (*(const uint64_t *)entry->step[i].at != entry->step[i].pc)
            return false;
    return true;
}

bool hw_unwound_recall(const hw_site_cache *cache, const hw_caller *caller, uint32_t prior, uint32_t *site)
{
    if (!cache->unwound)
        return false;
    const hw_unwound *set = set_for(cache, caller, prior);
    for (unsigned way = 0; way < WAYS; way++)
        if (set[way].prior == prior && is_same_stack(&set[way], caller)) {
            *site = set[way].site;
            return true;
        }
    return false;
}

typedef struct walk {
    uint64_t *pc;
    uintptr_t *at;
    unsigned count, most;
    uint64_t start;
} walk;

static _Unwind_Reason_Code step(struct _Unwind_Context *context, void *argument)
{
    walk *w = argument;
    uint64_t pc = _Unwind_GetIP(context);
    if (pc == 0)
        return _URC_END_OF_STACK;
    if (w->count || pc == w->start) {
        if (w->at) /* the frame that was called from here ends below its return address */
            w->at[w->count] = (uintptr_t)_Unwind_GetCFA(context) - sizeof(uint64_t);
        w->pc[w->count++] = pc;
    }
    return w->count < w->most ? _URC_NO_REASON : _URC_END_OF_STACK;
}

static unsigned unwind(uint64_t *pc, uintptr_t *at, unsigned most, const hw_caller *caller)
{
    walk w = {.pc = pc, .at = at, .most = most, .start = (uint64_t)(uintptr_t)caller->pc};
    _Unwind_Backtrace(step, &w);
    if (w.count == 0)
        pc[w.count++] = w.start;
    return w.count;
}

unsigned hw_unwind(uint64_t *frames, unsigned most, const hw_caller *caller)
{
    return unwind(frames, NULL, most, caller);
}

unsigned hw_unwound_follow(const hw_caller *caller, uint64_t *pc, uintptr_t *at)
{
    return unwind(pc, at, HW_FULL_FRAMES, caller);
}

void hw_unwound_keep(hw_site_cache *cache, const hw_caller *caller, uint32_t prior, uint32_t site, const uint64_t *pc,
                     const uintptr_t *at, unsigned count)
{
    uintptr_t low = (uintptr_t)caller->frame, high = cache->stack_high;
    if (low < cache->stack_low || low >= high)
        return;                          /* not on the thread's own stack */
    for (unsigned i = 1; i < count; i++) /* a signal's frame is not of this kind */
        if (at[i] <= low || at[i] > high - sizeof(uint64_t) || *(const uint64_t *)at[i] != pc[i])
            return;
    if (!cache->unwound && !(cache->unwound = hw_map(ENTRIES * sizeof *cache->unwound)))
        return;
    hw_unwound *entry = set_for(cache, caller, prior) + cache->next_way++ % WAYS;
    entry->count = 0; /* a signal handler that comes now does not use it */
    atomic_signal_fence(memory_order_seq_cst);
    entry->pc = (uint64_t)(uintptr_t)caller->pc;
    entry->frame = low;
    entry->prior = prior;
    entry->site = site;
    for (uint32_t i = 0; i < count; i++) {
        entry->step[i].pc = pc[i];
        entry->step[i].at = at[i];
    }
    atomic_signal_fence(memory_order_seq_cst);
    entry->count = count;
}

void hw_unwound_forget(hw_site_cache *cache)
{
    if (cache->unwound)
        memset(cache->unwound, 0, ENTRIES * sizeof *cache->unwound);
}
