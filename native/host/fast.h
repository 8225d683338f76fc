/* The usual case of a release and of an allocation: a used node becomes a cached one, and the other way
   round. Design rule 2 in the fewest loads:

   * the node: its own check, and its backup equal to it;
   * the node after: both copies equal, and leading back to this node;
   * the node before: its own check, and leading to this node. Its backup lies one node further, in a
     cache line that nothing else here needs; that copy is compared when that node or the one before
     it has its turn, and at every walk.

   Whatever does not pass is judged by the core, which compares everything. One word of each copy is
   written. Headers are read and written as two words of 64 bits, always the same two, so that a load
   finds its store in the store buffer. By who is inside of the arena only. */
#ifndef HEAPWITNESS_FAST_H
#define HEAPWITNESS_FAST_H

#include "arena.h"

#define HW_INLINE static inline __attribute__((always_inline))

/* All of them; benchmarks/checks.py compiles engines without one, to see what it costs. */
#ifndef HW_CHECKS
#define HW_CHECKS (HW_CHECK_OWN | HW_CHECK_AFTER | HW_CHECK_BEFORE | HW_CHECK_SLACK | HW_CHECK_LINKS)
#endif
#define HW_CHECK_OWN 1
#define HW_CHECK_AFTER 2
#define HW_CHECK_BEFORE 4
#define HW_CHECK_SLACK 8
#define HW_CHECK_LINKS 16

typedef struct hw_words {
    uint64_t sizes, rest; /* size | prev_size << 32, meta | check << 32 */
} hw_words;

HW_INLINE hw_words hw_load(const char *at)
{
    hw_words w;
    __builtin_memcpy(&w.sizes, at, 8);
    __builtin_memcpy(&w.rest, at + 8, 8);
    return w;
}
HW_INLINE bool hw_differ(hw_words a, hw_words b)
{
    return ((a.sizes ^ b.sizes) | (a.rest ^ b.rest)) != 0;
}
HW_INLINE uint32_t hw_fold(uint64_t x)
{
    return (uint32_t)(((x ^ (x >> 32)) * UINT64_C(0x9E3779B97F4A7C15)) >> 32);
}

/* The parts of a header's check that do not depend on `meta`: hw_keyed, taken apart. */
typedef struct hw_halves {
    uint64_t product, factor;
} hw_halves;

HW_INLINE hw_halves hw_halve(const hw_trusted *pool, uint64_t sizes, uint32_t node)
{
    return (hw_halves){(uint64_t)(uint32_t)((uint32_t)sizes + pool->secret[0]) *
                           (uint32_t)((uint32_t)(sizes >> 32) + pool->secret[1]),
                       (uint32_t)(node + pool->secret[3])};
}
HW_INLINE uint32_t hw_check_of(const hw_trusted *pool, hw_halves halves, uint32_t meta)
{
    return hw_fold(halves.product + (uint64_t)(uint32_t)(meta + pool->secret[2]) * halves.factor);
}

typedef struct hw_looked {
    char *at, *kept; /* the node, and its backup */
    uint32_t size, meta;
    hw_halves halves;
} hw_looked;

/* False: something is not as it should be. */
HW_INLINE bool hw_look(const hw_trusted *pool, uint32_t node, hw_looked *n)
{
    enum { G = HW_FIXED_GRANULE_LOG2 };
    n->at = pool->base + ((size_t)node << G);
    hw_words own = hw_load(n->at + HW_HEADER);
    uint32_t size = (uint32_t)own.sizes, prev = (uint32_t)(own.sizes >> 32);
    n->size = size;
    n->meta = (uint32_t)own.rest;
    n->halves = hw_halve(pool, own.sizes, node);
    if (HW_UNLIKELY(hw_check_of(pool, n->halves, n->meta) != (uint32_t)(own.rest >> 32) || size > pool->end - node ||
                    prev > node))
        return false;
    if (HW_CHECKS & HW_CHECK_AFTER) {
        hw_words after = hw_load(n->at + ((size_t)size << G) + HW_HEADER);
        if (HW_UNLIKELY(hw_differ(after, hw_load(n->at)) || (uint32_t)(after.sizes >> 32) != size))
            return false;
    }
    if (HW_UNLIKELY(prev == 0)) {
        n->kept = pool->base + ((size_t)pool->end << G);
        return HW_LIKELY(!hw_differ(own, hw_load(n->kept)));
    }
    n->kept = n->at - ((size_t)prev << G);
    if ((HW_CHECKS & HW_CHECK_OWN) && HW_UNLIKELY(hw_differ(own, hw_load(n->kept))))
        return false;
    if (!(HW_CHECKS & HW_CHECK_BEFORE))
        return true;
    hw_words before = hw_load(n->kept + HW_HEADER);
    return HW_LIKELY((uint32_t)before.sizes == prev &&
                     hw_check_of(pool, hw_halve(pool, before.sizes, node - prev), (uint32_t)before.rest) ==
                         (uint32_t)(before.rest >> 32));
}

