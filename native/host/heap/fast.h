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

#include "arena/arena.h"

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
/* 0 when they are equal. Differences are gathered and looked at once: a branch for each would cost more. */
HW_INLINE uint64_t hw_difference(hw_words a, hw_words b)
{
    return (a.sizes ^ b.sizes) | (a.rest ^ b.rest);
}
/* Not 0 when the upper half of `rest` is no check of what the sum was made of. */
HW_INLINE uint64_t hw_unsealed(uint64_t sum, uint64_t rest)
{
    return (sum ^ rest) >> 32;
}
HW_INLINE uint64_t hw_seal(uint64_t sum, uint32_t meta)
{
    return (sum >> 32 << 32) | meta;
}
/* The neighbours' headers lie a block's length away, and how far that is stands in the node's own, for which one would
   have to wait first. So that all of them come at once, the lines are fetched where most small blocks have them. */
HW_INLINE void hw_fetch_before(uintptr_t payload)
{
    __builtin_prefetch((const void *)(payload - 64));
    __builtin_prefetch((const void *)(payload - 128));
    __builtin_prefetch((const void *)(payload - 192));
    __builtin_prefetch((const void *)(payload - 256));
}
HW_INLINE void hw_fetch_around(uintptr_t payload)
{
    hw_fetch_before(payload);
    __builtin_prefetch((const void *)(payload + 64));
    __builtin_prefetch((const void *)(payload + 128));
    __builtin_prefetch((const void *)(payload + 192));
}

/* The offset's part of a keyed sum. */
HW_INLINE uint64_t hw_offset_sum(const hw_trusted *pool, uint32_t node)
{
    return node * pool->key.offset;
}

/* Sizes of nodes, in granules: the smallest, and the largest of those that have a cache. */
enum { HW_NODE_LEAST = HW_MIN_NODE >> HW_FIXED_GRANULE_LOG2, HW_NODE_CACHED = HW_NODE_LEAST + HW_CLASSES - 1 };

typedef struct hw_looked {
    char *at, *kept; /* the node, and its backup */
    uint32_t size, meta;
    uint64_t offset_sum, sum; /* parts of the keyed sum: of the offset; of that and the sizes */
} hw_looked;

/* Not 0: something is not as it should be. `least`, `most`: between which its size is to be believed; what lies behind
   a pool can be read as far as the largest cached size leads. */
HW_INLINE uint64_t hw_look(const hw_trusted *pool, uint32_t node, uint32_t least, uint32_t most, hw_looked *n)
{
    enum { G = HW_FIXED_GRANULE_LOG2 };
    n->at = pool->base + ((size_t)node << G);
    hw_words own = hw_load(n->at);
    uint32_t prev = (uint32_t)(own.sizes >> 32);
    uint64_t wrong = 0;
    n->size = (uint32_t)own.sizes;
    n->meta = (uint32_t)own.rest;
    n->offset_sum = hw_offset_sum(pool, node);
    n->sum = n->offset_sum + own.sizes * pool->key.sizes;
    /* What follows is read where these lead. */
    if (HW_UNLIKELY(hw_unsealed(n->sum + n->meta * pool->key.meta, own.rest) || n->size - least > most - least ||
                    prev > node))
        return 1;
    if (HW_CHECKS & HW_CHECK_AFTER) {
        hw_words after = hw_load(n->at + ((size_t)n->size << G));
        wrong = hw_difference(after, hw_load(n->at + HW_BACKUP)) | (after.sizes >> 32 ^ n->size);
    }
    n->kept = n->at - ((size_t)prev << G) + HW_BACKUP;
    if (HW_UNLIKELY(prev == 0)) {
        n->kept = pool->base + ((size_t)pool->end << G) + HW_BACKUP;
        return wrong | hw_difference(own, hw_load(n->kept));
    }
    if (HW_CHECKS & HW_CHECK_OWN)
        wrong |= hw_difference(own, hw_load(n->kept));
    if (HW_CHECKS & HW_CHECK_BEFORE) {
        hw_words before = hw_load(n->kept - HW_BACKUP);
        uint64_t sum = n->offset_sum - hw_offset_sum(pool, prev) + before.sizes * pool->key.sizes;
        wrong |= hw_unsealed(sum + (uint32_t)before.rest * pool->key.meta, before.rest);
        wrong |= (uint32_t)before.sizes ^ prev;
    }
    return wrong;
}

