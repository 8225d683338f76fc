/* Reading and writing one node: where its two copies lie, and when they may be believed.
   Shared by the files of the core; not for callers. */
#ifndef HEAPWITNESS_NODE_H
#define HEAPWITNESS_NODE_H

#include "check.h"
#include "heapwitness/core.h"

enum { HW_MAGIC = 0x31505748, HW_LINK_KEY = 0x6B6E694C, HW_FLAG_STALE = 1, HW_WITNESSED = 32 };
enum { HW_LEAST = HW_CONTROL + HW_MIN_NODE + HW_END };
#define HW_CACHED_PARENT UINT32_C(0xFFFFFFFF)
/* `left` and `right` of a poisoned node: of no bytes that programs are likely to write. `left` is positive, as words of
   poison are. */
#define HW_POISONED_LEFT UINT32_C(0x13A7C5B9)
#define HW_POISONED_RIGHT UINT32_C(0xB1D38FA5)
/* Links of a used node that another thread than its owner released; the engine writes them. */
#define HW_PENDING_PARENT UINT32_C(0xFFFFFFFE)
/* No pool and no request has this many granules. */
#define HW_MOST UINT32_C(0x80000000)

/* The engine fixes the granule at compile time; the portable library reads it from the pool. */
#ifdef HW_FIXED_GRANULE_LOG2
#define HW_LOG2(pool) ((void)(pool), (unsigned)HW_FIXED_GRANULE_LOG2)
#else
/* Of a damaged pool, before that is noticed, it is any number: no shift by it may be undefined. */
#define HW_LOG2(pool) ((pool)->shape >> 8 & 31)
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
static inline hw_header *hw_backup_in(const hw_pool *pool, uint32_t node)
{
    return (hw_header *)(void *)(hw_at(pool, node) + HW_BACKUP);
}
static inline hw_header *hw_own(const hw_pool *pool, uint32_t node)
{
    return (hw_header *)(void *)hw_at(pool, node);
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
    return ((a->size ^ b->size) | (a->prev_size ^ b->prev_size) | (a->meta ^ b->meta) | (a->check ^ b->check)) == 0;
}
/* The check holds, and the sizes stay inside of the pool: so neighbours found by it are in bounds. */
static inline bool hw_is_valid(const hw_pool *pool, uint32_t node, const hw_header *h)
{
    return h->check == hw_keyed(pool->secret, h->size, h->prev_size, h->meta, node) && h->size <= pool->size - node &&
           h->prev_size <= node;
}
/* It covers the secret, too: of its lower bits little is seen in the check of a few small words. */
static inline uint32_t hw_control_check(const hw_pool *pool)
{
    const uint32_t *s = pool->secret;
    return hw_keyed(s, pool->magic, pool->shape, pool->size, s[0] ^ s[1] ^ s[2] ^ s[3]);
}
/* The magic keeps zeros from passing: they are a valid check of zeros. */
static inline bool hw_control_is_valid(const hw_pool *pool)
{
    return pool->magic == HW_MAGIC && pool->check == hw_control_check(pool);
}
/* Where many nodes are looked at, with the factors made once. 0: both copies of the header at `node` are equal, hold,
   and lead back over `before` granules; that its size stays inside of the pool is not looked at. */
static inline uint64_t hw_disagreement(const hw_pool *pool, const hw_factors *key, uint32_t node, uint32_t before)
{
    const hw_header *own = hw_own(pool, node), *kept = hw_backup_in(pool, before ? node - before : hw_end(pool));
    uint64_t sizes = hw_pair(own->size, own->prev_size), rest = hw_pair(own->meta, own->check);
    uint64_t sum = hw_sum(key, own->size, own->prev_size, own->meta, node);
    return (sizes ^ hw_pair(kept->size, kept->prev_size)) | (rest ^ hw_pair(kept->meta, kept->check)) |
           (sizes >> 32 ^ before) | (sum ^ rest) >> 32;
}
/* 0: the links of a cached node that is not poisoned; `offset_sum` is the offset's part of the sum. */
static inline uint64_t hw_unlike_cached(const hw_links *l, const hw_factors *key, uint64_t offset_sum)
{
    uint64_t sum = offset_sum + HW_LINK_KEY * key->offset + HW_CACHED_PARENT * key->meta;
    return l->left | l->right | (hw_pair(l->parent, l->check) ^ hw_pair(HW_CACHED_PARENT, (uint32_t)(sum >> 32)));
}
/* The node that keeps this node's backup. */
static inline uint32_t hw_backup_node(const hw_pool *pool, uint32_t node, const hw_header *h)
{
    return h->prev_size ? node - h->prev_size : hw_end(pool);
}
/* Write both copies. The caller has verified the node in the same critical section, or makes it. */
static inline void hw_save(hw_pool *pool, uint32_t node, hw_header h)
{
    h.check = hw_keyed(pool->secret, h.size, h.prev_size, h.meta, node);
    *hw_own(pool, node) = h;
    *hw_backup_in(pool, hw_backup_node(pool, node, &h)) = h;
}
/* A node that becomes part of the one before leaves a tombstone. Its backup of the next header must not
   verify either: a walk that looks for nodes would believe it. */
