#define _GNU_SOURCE
#include "stacks/python_sites.h"

#include "stacks/python_code.h"
#include "stacks/python_follow.h"
#include "stacks/python_trail.h"
#include "stacks/unwound.h"

/* A call, and its native site. */
typedef struct known_native {
    uintptr_t pc, frame;
    uint32_t site;
} known_native;

enum { NATIVES = 256 };

typedef struct hw_python {
    hw_python_view view;
    uint32_t native;    /* frames to follow; 0 where each stack is unwound */
    bool busy;          /* with `codes` and `trail`: a signal may come at any time */
    known_native whole; /* what recall_unwound found for the call that is learnt next */
    struct {
        uintptr_t pc;
        uint32_t site;
    } natives[NATIVES]; /* of CPython's own callers */
    hw_python_trail trail;
    hw_python_codes codes;
} hw_python;

/* What HW_SITE_RECALL looks for first must not be found: no site is as large. */
#define PYTHON UINT32_C(0x80000000)

/* Addresses of callers are near each other: their lowest bits are the ones that choose a slot, which the rest of a key
   has its best bits for. A key of several C frames is mixed already. */
static inline uint64_t both(uint64_t native, uint64_t python)
{
    return native ^ (python >> 32 | python << 32);
}

/* Where there are Python frames, C frames lead to them: up to the first of CPython's own. */
static unsigned shorten(uint64_t *pc, unsigned frames)
{
    for (unsigned i = 0; i < frames; i++)
        if (hw_python_is_own(pc[i]))
            return i + 1;
    return frames;
}

/* Of what frame pointers lead to, as far as that may be believed. */
static uint64_t native_key(const hw_site_cache *cache, const hw_caller *caller, bool lines)
{
    uint64_t key = (uint64_t)(uintptr_t)caller->pc, pc[HW_FAST_FRAMES];
    unsigned most = cache->python->native, slot = hw_depth_slot((uintptr_t)caller->pc);
    if (most > 1) {
        if (cache->depth[slot].pc == (uintptr_t)caller->pc)
            most = cache->depth[slot].frames;
        unsigned frames = hw_follow(cache, caller, pc, most, &key);
        if (lines)
            key = hw_site_key(pc, shorten(pc, frames));
    }
    return key;
}

/* A release has the innermost frame alone: there are many pairs of both. */
static unsigned follow(hw_python *p, hw_python_frame *frames, uint32_t prior, uint64_t *key)
{
    return hw_python_follow(&p->view, frames, prior ? 1 : HW_PYTHON_FAST, key);
}

/* The first look is for a caller that is all that may be believed. */
static __attribute__((noinline)) uint32_t recall_slowly(const hw_site_cache *cache, hw_caller caller, uint32_t prior)
{
    uint64_t python;
    hw_python_frame frames[HW_PYTHON_FAST];
    bool lines = follow(cache->python, frames, prior, &python) != 0;
    prior |= PYTHON;
    uint32_t site = hw_site_recent(cache, both((uint64_t)(uintptr_t)caller.pc, python), prior);
    if (site != HW_SITE_UNKNOWN || (lines && hw_python_is_own((uintptr_t)caller.pc)))
        return site;
    return hw_site_recent(cache, both(native_key(cache, &caller, lines), python), prior);
}

/* Where the innermost frame is known, but not as the program's own, or not in its usual place. */
static inline __attribute__((always_inline)) uint32_t recall_further(const hw_site_cache *cache, hw_caller caller,
                                                                     uint32_t prior, uintptr_t frame, uint64_t key,
                                                                     const hw_python_layout layout)
{
    hw_python_view *view = &cache->python->view;
    uint64_t pc = (uint64_t)(uintptr_t)caller.pc;
    uintptr_t instruction = hw_word_of(frame + layout.instruction);
    const hw_python_chain *last = &view->chains[hw_python_chain_from(frame, instruction)];
    bool chain = !prior && hw_python_is_chain(last, layout, frame, instruction);
    if (chain)
        key = both(pc, last->key);
    uint32_t site = hw_site_recent(cache, key, prior | PYTHON);
    if (site != HW_SITE_UNKNOWN)
        return site;
    if (!hw_python_is_own(pc) || !hw_python_is_there(view->frames, frame, HW_PYTHON_FRAME) ||
        hw_python_is_shim(layout, frame) || (!prior && !chain && hw_python_is_in_library(layout, frame)))
        return recall_slowly(cache, caller, prior);
    return HW_SITE_UNKNOWN;
}

/* Where all is as usual: of an allocation by the program's own code, and of a release. */
static inline __attribute__((always_inline)) uint32_t recall(const hw_site_cache *cache, hw_caller caller,
                                                             uint32_t prior, const hw_python_layout layout,
                                                             uint32_t (*further)(const hw_site_cache *, hw_caller,
                                                                                 uint32_t, uintptr_t, uint64_t))
{
    const hw_python_view *view = &cache->python->view;
    uintptr_t frame;
    if (HW_UNLIKELY(!hw_python_glance(view, layout, &frame)))
        return recall_slowly(cache, caller, prior);
    uintptr_t instruction = hw_word_of(frame + layout.instruction);
    uint64_t key = both((uint64_t)(uintptr_t)caller.pc, hw_python_key_of(instruction));
    prior |= PYTHON;
    const hw_recent *seen = &cache->recent[hw_recent_slot(key, prior)];
    uint32_t site = seen->site;
    if (HW_LIKELY(seen->key == key && seen->prior == prior))
        return site;
    return further(cache, caller, prior & ~PYTHON, frame, key);
}

