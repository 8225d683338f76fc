/* Reading and writing one node: where its two copies lie, and when they may be believed.
   Shared by the files of the core; not for callers. */
#ifndef HEAPWITNESS_NODE_H
#define HEAPWITNESS_NODE_H

#include "check.h"
#include "heapwitness/core.h"

enum { HW_MAGIC = 0x31505748, HW_LINK_KEY = 0x6B6E694C, HW_FLAG_STALE = 1 };
#define HW_CACHED_PARENT UINT32_C(0xFFFFFFFF)

/* The engine fixes the granule at compile time; the portable library reads it from the pool. */
#ifdef HW_FIXED_GRANULE_LOG2
#define HW_LOG2(pool) ((void)(pool), (unsigned)HW_FIXED_GRANULE_LOG2)
#else
#define HW_LOG2(pool) ((pool)->shape >> 8 & 0xFF)
#endif

static inline uint32_t hw_first(const hw_pool *pool)
{
    return (uint32_t)HW_CONTROL >> HW_LOG2(pool);
}
static inline uint32_t hw_end(const hw_pool *pool)
{
    return pool->size - ((uint32_t)HW_END >> HW_LOG2(pool));
}
static inline uint32_t hw_min_node(const hw_pool *pool)
{
    return (uint32_t)HW_MIN_NODE >> HW_LOG2(pool);
}
static inline unsigned char *hw_at(const hw_pool *pool, uint32_t node)
{
    return (unsigned char *)(uintptr_t)pool + ((size_t)node << HW_LOG2(pool));
}
/* The copy of the NEXT node's header that `node` keeps. */
static inline hw_header *hw_kept(const hw_pool *pool, uint32_t node)
{
    return (hw_header *)(void *)hw_at(pool, node);
}
static inline hw_header *hw_own(const hw_pool *pool, uint32_t node)
{
    return (hw_header *)(void *)(hw_at(pool, node) + HW_HEADER);
}
static inline unsigned char *hw_payload(const hw_pool *pool, uint32_t node)
{
    return hw_at(pool, node) + HW_OVERHEAD;
}
static inline hw_links *hw_links_at(const hw_pool *pool, uint32_t node)
{
    return (hw_links *)(void *)hw_payload(pool, node);
}
static inline size_t hw_payload_bytes(const hw_pool *pool, uint32_t size)
{
    return ((size_t)size << HW_LOG2(pool)) - HW_OVERHEAD;
}

static inline unsigned hw_state_of(uint32_t meta)
{
    return meta >> 4 & 3;
}
static inline unsigned hw_slack_of(uint32_t meta)
{
    return meta & 15;
}
static inline uint32_t hw_meta(unsigned slack, unsigned state, unsigned origin, uint32_t site)
{
    return slack | (uint32_t)state << 4 | (uint32_t)origin << 6 | site << 8;
}

static inline bool hw_same(const hw_header *a, const hw_header *b)
{
    return ((a->size ^ b->size) | (a->prev_size ^ b->prev_size) | (a->meta ^ b->meta) |
            (a->check ^ b->check)) == 0;
}
/* The check holds, and the sizes stay inside of the pool: so neighbours found by it are in bounds. */
static inline bool hw_holds(const hw_pool *pool, uint32_t node, const hw_header *h)
{
    return h->check == hw_keyed(pool->secret, h->size, h->prev_size, h->meta, node) &&
           h->size <= pool->size - node && h->prev_size <= node;
}
static inline bool hw_control_holds(const hw_pool *pool)
{
    return pool->check == hw_keyed(pool->secret, pool->magic, pool->shape, pool->size, 0);
}
/* The node that keeps this node's backup. */
static inline uint32_t hw_keeper(const hw_pool *pool, uint32_t node, const hw_header *h)
{
    return h->prev_size ? node - h->prev_size : hw_end(pool);
}
/* Write both copies. The caller has verified the node in the same critical section, or makes it. */
static inline void hw_save(hw_pool *pool, uint32_t node, hw_header h)
{
    h.check = hw_keyed(pool->secret, h.size, h.prev_size, h.meta, node);
    *hw_own(pool, node) = h;
    *hw_kept(pool, hw_keeper(pool, node, &h)) = h;
}
static inline void hw_bury(hw_pool *pool, uint32_t node)
{
    hw_header *h = hw_own(pool, node);
    h->check = ~h->check;
}
static inline uint32_t hw_link_check(const hw_pool *pool, uint32_t node, const hw_links *l)
{
    return hw_keyed(pool->secret, l->left, l->right, l->parent, node ^ (uint32_t)HW_LINK_KEY);
}

/* backup.c */
bool hw_pair_holds(const hw_pool *pool, uint32_t node, hw_fault *fault);
int hw_around(const hw_pool *pool, uint32_t node, hw_fault *fault);
bool hw_slack_holds(const hw_pool *pool, uint32_t node, const hw_header *h);
void hw_slack_write(hw_pool *pool, uint32_t node, const hw_header *h);
bool hw_cached_links_hold(const hw_pool *pool, uint32_t node);
bool hw_poison_holds(const hw_pool *pool, uint32_t node, const hw_header *h);
void hw_poison_write(hw_pool *pool, uint32_t node, const hw_header *h);
void hw_cached_links_write(hw_pool *pool, uint32_t node, bool poison);

/* bestfit.c: the index of free nodes. All but hw_index_clear report damage and mark it stale. */
bool hw_index_insert(hw_pool *pool, uint32_t node, hw_fault *fault);
bool hw_index_remove(hw_pool *pool, uint32_t node, hw_fault *fault);
uint32_t hw_index_find(hw_pool *pool, uint32_t need, hw_fault *fault);
bool hw_index_knows(const hw_pool *pool, uint32_t node, uint32_t size);
void hw_index_clear(hw_pool *pool);

static inline bool hw_fail(hw_fault *fault, uint32_t reason, uint32_t node)
{
    *fault = (hw_fault){.reason = reason, .node = node};
    return false;
}

#endif