static inline void hw_bury(hw_pool *pool, uint32_t node)
{
    hw_own(pool, node)->check = ~hw_own(pool, node)->check;
    hw_backup_in(pool, node)->check = ~hw_backup_in(pool, node)->check;
}
/* Zeros, without the call of memset that compilers make of a loop: there may be no libc. */
static inline void hw_clear(void *words, size_t bytes)
{
    uint32_t *word = words;
    for (size_t i = 0; i < bytes / sizeof *word; i++) {
        word[i] = 0;
        __asm__ volatile("" : "+m"(word[i]));
    }
}
static inline bool hw_quarantined(uint32_t meta)
{
    return meta >> 8 == HW_SITE_QUARANTINE && hw_state_of(meta) == HW_USED;
}
static inline uint32_t hw_link_check(const hw_pool *pool, uint32_t node, const hw_links *l)
{
    return hw_keyed(pool->secret, l->left, l->right, l->parent, node + (uint32_t)HW_LINK_KEY);
}

static inline bool hw_links_are_valid(const hw_pool *pool, uint32_t node)
{
    const hw_links *l = hw_links_at(pool, node);
    return l->check == hw_link_check(pool, node, l);
}

/* What stands as the check while another thread writes such links. Over the slack of the smallest node it says that
   what is there now is no damage. */
static inline uint32_t hw_handover_check(const hw_pool *pool, uint32_t node)
{
    return hw_keyed(pool->secret, UINT32_MAX, UINT32_MAX, HW_PENDING_PARENT, node + (uint32_t)HW_LINK_KEY);
}

/* backup.c */
bool hw_pair_is_valid(const hw_pool *pool, uint32_t node, hw_fault *fault);
int hw_around(const hw_pool *pool, uint32_t node, hw_fault *fault);
uint32_t hw_payload_fault(const hw_pool *pool, uint32_t node, const hw_header *h);
void hw_slack_write(hw_pool *pool, uint32_t node, const hw_header *h);
bool hw_poison_is_whole(const hw_pool *pool, uint32_t node, const hw_header *h);
bool hw_poison_shows(const hw_pool *pool, uint32_t node, const hw_header *h);
void hw_poison_write(hw_pool *pool, uint32_t node, const hw_header *h);
void hw_poison_end(hw_pool *pool, uint32_t node, const hw_header *h);
void hw_cached_links_write(hw_pool *pool, uint32_t node, bool poison);

/* bestfit.c: the index of free nodes. Where one is given a fault, damage is put there and the index
   marked stale. */
bool hw_index_insert(hw_pool *pool, uint32_t node, hw_fault *fault);
bool hw_index_remove(hw_pool *pool, uint32_t node, hw_fault *fault);
uint32_t hw_index_find(hw_pool *pool, uint32_t need, hw_fault *fault);
uint32_t hw_index_at_least(hw_pool *pool, uint32_t size, hw_fault *fault);
bool hw_index_wrong(hw_pool *pool, hw_fault *fault, uint32_t reason, uint32_t node);
bool hw_index_leads_to(const hw_pool *pool, uint32_t node);
uint32_t hw_index_bin(const hw_pool *pool, uint32_t size);
uint32_t hw_index_root(const hw_pool *pool, uint32_t bin);
void hw_index_clear(hw_pool *pool);

/* pool.c */
void hw_control_copy(hw_pool *pool);

static inline bool hw_fail(hw_fault *fault, uint32_t reason, uint32_t node)
{
    *fault = (hw_fault){.reason = reason, .node = node};
    return false;
}

#endif