#define RECALL(version)                                                                                                \
    static __attribute__((noinline)) uint32_t further_##version(const hw_site_cache *cache, hw_caller caller,          \
                                                                uint32_t prior, uintptr_t frame, uint64_t key)         \
    {                                                                                                                  \
        return recall_further(cache, caller, prior, frame, key, hw_python_layouts[version]);                           \
    }                                                                                                                  \
    static uint32_t recall_##version(const hw_site_cache *cache, hw_caller caller, uint32_t prior)                     \
    {                                                                                                                  \
        return recall(cache, caller, prior, hw_python_layouts[version], further_##version);                            \
    }
RECALL(0)
RECALL(1)
RECALL(2)
RECALL(3)
static uint32_t (*const recalls[HW_PYTHON_VERSIONS])(const hw_site_cache *, hw_caller, uint32_t) = {recall_0, recall_1,
                                                                                                    recall_2, recall_3};

/* All frames; returns how many words they are, behind the first, if those are asked for. */
static unsigned follow_whole(hw_python *p, uint64_t *words, uint64_t *key)
{
    unsigned count = 1;
    uintptr_t frame = hw_python_innermost(&p->view);
    *key = 0;
    if (p->busy || !frame) /* in a signal that came while another call was here: without lines */
        return count;
    p->busy = true;
    atomic_signal_fence(memory_order_seq_cst);
    if (hw_python_trail_follow(&p->trail, &p->view, frame, key) && words)
        count += hw_python_trail_words(&p->trail, &p->codes, words + 1);
    atomic_signal_fence(memory_order_seq_cst);
    p->busy = false;
    return count;
}

static uint32_t recall_unwound(const hw_site_cache *cache, hw_caller caller, uint32_t prior)
{
    uint64_t python;
    const uint32_t native = hw_unwound_recall(cache, caller, 0);
    cache->python->whole = (known_native){(uintptr_t)caller.pc, (uintptr_t)caller.frame, native};
    if (native == HW_SITE_UNKNOWN || cache->python->busy)
        return HW_SITE_UNKNOWN;
    follow_whole(cache->python, NULL, &python);
    return hw_site_recent(cache, both(native, python), prior | PYTHON);
}

/* Taken once, and by nobody whose call came between. */
static uint32_t take_known(hw_python *p, const hw_caller *caller)
{
    const known_native known = p->whole;
    p->whole = (known_native){0};
    return known.pc == (uintptr_t)caller->pc && known.frame == (uintptr_t)caller->frame ? known.site : HW_SITE_UNKNOWN;
}

/* The native site, of whatever block, where Python `lines` are told and where none are. */
static uint32_t learn_native(hw_site_cache *cache, const hw_caller *caller, bool lines, uint64_t *key)
{
    hw_python *p = cache->python;
    uintptr_t at = (uintptr_t)caller->pc;
    unsigned slot = (unsigned)(at ^ at >> 8) % NATIVES;
    uint64_t pc[HW_FAST_FRAMES] = {at};
    if (p->native == 0) {
        uint32_t site = take_known(p, caller);
        *key = site = site != HW_SITE_UNKNOWN ? site : hw_unwound_learn(cache, caller, 0);
        return site;
    }
    if (!lines || !hw_python_is_own(at)) {
        unsigned frames = hw_site_follow(cache, caller, pc, p->native);
        *key = native_key(cache, caller, lines);
        return hw_site_intern(cache, pc, lines ? shorten(pc, frames) : frames, 0);
    }
    *key = at;
    uint32_t site = p->natives[slot].pc == at ? p->natives[slot].site : 0;
    if (site == 0 && (site = hw_site_intern(cache, pc, 1, 0)) != 0) {
        p->natives[slot].pc = 0;
        atomic_signal_fence(memory_order_seq_cst);
        p->natives[slot].site = site;
        atomic_signal_fence(memory_order_seq_cst);
        p->natives[slot].pc = at;
    }
    return site;
}

/* The frames as words behind the first; returns how many words there are. `lines`: whether there are frames. A code
   that is found to be a library's leads on to frames that were not looked at. */
static unsigned learn_frames(hw_python *p, uint64_t *words, uint32_t prior, bool *lines, uint64_t *key)
{
    hw_python_frame frames[HW_PYTHON_FAST];
    unsigned count = 1, before;
    unsigned n = follow(p, frames, prior, key);
    *lines = n != 0;
    if (p->busy) /* in a signal that came while another call was here: without lines, */
        return 1;
    p->busy = true;
    atomic_signal_fence(memory_order_seq_cst);
    do {
        uint32_t records = p->codes.records;
        before = count;
        while (count <= n && (words[count] = hw_python_word(&p->codes, &frames[count - 1])) != 0)
            count++;
        if (p->codes.records == records)
            break;
        n = follow(p, frames, prior, key);
    } while (count > before && count <= n);
    atomic_signal_fence(memory_order_seq_cst);
    p->busy = false;
    return count;
}

__attribute__((noinline)) uint32_t hw_python_learn(hw_site_cache *cache, const hw_caller *caller, uint32_t prior)
{
    uint64_t native, python = 0, words[1 + HW_PYTHON_MOST];
    hw_python *p = cache->python;
    bool busy = p->busy, lines = true;
    unsigned count = p->native ? learn_frames(p, words, prior, &lines, &python) : follow_whole(p, words, &python);
    uint32_t site = learn_native(cache, caller, lines, &native);
    if ((words[0] = site) == 0)
        return 0;
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
    hw_python_trail_forget(&cache->python->trail);
    cache->python->busy = false;
    cache->python->native = cache->most;
    cache->recall_python = cache->most ? recalls[hw_python_version()] : recall_unwound;
    cache->most = 0;
}
