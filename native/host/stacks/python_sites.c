#define _GNU_SOURCE
#include "stacks/python_sites.h"

#include "stacks/domains.h"
#include "stacks/named.h"
#include "stacks/past.h"
#include "stacks/python_code.h"
#include "stacks/python_follow.h"
#include "stacks/python_trail.h"
#include "stacks/unwound.h"

#include <heapwitness/core.h>

/* A call, and its native site. */
typedef struct known_native {
    uintptr_t pc, frame;
    uint32_t site;
} known_native;

enum { NATIVES = 512 };

typedef struct hw_python {
    hw_python_view view;
    uint32_t native;    /* frames to follow; 0 where each stack is unwound */
    bool busy;          /* with `codes` and `trail`: a signal may come at any time */
    known_native whole; /* what recall_unwound found for the call that is learnt next */
    struct {
        uint64_t key;
        uint32_t site;
    } natives[NATIVES]; /* native sites, by native_key */
    hw_python_trail trail;
    hw_python_codes codes;
} hw_python;

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

static uint32_t known_native_site(const hw_python *p, uint64_t key)
{
    unsigned slot = (unsigned)(key ^ key >> 8) % NATIVES;
    uint32_t site = p->natives[slot].site;
    atomic_signal_fence(memory_order_seq_cst);
    return p->natives[slot].key == key ? site : 0;
}

static void keep_native_site(hw_python *p, uint64_t key, uint32_t site)
{
    unsigned slot = (unsigned)(key ^ key >> 8) % NATIVES;
    p->natives[slot].key = 0;
    atomic_signal_fence(memory_order_seq_cst);
    p->natives[slot].site = site;
    atomic_signal_fence(memory_order_seq_cst);
    p->natives[slot].key = key;
}

/* A release has the innermost frame alone: there are many pairs of both. What an extension allocates may be overrun by
   it: where a helper of the program makes such blocks, its caller tells bugs apart. */
static unsigned follow(hw_python *p, const hw_caller *caller, hw_python_frame *frames, uint32_t prior,
                       hw_python_path *path)
{
    unsigned own = hw_python_is_own((uintptr_t)caller->pc) ? 1 : 2;
    return hw_python_follow(&p->view, frames, prior ? 1 : HW_PYTHON_FAST, own, path);
}

/* A site of code, and of a native site, that are known already, which `key` is to lead to. Anything else takes the long
   way: where a site is trapped or a release is none, where a signal came while another call was here. */
static __attribute__((noinline)) uint32_t learn_known(hw_site_cache *cache, const hw_caller *caller, uint32_t prior,
                                                      const hw_python_frame *frames, unsigned count, uint64_t native,
                                                      uint64_t key)
{
    hw_python *p = cache->python;
    uint64_t words[1 + HW_PYTHON_FAST];
    if (p->busy || hw_traps_on || prior == HW_SITE_QUARANTINE || (words[0] = known_native_site(p, native)) == 0 ||
        (prior && hw_domain_differs(prior, caller)))
        return HW_SITE_UNKNOWN;
    p->busy = true;
    atomic_signal_fence(memory_order_seq_cst);
    bool known = hw_python_known_words(&p->codes, frames, count, words + 1);
    atomic_signal_fence(memory_order_seq_cst);
    p->busy = false;
    if (!known)
        return HW_SITE_UNKNOWN;
    if (hw_site_met && !prior)
        hw_site_met((uintptr_t)hw_address_of((uintptr_t)caller->pc));
    uint32_t site = (uint32_t)words[0];
    if (prior || count) {
        hw_site_record record = {
            .prior = prior, .thread = hw_site_thread(cache), .count = (uint16_t)(1 + count), .kind = HW_SITE_PYTHON};
        site = hw_site_intern_record(&record, words);
    }
    if (!site)
        return HW_SITE_UNKNOWN;
    if (prior && cache->releasing) {
        hw_past_learn(cache->releasing, site);
        cache->releasing = NULL;
    }
    hw_site_keep(cache, key, prior, site);
    return site;
}

/* The first look is for a caller that is all that may be believed. */
static uint32_t recall_path(hw_site_cache *cache, const hw_caller *caller, uint32_t prior,
                            const hw_python_frame *frames, unsigned count, uint64_t python)
{
    uint64_t native = (uint64_t)(uintptr_t)caller->pc, key = both(native, python);
    uint32_t site = hw_site_recent(cache, key, prior);
    if (site == HW_SITE_UNKNOWN && !(count && hw_python_is_own(native))) {
        native = native_key(cache, caller, count != 0);
        key = both(native, python);
        site = hw_site_recent(cache, key, prior);
    }
    return site != HW_SITE_UNKNOWN ? site : learn_known(cache, caller, prior, frames, count, native, key);
}

