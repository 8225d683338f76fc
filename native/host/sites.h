/* Allocation and release sites: stacks, interned once for the whole process, named by 24 bits.

   The common case is one look into the thread's own cache, keyed by a hash of the stack. The shared
   table is open addressing over records that never change once a word of the table names them: the
   word is stored with release after the record is written, by compare-and-exchange. Two threads may
   write the same record twice; both numbers are right. */
#ifndef HEAPWITNESS_SITES_H
#define HEAPWITNESS_SITES_H

#include "settings.h"
#include "system.h"

/* A frame pointer that leads further is none: it might lead off a stack of another kind. */
enum { HW_FRAME_MOST = 64 << 10 };
enum { HW_FAST_FRAMES = 8, HW_FULL_FRAMES = 32, HW_RECENT = 1024, HW_DEPTHS = 256 };

/* Where the program called in: the return address, and the frame of the function that was called. */
typedef struct hw_caller {
    void *pc;
    void **frame;
} hw_caller;
#define HW_HERE ((hw_caller){__builtin_return_address(0), (void **)__builtin_frame_address(0)})

/* One thread's memory of sites. `depth` is how many frames may be believed from a return address on:
   code without frame pointers leads astray, and is followed only once. */
typedef struct hw_site_cache {
    uintptr_t stack_low, stack_high; /* 0: frames are not followed */
    uint32_t thread;
    uint32_t most; /* frames to follow; 0 where each stack is unwound */
    struct hw_unwound *unwound;
    uint32_t next_way;
    struct {
        uint64_t key;
        uint32_t site;
    } recent[HW_RECENT];
    struct {
        uintptr_t pc;
        uint32_t frames;
    } depth[HW_DEPTHS];
} hw_site_cache;

/* Forget whose thread the cache belonged to, and take it over for the calling one. */
void hw_sites_adopt(hw_site_cache *cache, uint32_t thread);
/* The same thread under another number, in the child of a fork, or with other settings. */
void hw_sites_renew(hw_site_cache *cache, uint32_t thread);
uint32_t hw_site_learn(hw_site_cache *cache, const hw_caller *caller, uint32_t prior);

/* unwound.c: the site of a call whose stack was unwound before; false: it was not, or not for this `prior`. */
bool hw_unwound_recall(const hw_site_cache *cache, const hw_caller *caller, uint32_t prior, uint32_t *site);

/* Frame pointers from the caller on, as far as they may be believed. Nothing beyond the thread's own
   stack is read. Returns how many frames. */
static inline unsigned hw_follow(const hw_site_cache *cache, const hw_caller *caller, uint64_t *pc, unsigned limit)
{
    unsigned n = 1;
    uintptr_t below = (uintptr_t)caller->frame;
    pc[0] = (uint64_t)(uintptr_t)caller->pc;
    if (below < cache->stack_low || below >= cache->stack_high)
        return 1;
    uintptr_t at = (uintptr_t)caller->frame[0];
    while (n < limit && at > below && at - below < HW_FRAME_MOST && at < cache->stack_high - 16 && (at & 15) == 0) {
        pc[n++] = ((uint64_t *)at)[1];
        below = at;
        at = ((uintptr_t *)at)[0];
    }
    return n;
}

static inline uint64_t hw_site_key(const uint64_t *pc, unsigned frames, uint32_t prior)
{
    uint64_t key = prior;
    for (unsigned i = 0; i < frames; i++)
        key = (key << 9 | key >> 55) + pc[i];
    key *= UINT64_C(0x9E3779B97F4A7C15);
    return key ^ key >> 32;
}

static inline unsigned hw_depth_slot(uint64_t pc)
{
    return (unsigned)((pc ^ pc >> 8) % HW_DEPTHS);
}

/* The number of the calling site if the thread knows it already; `prior` is the block's allocation site for
   a release, else 0. */
static inline __attribute__((always_inline)) bool hw_site_recall(const hw_site_cache *cache, const hw_caller *caller,
                                                                 uint32_t prior, uint32_t *site)
{
    uint64_t pc[HW_FAST_FRAMES] = {(uint64_t)(uintptr_t)caller->pc};
    unsigned slot = hw_depth_slot(pc[0]), frames = 1;
    unsigned limit = cache->depth[slot].pc == pc[0] ? cache->depth[slot].frames : cache->most;
    if (HW_UNLIKELY(limit != 1)) {
        if (limit == 0)
            return hw_unwound_recall(cache, caller, prior, site);
        frames = hw_follow(cache, caller, pc, limit);
    }
    uint64_t key = hw_site_key(pc, frames, prior);
    *site = cache->recent[key % HW_RECENT].site;
    return HW_LIKELY(cache->recent[key % HW_RECENT].key == key);
}

static inline uint32_t hw_site_of(hw_site_cache *cache, const hw_caller *caller, uint32_t prior)
{
    uint32_t site;
    return hw_site_recall(cache, caller, prior, &site) ? site : hw_site_learn(cache, caller, prior);
}

/* For a release: which allocation site a site number of the table leads to. */
uint32_t hw_site_prior(uint32_t site);
/* The whole stack by unwinding, from the caller on; returns how many frames. */
unsigned hw_unwind(uint64_t *frames, unsigned most, const hw_caller *caller);

#endif