HW_INLINE void hw_write_meta(const hw_trusted *pool, const hw_looked *n, uint32_t meta)
{
    uint64_t rest = hw_seal(n->sum + meta * pool->key.meta, meta);
    __builtin_memcpy(n->at + 8, &rest, 8);
    __builtin_memcpy(n->kept + 8, &rest, 8);
}

/* For the last two words of a payload: which of their bytes are slack. Every payload has two. */
static const uint64_t hw_slack_masks[16][2] = {
#define HW_TOP(n) ((n) ? ~UINT64_C(0) << (64 - 8 * ((n) ? (n) : 8)) : 0)
#define HW_MASKS(n) {(n) > 8 ? HW_TOP((n) - 8) : 0, (n) > 8 ? ~UINT64_C(0) : HW_TOP(n)}
    HW_MASKS(0), HW_MASKS(1), HW_MASKS(2),  HW_MASKS(3),  HW_MASKS(4),  HW_MASKS(5),  HW_MASKS(6),  HW_MASKS(7),
    HW_MASKS(8), HW_MASKS(9), HW_MASKS(10), HW_MASKS(11), HW_MASKS(12), HW_MASKS(13), HW_MASKS(14), HW_MASKS(15),
#undef HW_MASKS
#undef HW_TOP
};

HW_INLINE uint64_t hw_slack_wrong(const hw_looked *n)
{
    if (!(HW_CHECKS & HW_CHECK_SLACK))
        return 0;
    const uint64_t *mask = hw_slack_masks[n->meta & 15];
    uint64_t pattern = hw_pattern_of(n->offset_sum);
    hw_words end = hw_load(n->at + ((size_t)n->size << HW_FIXED_GRANULE_LOG2) - 16);
    return ((end.sizes ^ pattern) & mask[0]) | ((end.rest ^ pattern) & mask[1]);
}

/* Nothing of a new block's payload is worth keeping, so whole words may be written. */
HW_INLINE void hw_slack_fill(const hw_looked *n, uint32_t size)
{
    char *end = n->at + ((size_t)size << HW_FIXED_GRANULE_LOG2);
    uint64_t pattern = hw_pattern_of(n->offset_sum);
    __builtin_memcpy(end - 8, &pattern, 8);
    __builtin_memcpy(end - 16, &pattern, 8);
}

/* The same where the payload stays. */
HW_INLINE void hw_slack_refill(const hw_looked *n, unsigned slack)
{
    const uint64_t *mask = hw_slack_masks[slack];
    char *end = n->at + ((size_t)n->size << HW_FIXED_GRANULE_LOG2) - 16;
    uint64_t pattern = hw_pattern_of(n->offset_sum);
    hw_words last = hw_load(end);
    last.sizes ^= (last.sizes ^ pattern) & mask[0];
    last.rest ^= (last.rest ^ pattern) & mask[1];
    __builtin_memcpy(end, &last.sizes, 8);
    __builtin_memcpy(end + 8, &last.rest, 8);
}

/* The links of a cached node that is not poisoned: 0, 0, HW_CACHED_PARENT and their check. */
HW_INLINE uint64_t hw_links_rest(const hw_trusted *pool, uint64_t offset_sum)
{
    return (offset_sum + pool->links) | HW_CACHED_PARENT; /* which is all ones */
}

/* Not 0: it is no cached node, or its links are damaged. */
HW_INLINE uint64_t hw_cached_wrong(const hw_trusted *pool, const hw_looked *n)
{
    hw_words links = hw_load(n->at + HW_OVERHEAD);
    uint64_t wrong = (n->meta & 0x30) ^ (uint32_t)HW_CACHED << 4;
    if (HW_CHECKS & HW_CHECK_LINKS)
        wrong |= links.sizes | (links.rest ^ hw_links_rest(pool, n->offset_sum));
    return wrong;
}

/* A used node that was looked at becomes a cached one. */
HW_INLINE void hw_fast_cache(const hw_trusted *pool, const hw_looked *n, uint32_t site)
{
    uint64_t links[2] = {0, hw_links_rest(pool, n->offset_sum)};
    hw_write_meta(pool, n, (n->meta & 0xCF) | (uint32_t)HW_CACHED << 4 | site << 8);
    __builtin_memcpy(n->at + HW_OVERHEAD, &links[0], 8);
    __builtin_memcpy(n->at + HW_OVERHEAD + 8, &links[1], 8);
}