/* Where the innermost frame alone does not tell; `innermost` is the key that it has, 0 for none that is kept. */
static __attribute__((noinline)) uint32_t recall_slowly(hw_site_cache *cache, hw_caller caller, uint32_t prior,
                                                        uint64_t innermost)
{
    hw_python_path path;
    hw_python_frame frames[HW_PYTHON_FAST];
    unsigned count = follow(cache->python, &caller, frames, prior, &path);
    uint32_t site = recall_path(cache, &caller, prior, frames, count, path.key);
    if (innermost && !prior && path.ends && !path.alone && site && site != HW_SITE_UNKNOWN)
        hw_python_keep_chain(&cache->python->view, &path, innermost, site);
    return site;
}

/* While the interpreter starts and ends. */
static __attribute__((noinline)) uint32_t recall_frameless(hw_site_cache *cache, hw_caller caller, uint32_t prior)
{
    return recall_path(cache, &caller, prior, NULL, 0, HW_PYTHON_NOTHING);
}

/* The key of a frame that is the innermost, and in place. */
static inline __attribute__((always_inline)) uint64_t key_from(hw_caller caller, uintptr_t frame,
                                                               const hw_python_layout layout)
{
    return both((uint64_t)(uintptr_t)caller.pc, hw_python_key_of(hw_word_of(frame + layout.instruction)));
}

/* Where the innermost frame is known, and what it leads to is not in its usual place. */
static inline __attribute__((always_inline)) uint32_t recall_further(hw_site_cache *cache, hw_caller caller,
                                                                     uint32_t prior, const hw_python_layout layout)
{
    hw_python_view *view = &cache->python->view;
    hw_python_frame frames[HW_PYTHON_FAST];
    uintptr_t frame;
    if (!hw_python_glance(view, layout, &frame))
        return recall_slowly(cache, caller, prior, 0);
    const uint64_t key = key_from(caller, frame, layout);
    uint32_t site = hw_site_beside(cache, key, prior);
    if (site != HW_SITE_UNKNOWN)
        return site;
    if (!hw_python_is_own((uintptr_t)caller.pc) || !hw_python_is_there(view->frames, frame, HW_PYTHON_FRAME) ||
        hw_python_is_shim(layout, frame))
        return recall_slowly(cache, caller, prior, key);
    frames[0] = hw_python_frame_at(layout, frame);
    if (prior || !hw_python_is_library(frames->code))
        return learn_known(cache, &caller, prior, frames, 1, (uintptr_t)caller.pc, key);
    hw_python_path path;
    unsigned count = hw_python_walk(view, layout, frame, frames, HW_PYTHON_FAST, 1, &path);
    uint64_t far = both((uintptr_t)caller.pc, path.key);
    site = hw_site_recent(cache, far, 0);
    if (site == HW_SITE_UNKNOWN)
        site = learn_known(cache, &caller, 0, frames, count, (uintptr_t)caller.pc, far);
    if (path.ends && site && site != HW_SITE_UNKNOWN)
        hw_python_keep_chain(view, &path, key, site);
    return site;
}

/* Where all is as usual: of an allocation, and of a release. */
static inline __attribute__((always_inline)) uint32_t recall(hw_site_cache *cache, hw_caller caller, uint32_t prior,
                                                             const hw_python_layout layout, hw_site_recaller *further)
{
    hw_python_view *view = &cache->python->view;
    uintptr_t frame;
    if (HW_UNLIKELY(!hw_python_glance(view, layout, &frame)))
        return frame ? recall_slowly(cache, caller, prior, 0) : recall_frameless(cache, caller, prior);
    const uint64_t key = key_from(caller, frame, layout);
    const hw_recent *seen = &cache->recent[hw_recent_slot(key, prior)];
    uint32_t site = seen->site;
    if (HW_LIKELY(seen->key == key && seen->prior == prior))
        return site;
    if (prior)
        return further(cache, caller, prior);
    site = hw_python_chain_site(hw_python_chain_of(view, frame, key), layout, frame, key);
    return HW_LIKELY(site != HW_SITE_UNKNOWN) ? site : further(cache, caller, 0);
}