HW_INLINE void hw_write_meta(const hw_trusted *pool, const hw_looked *n, uint32_t meta)
{
    uint64_t rest = meta | (uint64_t)hw_check_of(pool, n->halves, meta) << 32;
    __builtin_memcpy(n->at + HW_HEADER + 8, &rest, 8);
    __builtin_memcpy(n->kept + 8, &rest, 8);
}

/* hw_pattern, with what is the same for all nodes taken out. */
HW_INLINE uint64_t hw_pattern_of(const hw_trusted *pool, uint32_t node)
{
    uint64_t x = (uint64_t)(uint32_t)(node + pool->secret[1]) * pool->pattern_factor + pool->pattern_term;
    x = (x ^ (x >> 29)) * UINT64_C(0xBF58476D1CE4E5B9);
    x ^= x >> 32;
    return (x & UINT64_C(0x1E1E1E1E1E1E1E1E)) | UINT64_C(0x8181818181818181);
}
HW_INLINE uint64_t hw_slack_mask(unsigned bytes)
{
    return ~UINT64_C(0) << (64 - 8 * bytes);
}

HW_INLINE bool hw_slack_is_right(const hw_trusted *pool, const hw_looked *n, uint32_t node)
{
    unsigned slack = n->meta & 15;
    if (slack == 0 || !(HW_CHECKS & HW_CHECK_SLACK))
        return true;
    const char *end = n->at + ((size_t)n->size << HW_FIXED_GRANULE_LOG2);
    uint64_t pattern = hw_pattern_of(pool, node), last, first;
    __builtin_memcpy(&last, end - 8, 8);
    if (slack <= 8)
        return ((last ^ pattern) & hw_slack_mask(slack)) == 0;
    __builtin_memcpy(&first, end - 16, 8);
    return last == pattern && ((first ^ pattern) & hw_slack_mask(slack - 8)) == 0;
}

/* Nothing of a new block's payload is worth keeping, so whole words may be written. */
HW_INLINE void hw_slack_fill(const hw_trusted *pool, const hw_looked *n, uint32_t node, unsigned slack)
{
    if (slack == 0)
        return;
    char *end = n->at + ((size_t)n->size << HW_FIXED_GRANULE_LOG2);
    uint64_t pattern = hw_pattern_of(pool, node);
    __builtin_memcpy(end - 8, &pattern, 8);
    if (slack > 8)
        __builtin_memcpy(end - 16, &pattern, 8);
}

/* The links of a cached node that is not poisoned: 0, 0, HW_CACHED_PARENT and their check. */
HW_INLINE uint64_t hw_links_rest(const hw_trusted *pool, uint32_t node)
{
    uint32_t factor = (node ^ (uint32_t)HW_LINK_KEY) + pool->secret[3];
    uint32_t check = hw_fold(pool->links_product + (uint64_t)(uint32_t)(HW_CACHED_PARENT + pool->secret[2]) * factor);
    return HW_CACHED_PARENT | (uint64_t)check << 32;
}

/* A used node that was looked at becomes a cached one. */
HW_INLINE void hw_fast_cache(const hw_trusted *pool, uint32_t node, const hw_looked *n, uint32_t site)
{
    uint64_t links[2] = {0, hw_links_rest(pool, node)};
    hw_write_meta(pool, n, (n->meta & 0xCF) | (uint32_t)HW_CACHED << 4 | site << 8);
    __builtin_memcpy(n->at + HW_OVERHEAD, &links[0], 8);
    __builtin_memcpy(n->at + HW_OVERHEAD + 8, &links[1], 8);
}

