/* The usual case of a release and of an allocation: a used node becomes a cached one, and the other way
   round. Everything of design rule 2 is verified, and nothing but one word of each copy is written.

   Rule 2's "equal pair of copies is the fast path" is taken at its word for the two neighbours: their
   copies must be equal and their sizes must fit this node's, whose own check is computed. Whatever
   does not pass is judged by the core.

   Headers are read and written as two words of 64 bits, always the same two, so that a load finds its
   store in the store buffer. Owner or visitor only, inside of the arena. */
#ifndef HEAPWITNESS_FAST_H
#define HEAPWITNESS_FAST_H

#include "arena.h"

typedef struct hw_words {
    uint64_t sizes, rest; /* size | prev_size << 32, meta | check << 32 */
} hw_words;

static inline hw_words hw_load(const void *at)
{
    hw_words w;
    __builtin_memcpy(&w.sizes, at, 8);
    __builtin_memcpy(&w.rest, (const char *)at + 8, 8);
    return w;
}
static inline bool hw_differ(hw_words a, hw_words b)
{
    return ((a.sizes ^ b.sizes) | (a.rest ^ b.rest)) != 0;
}
static inline uint32_t hw_fold(uint64_t x)
{
    return (uint32_t)(((x ^ (x >> 32)) * UINT64_C(0x9E3779B97F4A7C15)) >> 32);
}

/* A node that was looked at: its words, where its backup is, and the parts of its check that stay. */
typedef struct hw_looked {
    char *at, *kept;
    uint32_t size, meta;
    uint64_t product, factor;
} hw_looked;

static inline uint32_t hw_check_with(const hw_secret *s, const hw_looked *n, uint32_t meta)
{
    return hw_fold(n->product + (uint64_t)(uint32_t)(meta + s->word[2]) * n->factor);
}

/* False: something is not as it should be. */
static inline bool hw_look(const hw_trusted *pool, uint32_t node, hw_looked *n)
{
    const hw_secret *s = &pool->secret;
    enum { G = HW_FIXED_GRANULE_LOG2 };
    n->at = pool->base + ((size_t)node << G);
    hw_words own = hw_load(n->at + HW_HEADER);
    uint32_t size = (uint32_t)own.sizes, prev = (uint32_t)(own.sizes >> 32);
    n->size = size;
    n->meta = (uint32_t)own.rest;
    n->product = (uint64_t)(uint32_t)(size + s->word[0]) * (uint32_t)(prev + s->word[1]);
    n->factor = (uint32_t)(node + s->word[3]);
    if (HW_UNLIKELY(hw_check_with(s, n, n->meta) != (uint32_t)(own.rest >> 32) || size > pool->end - node || prev > node))
        return false;
    char *end = pool->base + ((size_t)pool->end << G);
    char *before = prev ? n->at - ((size_t)prev << G) : end;
    const char *next = n->at + ((size_t)size << G);
    n->kept = before;
    hw_words after = hw_load(next + HW_HEADER), first = hw_load(before + HW_HEADER);
    uint32_t far = (uint32_t)(first.sizes >> 32);
    if (HW_UNLIKELY(hw_differ(own, hw_load(before)) || hw_differ(after, hw_load(n->at)) ||
                    (uint32_t)(after.sizes >> 32) != size))
        return false;
    if (HW_UNLIKELY(prev == 0)) /* the node before the first is the end: its keeper is the last */
        return true;
    if (HW_UNLIKELY((uint32_t)first.sizes != prev || far > node - prev))
        return false;
    return HW_LIKELY(!hw_differ(first, hw_load(far ? before - ((size_t)far << G) : end)));
}

static inline void hw_write_meta(const hw_trusted *pool, const hw_looked *n, uint32_t meta)
{
    uint64_t rest = meta | (uint64_t)hw_check_with(&pool->secret, n, meta) << 32;
    __builtin_memcpy(n->at + HW_HEADER + 8, &rest, 8);
    __builtin_memcpy(n->kept + 8, &rest, 8);
}

static inline uint64_t hw_slack_mask(unsigned bytes)
{
    return ~UINT64_C(0) << (64 - 8 * bytes);
}

static inline bool hw_slack_is_right(const hw_trusted *pool, const hw_looked *n, uint32_t node)
{
    unsigned slack = n->meta & 15;
    if (slack == 0)
        return true;
    const char *end = n->at + ((size_t)n->size << HW_FIXED_GRANULE_LOG2);
    uint64_t pattern = hw_pattern(pool->secret.word, node), last, first;
    __builtin_memcpy(&last, end - 8, 8);
    if (slack <= 8)
        return ((last ^ pattern) & hw_slack_mask(slack)) == 0;
    __builtin_memcpy(&first, end - 16, 8);
    return last == pattern && ((first ^ pattern) & hw_slack_mask(slack - 8)) == 0;
}

/* Nothing of a new block's payload is worth keeping, so whole words may be written. */
static inline void hw_slack_fill(const hw_trusted *pool, const hw_looked *n, uint32_t node, unsigned slack)
{
    if (slack == 0)
        return;
    char *end = n->at + ((size_t)n->size << HW_FIXED_GRANULE_LOG2);
    uint64_t pattern = hw_pattern(pool->secret.word, node);
    __builtin_memcpy(end - 8, &pattern, 8);
    if (slack > 8)
        __builtin_memcpy(end - 16, &pattern, 8);
}

static inline uint64_t hw_cached_links_rest(const hw_trusted *pool, uint32_t node)
{
    const hw_secret *s = &pool->secret;
    uint32_t check = hw_keyed(s->word, 0, 0, HW_CACHED_PARENT, node ^ (uint32_t)HW_LINK_KEY);
    return HW_CACHED_PARENT | (uint64_t)check << 32;
}

/* The node becomes a cached one, if it is a used one that `family` may release and nothing is odd. */
static inline bool hw_fast_cache(const hw_trusted *pool, uint32_t node, hw_looked *n, uint32_t site)
{
    uint64_t links[2] = {0, hw_cached_links_rest(pool, node)};
    hw_write_meta(pool, n, (n->meta & 0xCF) | (uint32_t)HW_CACHED << 4 | site << 8);
    __builtin_memcpy(n->at + HW_OVERHEAD, &links[0], 8);
    __builtin_memcpy(n->at + HW_OVERHEAD + 8, &links[1], 8);
    return true;
}

/* A cached node becomes a used one of `bytes`, which need exactly its size. */
static inline void *hw_fast_take(const hw_trusted *pool, uint32_t node, size_t bytes, unsigned origin, uint32_t site)
{
    hw_looked n;
    uint64_t links[2];
    if (HW_UNLIKELY(!hw_look(pool, node, &n) || hw_state_of(n.meta) != HW_CACHED))
        return NULL;
    __builtin_memcpy(&links[0], n.at + HW_OVERHEAD, 8);
    __builtin_memcpy(&links[1], n.at + HW_OVERHEAD + 8, 8);
    if (HW_UNLIKELY(links[0] != 0 || links[1] != hw_cached_links_rest(pool, node)))
        return NULL;
    unsigned slack = (unsigned)(((size_t)n.size << HW_FIXED_GRANULE_LOG2) - HW_OVERHEAD - (bytes ? bytes : 1));
    hw_write_meta(pool, &n, hw_meta(slack, HW_USED, origin, site));
    hw_slack_fill(pool, &n, node, slack);
    return n.at + HW_OVERHEAD;
}

#endif