#define RECALL(version)                                                                                                \
    static __attribute__((noinline)) uint32_t further_##version(hw_site_cache *cache, hw_caller caller,                \
                                                                uint32_t prior)                                        \
    {                                                                                                                  \
        return recall_further(cache, caller, prior, hw_python_layouts[version]);                                       \
    }                                                                                                                  \
    static uint32_t recall_##version(hw_site_cache *cache, hw_caller caller, uint32_t prior)                           \
    {                                                                                                                  \
        return recall(cache, caller, prior, hw_python_layouts[version], further_##version);                            \
    }
RECALL(0)
RECALL(1)
RECALL(2)
RECALL(3)
static hw_site_recaller *const recalls[HW_PYTHON_VERSIONS] = {recall_0, recall_1, recall_2, recall_3};

/* All frames; returns how many words they are, behind the first, if those are asked for. */
static unsigned follow_whole(hw_python *p, uint64_t *words, uint64_t *key)
{
    unsigned count = 1;
    uintptr_t frame = hw_python_innermost(&p->view);
    *key = HW_PYTHON_NOTHING;
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

static uint32_t recall_unwound(hw_site_cache *cache, hw_caller caller, uint32_t prior)
{
    uint64_t python;
    const uint32_t native = hw_unwound_recall(cache, caller, 0);
    cache->python->whole = (known_native){(uintptr_t)caller.pc, (uintptr_t)caller.frame, native};
    if (native == HW_SITE_UNKNOWN || cache->python->busy)
        return HW_SITE_UNKNOWN;
    follow_whole(cache->python, NULL, &python);
    return hw_site_recent(cache, both(native, python), prior);
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
    uint64_t pc[HW_FAST_FRAMES] = {(uintptr_t)caller->pc};
    uint32_t site;
    if (p->native == 0) {
        site = take_known(p, caller);
        *key = site = site != HW_SITE_UNKNOWN ? site : hw_unwound_learn(cache, caller, 0);
        return site;
    }
    if (lines && hw_python_is_own(*pc)) {
        *key = *pc;
        if ((site = known_native_site(p, *key)) == 0)
            site = hw_site_intern(cache, pc, 1, 0);
    } else {
        unsigned frames = hw_site_follow(cache, caller, pc, p->native);
        *key = native_key(cache, caller, lines);
        site = hw_site_intern(cache, pc, lines ? shorten(pc, frames) : frames, 0);
    }
    if (site)
        keep_native_site(p, *key, site);
    return site;
}

/* The frames as words behind the first; returns how many words there are. `lines`: whether there are frames. A code
   that is found to be a library's leads on to frames that were not looked at. */
static unsigned learn_frames(hw_python *p, const hw_caller *caller, uint64_t *words, uint32_t prior, bool *lines,
                             uint64_t *key)
{
    hw_python_path path;
    hw_python_frame frames[HW_PYTHON_FAST];
    unsigned count = 1, before;
    unsigned n = follow(p, caller, frames, prior, &path);
    *lines = n != 0;
    *key = path.key;
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
        n = follow(p, caller, frames, prior, &path);
    } while (count > before && count <= n);
    atomic_signal_fence(memory_order_seq_cst);
    p->busy = false;
    *key = path.key;
    return count;
}

__attribute__((noinline)) uint32_t hw_python_learn(hw_site_cache *cache, const hw_caller *caller, uint32_t prior)
{
    uint64_t native, python = 0, words[1 + HW_PYTHON_MOST];
    hw_python *p = cache->python;
    bool busy = p->busy, lines = true;
    unsigned count =
        p->native ? learn_frames(p, caller, words, prior, &lines, &python) : follow_whole(p, words, &python);
    uint32_t site = learn_native(cache, caller, lines, &native);
    if ((words[0] = site) == 0)
        return 0;
    if (prior || count > 1) {
        hw_site_record key = {
            .prior = prior, .thread = hw_site_thread(cache), .count = (uint16_t)count, .kind = HW_SITE_PYTHON};
        site = hw_site_intern_record(&key, words);
    }
    if (site && !busy && hw_site_may_be_kept(site))
        hw_site_keep(cache, both(native, python), prior, site);
    return site;
}

void hw_python_renew(hw_site_cache *cache)
{
    hw_python *p = cache->python;
    if (!hw_python_here() || (!p && !(p = hw_map(sizeof *p))))
        return;
    hw_python_forget(&p->view);
    hw_python_trail_forget(&p->trail);
    p->busy = false;
    p->native = cache->most;
    cache->recall = cache->most ? recalls[hw_python_version()] : recall_unwound;
    atomic_signal_fence(memory_order_seq_cst);
    cache->python = p;
    cache->most = 0;
    hw_past_begin();
}