/* A cached node becomes a used one of `bytes`, which need exactly its size. NULL: something is odd. */
HW_INLINE void *hw_fast_take(const hw_trusted *pool, uint32_t node, size_t bytes, unsigned origin, uint32_t site)
{
    hw_looked n;
    uint64_t links[2];
    if (HW_UNLIKELY(!hw_look(pool, node, &n) || hw_state_of(n.meta) != HW_CACHED))
        return NULL;
    __builtin_memcpy(&links[0], n.at + HW_OVERHEAD, 8);
    __builtin_memcpy(&links[1], n.at + HW_OVERHEAD + 8, 8);
    if ((HW_CHECKS & HW_CHECK_LINKS) && HW_UNLIKELY(links[0] != 0 || links[1] != hw_links_rest(pool, node)))
        return NULL;
    unsigned slack = (unsigned)(((size_t)n.size << HW_FIXED_GRANULE_LOG2) - HW_OVERHEAD - (bytes ? bytes : 1));
    hw_write_meta(pool, &n, hw_meta(slack, HW_USED, origin, site));
    hw_slack_fill(pool, &n, node, slack);
    return n.at + HW_OVERHEAD;
}

/* Which cache a request, or a node, belongs to; HW_CLASSES and more: none. */
HW_INLINE size_t hw_class_of(size_t bytes)
{
    return (bytes - (bytes != 0)) >> HW_FIXED_GRANULE_LOG2;
}
HW_INLINE uint32_t hw_class_of_node(uint32_t size)
{
    return size - ((uint32_t)HW_MIN_NODE >> HW_FIXED_GRANULE_LOG2);
}

HW_INLINE void hw_write_both(char *own, char *kept, uint64_t sizes, uint64_t rest)
{
    __builtin_memcpy(own, &sizes, 8);
    __builtin_memcpy(own + 8, &rest, 8);
    __builtin_memcpy(kept, &sizes, 8);
    __builtin_memcpy(kept + 8, &rest, 8);
}
HW_INLINE uint64_t hw_sealed(const hw_trusted *pool, uint64_t sizes, uint32_t meta, uint32_t node)
{
    return meta | (uint64_t)hw_check_of(pool, hw_halve(pool, sizes, node), meta) << 32;
}

/* The first part of a cached node becomes a used one of `bytes`; the rest stays cached behind it. `*node`
   is moved on to that. NULL: too small, or something is odd. */
HW_INLINE void *hw_fast_cut(const hw_trusted *pool, uint32_t *node, size_t bytes, unsigned origin, uint32_t site)
{
    enum { G = HW_FIXED_GRANULE_LOG2 };
    hw_looked n;
    uint64_t links[2];
    uint32_t need = (uint32_t)(hw_class_of(bytes) + (HW_MIN_NODE >> G)), first = *node, rest;
    if (HW_UNLIKELY(!hw_look(pool, first, &n) || hw_state_of(n.meta) != HW_CACHED ||
                    n.size < need + (HW_MIN_NODE >> G)))
        return NULL;
    links[1] = hw_links_rest(pool, first);
    if (HW_UNLIKELY(hw_differ(hw_load(n.at + HW_OVERHEAD), (hw_words){0, links[1]})))
        return NULL;
    rest = n.size - need;
    char *tail = n.at + ((size_t)need << G), *behind = n.at + ((size_t)n.size << G);
    hw_words own = hw_load(n.at + HW_HEADER), last = hw_load(behind + HW_HEADER);
    uint64_t sizes = need | (own.sizes & ~UINT64_C(0xFFFFFFFF));
    unsigned slack = (unsigned)(((size_t)need << G) - HW_OVERHEAD - (bytes ? bytes : 1));
    hw_write_both(n.at + HW_HEADER, n.kept, sizes,
                  hw_sealed(pool, sizes, hw_meta(slack, HW_USED, origin, site), first));
    n.size = need;
    hw_slack_fill(pool, &n, first, slack);
    *node = first + need;
    sizes = rest | (uint64_t)need << 32;
    hw_write_both(tail + HW_HEADER, n.at, sizes, hw_sealed(pool, sizes, hw_meta(0, HW_CACHED, HW_MALLOC, 0), *node));
    links[0] = 0;
    links[1] = hw_links_rest(pool, *node);
    __builtin_memcpy(tail + HW_OVERHEAD, links, 16);
    sizes = (uint32_t)last.sizes | (uint64_t)rest << 32;
    hw_write_both(behind + HW_HEADER, tail, sizes, hw_sealed(pool, sizes, (uint32_t)last.rest, first + need + rest));
    return n.at + HW_OVERHEAD;
}

#endif
