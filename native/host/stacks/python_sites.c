#define _GNU_SOURCE
#include "stacks/python_sites.h"

#include "stacks/python_code.h"
#include "stacks/python_follow.h"
#include "stacks/unwound.h"

/* A call, and its native site. */
typedef struct known_native {
    uintptr_t pc, frame;
    uint32_t site;
} known_native;

typedef struct hw_python {
    hw_python_view view;
    uint32_t native;    /* frames to follow; 0 where each stack is unwound */
    bool busy;          /* with `codes`: a signal may come at any time */
    known_native whole; /* what recall_unwound found for the call that is learnt next */
    hw_python_codes codes;
} hw_python;

/* What HW_SITE_RECALL looks for first must not be found: no site is as large. */
#define PYTHON UINT32_C(0x80000000)

static inline uint64_t both(uint64_t native, uint64_t python)
{
    return hw_key_end(hw_key_on(native * UINT64_C(0xD6E8FEB86659FD93), python), 2);
}

/* Of what frame pointers lead to, as far as that may be believed. */
static __attribute__((noinline)) uint64_t native_key(const hw_site_cache *cache, const hw_caller *caller)
{
    uint64_t key = (uint64_t)(uintptr_t)caller->pc;
    unsigned most = cache->python->native, slot = hw_depth_slot((uintptr_t)caller->pc);
    if (most > 1) {
        if (cache->depth[slot].pc == (uintptr_t)caller->pc)
            most = cache->depth[slot].frames;
        hw_follow(cache, caller, NULL, most, &key);
    }
    return key;
}

/* A release has the innermost frame alone, where stacks are not whole: there are many pairs of both. */
static unsigned follow(hw_python *p, hw_python_frame *frames, uint32_t prior, uint64_t *key)
{
    bool whole = p->native == 0;
    unsigned most = whole ? HW_PYTHON_MOST : prior ? 1 : HW_PYTHON_FAST;
    return hw_python_follow(&p->view, frames, most, whole, key);
}

/* The first look is for a caller that is all that may be believed. */
static __attribute__((noinline)) uint32_t recall_slowly(const hw_site_cache *cache, hw_caller caller, uint32_t prior)
{
    uint64_t python;
    hw_python_frame frames[HW_PYTHON_MOST];
    follow(cache->python, frames, prior, &python);
    prior |= PYTHON;
    uint32_t site = hw_site_recent(cache, both((uint64_t)(uintptr_t)caller.pc, python), prior);
    return site != HW_SITE_UNKNOWN ? site : hw_site_recent(cache, both(native_key(cache, &caller), python), prior);
}

/* Where all is as usual, as recall_slowly begins. */
static inline __attribute__((always_inline)) uint32_t recall(const hw_site_cache *cache, hw_caller caller,
                                                             uint32_t prior, const hw_python_layout layout)
{
    uint64_t python;
    if (HW_LIKELY(hw_python_glance(&cache->python->view, layout, prior != 0, &python))) {
        uint64_t key = both((uint64_t)(uintptr_t)caller.pc, python);
        const hw_recent *seen = &cache->recent[hw_recent_slot(key, prior | PYTHON)];
        uint32_t site = seen->site;
        if (HW_LIKELY(seen->key == key && seen->prior == (prior | PYTHON)))
            return site;
    }
    return recall_slowly(cache, caller, prior);
}

#define RECALL(version)                                                                                                \
    static uint32_t recall_##version(const hw_site_cache *cache, hw_caller caller, uint32_t prior)                     \
    {                                                                                                                  \
        return recall(cache, caller, prior, hw_python_layouts[version]);                                               \
    }
RECALL(0)
RECALL(1)
RECALL(2)
RECALL(3)
static uint32_t (*const recalls[HW_PYTHON_VERSIONS])(const hw_site_cache *, hw_caller, uint32_t) = {recall_0, recall_1,
                                                                                                    recall_2, recall_3};

static uint32_t recall_unwound(const hw_site_cache *cache, hw_caller caller, uint32_t prior)
{
    uint64_t python;
    hw_python_frame frames[HW_PYTHON_MOST];
    const uint32_t native = hw_unwound_recall(cache, caller, 0);
    cache->python->whole = (known_native){(uintptr_t)caller.pc, (uintptr_t)caller.frame, native};
    if (native == HW_SITE_UNKNOWN)
        return native;
    follow(cache->python, frames, prior, &python);
    return hw_site_recent(cache, both(native, python), prior | PYTHON);
}

/* Taken once, and by nobody whose call came between. */
static uint32_t take_known(hw_python *p, const hw_caller *caller)
{
    const known_native known = p->whole;
    p->whole = (known_native){0};
    return known.pc == (uintptr_t)caller->pc && known.frame == (uintptr_t)caller->frame ? known.site : HW_SITE_UNKNOWN;
}

/* The native site, of whatever block. */
static uint32_t learn_native(hw_site_cache *cache, const hw_caller *caller, uint64_t *key)
{
    uint64_t pc[HW_FAST_FRAMES];
    uint32_t site;
    if (cache->python->native == 0) {
        site = take_known(cache->python, caller);
        *key = site = site != HW_SITE_UNKNOWN ? site : hw_unwound_learn(cache, caller, 0);
        return site;
    }
    site = hw_site_intern(cache, pc, hw_site_follow(cache, caller, pc, cache->python->native), 0);
    *key = native_key(cache, caller);
    return site;
}

/* The frames as words behind the first; returns how many words there are. A code that is found to be a library's leads
   on to frames that were not looked at. */
static unsigned learn_frames(hw_python *p, uint64_t *words, uint32_t prior, uint64_t *key)
{
    hw_python_frame frames[HW_PYTHON_MOST];
    unsigned count = 1, before;
    unsigned n = follow(p, frames, prior, key);
    if (p->busy) /* in a signal that came while another call was here: without lines, */
        return 1;
    p->busy = true;
    atomic_signal_fence(memory_order_seq_cst);
    do {
        before = count;
        while (count <= n && (words[count] = hw_python_word(&p->codes, &frames[count - 1])) != 0)
            count++;
        n = follow(p, frames, prior, key);
    } while (count > before && count <= n);
    atomic_signal_fence(memory_order_seq_cst);
    p->busy = false;
    return count;
}

__attribute__((noinline)) uint32_t hw_python_learn(hw_site_cache *cache, const hw_caller *caller, uint32_t prior)
{
    uint64_t native, python = 0, words[1 + HW_PYTHON_MOST];
    if ((words[0] = learn_native(cache, caller, &native)) == 0)
        return 0;
    bool busy = cache->python->busy;
    unsigned count = learn_frames(cache->python, words, prior, &python);
    uint32_t site = (uint32_t)words[0];
    if (prior || count > 1) {
        hw_site_record key = {
            .prior = prior, .thread = hw_site_thread(cache), .count = (uint16_t)count, .kind = HW_SITE_PYTHON};
        site = hw_site_intern_record(&key, words);
    }
    if (site && !busy && hw_site_may_be_kept(site))
        hw_site_keep(cache, both(native, python), prior | PYTHON, site);
    return site;
}

void hw_python_renew(hw_site_cache *cache)
{
    if (!hw_python_here() || (!cache->python && !(cache->python = hw_map(sizeof *cache->python))))
        return;
    hw_python_forget(&cache->python->view);
    cache->python->busy = false;
    cache->python->native = cache->most;
    cache->recall_python = cache->most ? recalls[hw_python_version()] : recall_unwound;
    cache->most = 0;
}