/* Of what has a cache; no request of 0 bytes goes the usual way. */
HW_INLINE bool hw_is_small(size_t bytes)
{
    return bytes - 1 < (size_t)HW_CLASSES << HW_FIXED_GRANULE_LOG2;
}
/* Which cache a request, or a node, belongs to; HW_CLASSES and more: none. */
HW_INLINE size_t hw_class_of(size_t bytes)
{
    return (bytes - (bytes != 0)) >> HW_FIXED_GRANULE_LOG2;
}
HW_INLINE uint32_t hw_class_of_node(uint32_t size)
{
    return size - HW_NODE_LEAST;
}
/* What is left over of the last granule; nothing of 0 bytes is a granule's first byte. */
HW_INLINE unsigned hw_slack_for(size_t bytes)
{
    return (unsigned)-(bytes + (bytes == 0)) & 15;
}

/* A cached node becomes a used one of `bytes`, which need exactly its size. NULL: something is odd. */
HW_INLINE void *hw_fast_take(const hw_trusted *pool, uint32_t node, size_t bytes, unsigned origin, uint32_t site)
{
    hw_looked n;
    uint32_t size = (uint32_t)hw_class_of(bytes) + HW_NODE_LEAST;
    uint64_t wrong = hw_look(pool, node, size, size, &n);
    if (HW_UNLIKELY(wrong | hw_cached_wrong(pool, &n)))
        return NULL;
    hw_write_meta(pool, &n, hw_meta(hw_slack_for(bytes), HW_USED, origin, site));
    hw_slack_fill(&n, size);
    return n.at + HW_OVERHEAD;
}

HW_INLINE void hw_write_both(char *own, char *kept, uint64_t sizes, uint64_t rest)
{
    __builtin_memcpy(own, &sizes, 8);
    __builtin_memcpy(own + 8, &rest, 8);
    __builtin_memcpy(kept, &sizes, 8);
    __builtin_memcpy(kept + 8, &rest, 8);
}
HW_INLINE uint64_t hw_sealed(const hw_trusted *pool, uint64_t sizes, uint32_t meta, uint64_t offset_sum)
{
    return hw_seal(offset_sum + sizes * pool->key.sizes + meta * pool->key.meta, meta);
}

/* The first part of a cached node becomes a used one of `bytes`; the rest stays cached behind it. `*node`
   is moved on to that. NULL: too small, or something is odd. */
HW_INLINE void *hw_fast_cut(const hw_trusted *pool, uint32_t *node, size_t bytes, unsigned origin, uint32_t site)
{
    enum { G = HW_FIXED_GRANULE_LOG2 };
    hw_looked n;
    uint32_t need = (uint32_t)hw_class_of(bytes) + HW_NODE_LEAST;
    uint64_t wrong = hw_look(pool, *node, 0, pool->end - *node, &n), none = 0, links;
    if (HW_UNLIKELY((wrong | hw_cached_wrong(pool, &n)) || n.size < need + HW_NODE_LEAST))
        return NULL;
    uint32_t rest = n.size - need;
    uint64_t offset_sum = n.offset_sum + hw_offset_sum(pool, need); /* of the rest */
    char *tail = n.at + ((size_t)need << G), *behind = n.at + ((size_t)n.size << G);
    hw_words own = hw_load(n.at), last = hw_load(behind);
    uint64_t sizes = need | own.sizes >> 32 << 32;
    hw_write_both(n.at, n.kept, sizes,
                  hw_sealed(pool, sizes, hw_meta(hw_slack_for(bytes), HW_USED, origin, site), n.offset_sum));
    hw_slack_fill(&n, need);
    *node += need;
    sizes = rest | (uint64_t)need << 32;
    hw_write_both(tail, n.at + HW_BACKUP, sizes,
                  hw_sealed(pool, sizes, hw_meta(0, HW_CACHED, HW_MALLOC, 0), offset_sum));
    links = hw_links_rest(pool, offset_sum);
    __builtin_memcpy(tail + HW_OVERHEAD, &none, 8);
    __builtin_memcpy(tail + HW_OVERHEAD + 8, &links, 8);
    sizes = (uint32_t)last.sizes | (uint64_t)rest << 32;
    hw_write_both(behind, tail + HW_BACKUP, sizes,
                  hw_sealed(pool, sizes, (uint32_t)last.rest, offset_sum + hw_offset_sum(pool, rest)));
    return n.at + HW_OVERHEAD;
}

#endif
