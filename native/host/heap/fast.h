/* The usual case of a release and of an allocation in a pool: a used node becomes a cached one, and the other way
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
#include "run_node.h"

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
/* The offset's part of a keyed sum. */
HW_INLINE uint64_t hw_offset_sum(const hw_trusted *pool, uint32_t node)
{
    return node * pool->key.offset;
}

/* The smallest node, in granules. */
enum { HW_NODE_LEAST = HW_MIN_NODE >> HW_FIXED_GRANULE_LOG2 };

typedef struct hw_looked {
    char *at, *kept; /* the node, and its backup */
    uint32_t size, meta;
    uint64_t offset_sum, sum; /* parts of the keyed sum: of the offset; of that and the sizes */
} hw_looked;

/* Not 0: something is not as it should be. `least`, `most`: between which its size is to be believed. */
HW_INLINE uint64_t hw_look(const hw_trusted *pool, uint32_t node, uint32_t least, uint32_t most, hw_looked *n)
{
    enum { G = HW_FIXED_GRANULE_LOG2 };
    n->at = pool->base + ((size_t)node << G);
    hw_words own = hw_load(n->at);
    uint32_t prev = (uint32_t)(own.sizes >> 32);
    uint64_t wrong;
    n->size = (uint32_t)own.sizes;
    n->meta = (uint32_t)own.rest;
    n->offset_sum = hw_offset_sum(pool, node);
    n->sum = n->offset_sum + own.sizes * pool->key.sizes;
    /* What follows is read where these lead. */
    if (HW_UNLIKELY(hw_unsealed(n->sum + n->meta * pool->key.meta, own.rest) || n->size - least > most - least ||
                    prev > node))
        return 1;
    hw_words after = hw_load(n->at + ((size_t)n->size << G));
    wrong = hw_difference(after, hw_load(n->at + HW_BACKUP)) | (after.sizes >> 32 ^ n->size);
    n->kept = n->at - ((size_t)prev << G) + HW_BACKUP;
    if (HW_UNLIKELY(prev == 0)) {
        n->kept = pool->base + ((size_t)pool->end << G) + HW_BACKUP;
        return wrong | hw_difference(own, hw_load(n->kept));
    }
    hw_words before = hw_load(n->kept - HW_BACKUP);
    uint64_t sum = n->offset_sum - hw_offset_sum(pool, prev) + before.sizes * pool->key.sizes;
    return wrong | hw_difference(own, hw_load(n->kept)) |
           hw_unsealed(sum + (uint32_t)before.rest * pool->key.meta, before.rest) | ((uint32_t)before.sizes ^ prev);
}

HW_INLINE void hw_write_meta(const hw_trusted *pool, const hw_looked *n, uint32_t meta)
{
    uint64_t rest = hw_seal(n->sum + meta * pool->key.meta, meta);
    __builtin_memcpy(n->at + 8, &rest, 8);
    __builtin_memcpy(n->kept + 8, &rest, 8);
}

HW_INLINE uint64_t hw_slack_wrong(const hw_looked *n)
{
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

/* The links of a cached node that is not poisoned: 0, 0, HW_CACHED_PARENT and their check. */
HW_INLINE uint64_t hw_links_rest(const hw_trusted *pool, uint64_t offset_sum)
{
    return (offset_sum + pool->links) | HW_CACHED_PARENT; /* which is all ones */
}

/* Not 0: it is no cached node, or its links are damaged. */
HW_INLINE uint64_t hw_cached_wrong(const hw_trusted *pool, const hw_looked *n)
{
    hw_words links = hw_load(n->at + HW_OVERHEAD);
    return ((n->meta & 0x30) ^ (uint32_t)HW_CACHED << 4) | links.sizes |
           (links.rest ^ hw_links_rest(pool, n->offset_sum));
}

/* A used node that was looked at becomes a cached one. */
HW_INLINE void hw_fast_cache(const hw_trusted *pool, const hw_looked *n, uint32_t site)
{
    uint64_t links[2] = {0, hw_links_rest(pool, n->offset_sum)};
    hw_write_meta(pool, n, (n->meta & 0xCF) | (uint32_t)HW_CACHED << 4 | site << 8);
    __builtin_memcpy(n->at + HW_OVERHEAD, &links[0], 8);
    __builtin_memcpy(n->at + HW_OVERHEAD + 8, &links[1], 8);
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
    uint32_t size = hw_granules(HW_FIXED_GRANULE_LOG2, bytes);
    uint64_t wrong = hw_look(pool, node, size, size, &n);
    if (HW_UNLIKELY(wrong | hw_cached_wrong(pool, &n)))
        return NULL;
    hw_write_meta(pool, &n, hw_meta(hw_slack_for(bytes), HW_USED, origin, site));
    hw_slack_fill(&n, size);
    return n.at + HW_OVERHEAD;
}

#endif
